//! The `vmcp` program: command line in, exit code out.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

use vmcp::cli::{Cli, Command, LogFormat, ProbeArgs, ServeArgs};
use vmcp::config::Config;
use vmcp::{probe, serve};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Checks, watches and the admin port: they wait most of the time, and a second thread is there when
/// one makes lists. What clients ask runs on lanes.
const WORKERS: usize = 2;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a second TLS provider is installed"))?;
    match cli.command {
        Command::Serve(args) => run_serve(*args),
        Command::Probe(args) => run_probe(&args),
    }
}

fn run_serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => {
            Cli::command()
                .error(ErrorKind::MissingRequiredArgument, error)
                .exit();
        }
    };
    log(config.log_format, "info");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve::run(config));
    // Nothing is waited for any more: the drain is over.
    runtime.shutdown_background();
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            writeln!(std::io::stderr(), "{error}").context("cannot write to stderr")?;
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

fn run_probe(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    log(LogFormat::Text, "warn");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let verdict = runtime.block_on(probe::run(args));
    writeln!(std::io::stdout(), "{}", verdict.line).context("cannot write to stdout")?;
    Ok(ExitCode::from(verdict.exit_code))
}

/// Logs go to stderr: stdout belongs to the answer. `RUST_LOG` overrides the level.
fn log(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
