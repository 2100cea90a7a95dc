//! `cluster`: a real Kubernetes control plane, for a person or around a command.
//!
//! Owns the command line and what a person reads. Whatever way it ends, the servers end with it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "output for the person who runs it"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::time::sleep;

use vmcp_tests::controlplane::{
    CLUSTER_VARIABLE, ControlPlane, IdleExit, Options, OwnedControlPlane, serve_until_idle,
};
use vmcp_tests::process::{Launch, Program, Signal};

/// How often the command is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// etcd, kube-apiserver and kube-controller-manager, with RBAC, on free ports of this machine.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Leave one running and print how to reach it; Ctrl-C ends it and removes everything
    Up {
        /// End by itself after so many seconds without a test that uses it
        #[arg(long, value_name = "SECONDS")]
        idle_exit: Option<u64>,
        /// Folder in which tests look for a running one
        #[arg(long, value_name = "DIR", hide = true)]
        announce: Option<PathBuf>,
    },
    /// Run a command with a control plane of its own and exit as it does
    Run {
        /// The command; it finds the control plane through KUBECONFIG and VMCP_TEST_CLUSTER
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.action {
        Action::Up {
            idle_exit,
            announce,
        } => {
            let idle = IdleExit::new(idle_exit.map(Duration::from_secs), announce);
            Box::pin(up(idle)).await
        }
        Action::Run { command } => Box::pin(run(&command)).await,
    };
    ended.unwrap_or_else(|error| {
        eprintln!("cluster: {error:#}");
        ExitCode::FAILURE
    })
}

async fn up(idle: IdleExit) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let Some(plane) = stop.or(start()).await? else {
        return Ok(ExitCode::FAILURE);
    };
    let tools = plane.kubectl().parent().context("the folder of kubectl")?;
    println!("  export KUBECONFIG={}", plane.admin_kubeconfig().display());
    println!("  export PATH={}:$PATH", tools.display());
    println!(
        "Tests in a shell with this use it too: export {CLUSTER_VARIABLE}={}",
        plane.directory().display()
    );
    println!("Ctrl-C ends it and removes everything.");
    stop.or(serve_until_idle(&plane, &idle)).await?;
    println!("stopped, {} removed", plane.directory().display());
    Ok(ExitCode::SUCCESS)
}

async fn run(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut stop = Stop::listen()?;
    let Some(plane) = stop.or(start()).await? else {
        return Ok(ExitCode::FAILURE);
    };
    let child = Launch::new(program)
        .args(arguments)
        .env(CLUSTER_VARIABLE, plane.directory())
        .env("KUBECONFIG", plane.admin_kubeconfig())
        .death_signal(Signal::TERM)
        .start_inherited()?;
    let status = guard(&plane, &child, &mut stop).await?;
    if !status.success() {
        plane.keep_logs();
    }
    Ok(exit_code(status))
}

async fn start() -> Result<OwnedControlPlane> {
    let plane = ControlPlane::start(Options::default()).await?;
    println!(
        "control plane at {}: API ready after {:.1} s, controllers after {:.1} s",
        plane.url(),
        plane.api_ready_after().as_secs_f64(),
        plane.ready_after().as_secs_f64()
    );
    Ok(plane)
}

/// Waits for the command, passes SIGTERM on to it, and complains as soon as a server ends.
async fn guard(plane: &OwnedControlPlane, child: &Program, stop: &mut Stop) -> Result<ExitStatus> {
    let mut complained = false;
    loop {
        if let Some(status) = child.exited()? {
            if complained {
                bail!("a server ended by itself while the command ran: {status}");
            }
            return Ok(status);
        }
        if !complained && let Some(casualty) = plane.casualty() {
            eprintln!("cluster: a server ended by itself: {casualty}");
            plane.keep_logs();
            complained = true;
        }
        tokio::select! {
            // A terminal sends Ctrl-C to the command too: it cleans up, and this waits for it.
            _ = stop.interrupt.recv() => {}
            _ = stop.terminate.recv() => child.signal(Signal::TERM)?,
            () = sleep(POLL) => {}
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    /// Of a command that was ended by a signal: no test has passed.
    const KILLED: u8 = 1;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(KILLED))
}

/// A person's or a supervisor's wish that this ends.
struct Stop {
    interrupt: Listener,
    terminate: Listener,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listening for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        })
    }

    /// The work's answer, or `None` when it was stopped before.
    async fn or<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        tokio::select! {
            answer = work => answer.map(Some),
            _ = self.interrupt.recv() => Ok(None),
            _ = self.terminate.recv() => Ok(None),
        }
    }
}
