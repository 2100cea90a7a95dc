//! `conformance-backend`: the server that the conformance suite's scenarios ask for.
//!
//! Prints its URL and serves until it is told to stop. See `vmcp_tests::conformance`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "output for the person or test that runs it"
)]

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use vmcp_tests::conformance::{self, Era};

/// Serves what the scenarios of the MCP conformance suite name.
#[derive(Debug, Parser)]
#[command(name = "conformance-backend")]
struct Arguments {
    /// Which revisions it speaks
    #[arg(long, value_enum, default_value = "dual")]
    era: Era,
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-backend: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let listener = conformance::bind(arguments.listen).await?;
    println!("http://{}/mcp", listener.local_addr()?);
    conformance::serve(listener, arguments.era).await
}
