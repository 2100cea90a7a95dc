//! Nothing probes what is gone.

use super::*;

/// R2.8, T7: a removed backend is not checked again, is gone from the snapshot, and its health
/// session is ended.
#[tokio::test(start_paused = true)]
async fn a_removed_backend_is_never_checked_again_and_its_session_ends() {
    let running = Running::start();
    running.discover(&["a", "b"]).await;
    running.until(5, all_ready).await;
    assert_eq!(running.backends.open().len(), 2);

    running.discover(&["b"]).await;
    running.until(1, |s| s.backends.len() == 1).await;
    pass(3).await;
    let checks = running.backends.checks("a").len();
    pass(120).await;

    assert_eq!(running.backends.checks("a").len(), checks);
    assert_eq!(running.backends.open(), ["b"]);
    assert_eq!(running.detached.load(Ordering::SeqCst), 1);
    assert_eq!(running.state_of("a"), None);
}

/// R2.8, R1.14: a backend that is removed in the middle of a check that hangs is gone within 5 s.
#[tokio::test(start_paused = true)]
async fn a_backend_removed_in_mid_check_lets_go() {
    let running = Running::start();
    running.backends.set("a", Mood::Hanging);
    running.discover(&["a"]).await;
    pass(1).await;

    running.discover(&[]).await;
    running.tasks.close();
    let let_go = tokio::time::timeout(Duration::from_secs(5), running.tasks.wait()).await;

    assert!(let_go.is_ok());
}

/// R2.8: the same name with the same UID, removed and added again at once, is checked anew.
#[tokio::test(start_paused = true)]
async fn a_backend_that_is_removed_and_added_again_is_checked_anew() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    let first = running.snapshot().backends[0].generation;

    running.discover(&[]).await;
    running.discover(&["a"]).await;
    running
        .until(5, |s| all_ready(s) && s.backends[0].generation > first)
        .await;

    assert_eq!(running.snapshot().lists.tool_count, 1);
}

/// T7: a stop ends every health session.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_health_session() {
    let running = Running::start();
    running.discover(&["a", "b", "c"]).await;
    running.until(5, all_ready).await;

    running.cancel.cancel();
    running.tasks.close();
    tokio::time::timeout(Duration::from_secs(5), running.tasks.wait())
        .await
        .unwrap();

    assert!(running.backends.open().is_empty());
}
