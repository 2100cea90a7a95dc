use super::*;

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Launch {
    Launch::new("sh").arg("-c").arg(script)
}

/// Whether a process of this id runs; a zombie does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

#[tokio::test]
async fn a_dropped_program_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = shell("exec sleep 60")
        .start(folder.path().join("log"))
        .expect("started");
    let pid = program.pid();
    assert!(runs(pid));

    drop(program);

    assert!(!runs(pid));
}

#[tokio::test]
async fn a_program_dies_with_the_process_that_started_it_even_by_sigkill() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    // The outer shell stands for a test process, its setpriv for ours.
    let outer = shell(&format!(
        "setpriv --pdeathsig KILL -- sleep 60 & echo $! > {}; wait",
        inner.display()
    ))
    .start(folder.path().join("log"))
    .expect("started");
    let pid: u32 = eventually("the inner pid", SOON, || async {
        Ok(fs::read_to_string(&inner)?.trim().parse()?)
    })
    .await
    .expect("a pid");
    eventually("the inner program is sleep", SOON, || async {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        ensure!(line.starts_with("sleep"), "{line}");
        Ok(())
    })
    .await
    .expect("sleep");

    outer.signal(Signal::KILL).expect("a signal");

    eventually("the inner program is gone", SOON, || async {
        ensure!(!runs(pid), "it runs");
        Ok(())
    })
    .await
    .expect("gone");
}

#[tokio::test]
async fn a_program_outlives_the_thread_that_started_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");

    let program = std::thread::spawn(move || {
        let program = shell("echo up; exec sleep 60").start(log).expect("started");
        // The thread must not end before the program has asked for the signal.
        while program.log().is_empty() {
            std::thread::yield_now();
        }
        program
    })
    .join()
    .expect("the thread");

    let ended = program.wait(Duration::from_millis(300)).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn terminate_sends_sigterm_and_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")
        .start(folder.path().join("log"))
        .expect("started");
    program.wait_for_line("up", SOON).await.expect("a line");

    let status = program.terminate(SOON).await.expect("an end");

    assert_eq!(status.code(), Some(7));
    assert_eq!(program.log(), "up\nbye\n");
}

#[tokio::test]
async fn waiting_for_a_line_ends_when_the_program_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = shell("echo only this; exit 3")
        .start(folder.path().join("log"))
        .expect("started");

    let error = program
        .wait_for_line("never", Duration::from_secs(600))
        .await
        .expect_err("no such line");

    let text = format!("{error:#}");
    assert!(
        text.contains("exit status: 3") && text.contains("only this"),
        "{text}"
    );
}

#[tokio::test]
async fn run_returns_both_outputs_and_the_exit_code() {
    let output = shell("echo out; echo $WORD >&2; exit 4")
        .env("WORD", "err")
        .run(SOON)
        .await
        .expect("an end");

    assert_eq!(output.status.code(), Some(4));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[tokio::test]
async fn run_kills_what_takes_too_long() {
    let error = shell("echo stuck >&2; exec sleep 60")
        .run(Duration::from_millis(300))
        .await
        .expect_err("a deadline");

    assert!(format!("{error:#}").contains("stuck"));
}

#[test]
fn a_program_that_was_not_built_is_named() {
    let error = binary("no-such-program").expect_err("no file");

    assert!(format!("{error:#}").contains("cargo build"));
}

#[test]
fn a_missing_program_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");

    let error = Launch::new("/no/such/program")
        .start(folder.path().join("log"))
        .expect_err("no file");

    assert!(format!("{error:#}").contains("/no/such/program does not exist"));
}
