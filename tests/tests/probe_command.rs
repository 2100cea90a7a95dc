//! `vmcp probe URL`: one line of truth and an exit code.

use std::time::Duration;

use anyhow::{Result, ensure};
use vmcp_tests::backend::{Backend, Fault, Script};
use vmcp_tests::process::{Launch, Output};

async fn probe(url: &str, more: &[&str]) -> Result<Output> {
    let launch = Launch::ours("vmcp")?.args(["probe", url]).args(more);
    launch.run(Duration::from_secs(20)).await
}

fn lines(output: &Output) -> usize {
    output.stdout.lines().count()
}

/// Build 6: a healthy server of each kind is one line with its dialect, and exit code 0.
#[tokio::test]
async fn a_healthy_server_is_one_line_that_begins_with_ready_and_exit_code_0() -> Result<()> {
    let kinds = [
        (
            Script::legacy(),
            "ready: legacy 2025-11-25 stateful",
            &[][..],
        ),
        (
            Script::stateless(),
            "ready: legacy 2025-11-25 stateless",
            &[],
        ),
        (Script::modern(), "ready: modern 2026-07-28", &[]),
        (
            Script::sse(),
            "ready: legacy 2025-11-25 sse",
            &["--transport", "sse"],
        ),
    ];
    for (script, expected, more) in kinds {
        let backend = Backend::start(script).await?;

        let output = probe(&backend.url(), more).await?;

        ensure!(output.status.code() == Some(0), "{output:?}");
        ensure!(
            lines(&output) == 1 && output.stdout.starts_with(expected),
            "{output:?}"
        );
        ensure!(output.stdout.contains(" tools, "), "{output:?}");
        ensure!(backend.sessions_open() == 0, "T7: {:?}", backend.sessions());
    }
    Ok(())
}

/// Build 6, R2.3: an unhealthy server is one line with reason, step and status, and exit code 1.
#[tokio::test]
async fn an_unhealthy_server_is_one_line_with_the_reason_and_exit_code_1() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let cases = [
        (Fault::http_status(500), "unhealthy: HttpStatus: "),
        (Fault::NonJson200, "unhealthy: "),
        (Fault::ListFails, "unhealthy: ListFailed: "),
        (Fault::Refuse, "unhealthy: ConnectRefused: "),
    ];
    for (fault, expected) in cases {
        backend.set(fault.clone()).await?;
        let output = probe(&backend.url(), &[]).await?;
        ensure!(output.status.code() == Some(1), "{fault:?}: {output:?}");
        ensure!(
            lines(&output) == 1 && output.stdout.starts_with(expected),
            "{fault:?}: {output:?}"
        );
    }
    Ok(())
}

/// Decision 5: a server that wants a credential is fine for a probe that has none.
#[tokio::test]
async fn a_server_that_wants_a_credential_is_exit_code_0() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::unauthorized()).await?;

    let output = probe(&backend.url(), &[]).await?;

    ensure!(output.status.code() == Some(0), "{output:?}");
    ensure!(
        output.stdout.starts_with("auth required: AuthRequired: "),
        "{output:?}"
    );
    Ok(())
}

/// R1.14: a server that never answers ends the check at its deadline.
#[tokio::test]
async fn a_hanging_server_ends_the_probe_at_its_deadline() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::AcceptAndHang).await?;
    let started = std::time::Instant::now();

    let output = probe(&backend.url(), &["--timeout", "1s"]).await?;

    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(output.stdout.contains("HandshakeTimeout"), "{output:?}");
    ensure!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

/// T7: with `--state` one session is remembered over many runs, each a new process.
#[tokio::test]
async fn with_a_state_file_many_runs_keep_one_session() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("state").display().to_string();

    for _ in 0..5 {
        let output = probe(&backend.url(), &["--state", &state]).await?;
        ensure!(output.status.code() == Some(0), "{output:?}");
    }

    ensure!(backend.sessions().len() == 1, "{:?}", backend.sessions());
    Ok(())
}

/// Build 8: wrong input is exit code 2.
#[tokio::test]
async fn a_url_that_is_none_is_exit_code_2() -> Result<()> {
    for wrong in ["nonsense", "ftp://example.com/", "http://"] {
        let output = probe(wrong, &[]).await?;
        ensure!(output.status.code() == Some(2), "{wrong}: {output:?}");
    }
    Ok(())
}
