//! The rules of the deciding crate, as properties and as examples.
//!
//! One binary, one module for each unit. Nothing here waits, opens or reads anything: time is a
//! number that the test counts up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests stop at a wrong value"
)]

mod accord;
mod backoff;
mod bridge;
mod bridge_state;
mod cache;
mod cursor;
mod diff;
mod header_params;
mod health_calls;
mod health_machine;
mod health_model;
mod health_time;
mod jsonrpc;
mod mcp_errors;
mod mcp_messages;
mod merge;
mod merge_cases;
mod pacer;
mod pages;
mod place;
mod raw_json;
mod replay;
mod replay_moves;
mod routing;
mod server_health;
mod session;
mod support;
mod telling;
mod telling_model;
mod templates;
mod text;
mod tool_rules;
mod truth_table;
mod wills;
mod words;
