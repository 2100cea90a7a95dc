//! Several replicas behind a load balancer that gives each request to another one.

mod crash;
mod kit;
mod rolling;
mod sessions;
mod strangers;
