//! Several replicas behind a load balancer that gives each request to another one.

mod announcing;
mod asking;
mod batches;
mod crash;
mod kit;
mod leaving;
mod rolling;
mod sessions;
mod strangers;
mod streams;
mod subscriptions;
