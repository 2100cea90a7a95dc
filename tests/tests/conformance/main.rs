//! The official conformance suite: at our own backend directly, through the gateway, and against
//! the gateway as a client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod client;
mod direct;
mod gateway;
mod kit;
