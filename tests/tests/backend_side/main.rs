//! The side of the gateway that faces the backends, against a server that misbehaves on command.
//!
//! What is claimed about sockets, sessions and repeats is read off at the server, never asked of
//! the code under test.

mod beside;
mod calls;
mod checks;
mod detection;
mod ears;
mod garbage;
mod handover;
mod http2;
mod kit;
mod pinned;
mod questions;
mod removal;
mod renewals;
mod repeats;
mod resumed;
mod sessions;
mod standing;
mod strangers;
mod terms;
mod tls;
mod verdicts;
