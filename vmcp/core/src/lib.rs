//! Everything that decides and nothing that does.
//!
//! This crate owns the rules of the gateway: the JSON-RPC envelope, the MCP messages of both
//! eras, health, backoff, catalogue merge, routing, session grammar, replay of streams and the report. It never
//! performs I/O, reads a clock, draws randomness or looks at the environment: time and jitter
//! come in as arguments, so that every rule is provable as a property.
//!
//! Modules may use the ones above them in this list, never the ones below.

pub mod id;
pub mod limits;
pub mod reason;
pub mod text;
pub mod time;

pub mod jsonrpc;

pub mod mcp;

pub mod backoff;

pub mod health;

pub mod catalog;

pub mod route;

pub mod session;

pub mod bridge;

pub mod replay;

pub mod report;
