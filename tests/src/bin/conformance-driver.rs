//! `conformance-driver URL`: the gateway as the client that the conformance suite examines.
//!
//! Starts the gateway with the suite's mock server as its backend and drives it with a generic
//! client: what reaches the mock server was written by the gateway. The suite passes scenario and
//! revision in the environment, which the client reads. Everything ends with it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "output for the suite that runs it"
)]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use vmcp_tests::peers;
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// Puts the gateway between the suite's mock server and a generic client.
#[derive(Debug, Parser)]
#[command(name = "conformance-driver")]
struct Arguments {
    /// The mock server
    url: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(&Arguments::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-driver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let peers = peers::installed()?;
    let naming = json!({"aggregation": {"conflictResolution": {"strategy": "PrefixOnConflict"}}});
    let objects = [
        virtual_server("one", naming),
        remote("mock", &arguments.url),
    ];
    let gateway = Local::of(&objects).await?;
    let ready = gateway.until_phase("Ready", SOON).await;
    ready.with_context(|| gateway.gateway.program.log_tail())?;
    let said = peers.generic_client(&gateway.gateway.url()).await?;
    println!("{said}\n{}", gateway.gateway.program.log_tail());
    Ok(())
}
