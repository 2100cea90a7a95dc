//! When checks are made, and what an outage looks like from here.

use super::*;

/// R2.1, R2.10: N backends refuse for the first cycles, then answer: each is Ready within one
/// interval, phase goes Failed -> Ready, nothing is restarted.
#[tokio::test(start_paused = true)]
async fn backends_that_come_up_late_are_ready_within_one_interval() {
    let names = ["a", "b", "c", "d", "e"];
    for outage in [1, 4, 9, 30, 300] {
        let running = Running::start();
        names
            .iter()
            .for_each(|name| running.backends.set(name, Mood::Refusing));
        running.discover(&names).await;
        pass(outage).await;
        assert_ne!(running.snapshot().report.phase, Phase::Ready);

        names
            .iter()
            .for_each(|name| running.backends.set(name, Mood::Well));
        let took = running.until(11, all_ready).await;

        assert!(
            took <= Duration::from_millis(10_100),
            "{took:?} after {outage} s"
        );
        assert_eq!(running.snapshot().lists.tool_count, names.len());
    }
}

/// R0.4: three failures trip within 15 s where connections are refused, 30 s where checks hang.
#[tokio::test(start_paused = true)]
async fn an_outage_is_detected_within_the_promised_time() {
    for (mood, promised) in [(Mood::Refusing, 15), (Mood::Hanging, 30)] {
        let running = Running::start();
        running.discover(&["a"]).await;
        running.until(5, all_ready).await;

        running.backends.set("a", mood);
        let unhealthy = |s: &Snapshot| state(s, 0) == Some(State::Unhealthy);
        let took = running.until(60, unhealthy).await;

        assert!(took <= Duration::from_secs(promised), "{mood:?}: {took:?}");
    }
}

/// R1.14, R4.8: a backend that hangs is judged by the deadline and holds up no other.
#[tokio::test(start_paused = true)]
async fn a_hanging_backend_is_judged_and_holds_up_nobody() {
    let running = Running::start();
    running.backends.set("stuck", Mood::Hanging);
    running.discover(&["stuck", "b"]).await;
    running
        .until(1, |s| state(s, 1) == Some(State::Ready))
        .await;
    let failing = |s: &Snapshot| s.backends[0].observed.consecutive_failures == 2;
    running.until(15, failing).await;

    assert!(running.backends.checks("b").len() >= 2);
    let reason = running.snapshot().backends[0].observed.reason;
    assert_eq!(reason, Some(ProbeReason::HandshakeTimeout));
}

/// R2.6: healthy backends are checked each period, and backends that came together do not tick
/// together.
#[tokio::test(start_paused = true)]
async fn healthy_backends_are_checked_each_period_and_not_together() {
    let running = Running::start();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    running.discover(&names).await;
    pass(300).await;

    let mut last: Vec<Instant> = Vec::new();
    for name in names {
        let checks = running.backends.checks(name);
        for pair in checks[2..].windows(2) {
            let gap = (pair[1] - pair[0]).as_secs_f64();
            assert!((9.0..=11.1).contains(&gap), "{name}: {gap}");
        }
        last.push(*checks.last().unwrap());
    }
    last.sort();
    let spread = *last.last().unwrap() - last[0];
    assert!(spread > Duration::from_secs(2), "{spread:?}");
}

/// R2.6: however many events ask, one check at a time and one a second.
#[tokio::test(start_paused = true)]
async fn a_storm_of_events_makes_one_check_a_second() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    let before = running.backends.checks("a").len();

    for _ in 0..100 {
        let service = "a".into();
        running
            .doors
            .events
            .send(Event::WakeService { service })
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let made = running.backends.checks("a").len() - before;
    assert!((4..=6).contains(&made), "{made} checks in 5 s");
    assert_eq!(running.backends.0.most_in_flight.load(Ordering::SeqCst), 1);
}

/// R2.6: after a good while, an outage that ends with an event is over at once.
#[tokio::test(start_paused = true)]
async fn an_event_brings_a_backend_back_at_once() {
    let running = Running::start();
    running.backends.set("a", Mood::Refusing);
    running.discover(&["a"]).await;
    pass(120).await;

    running.backends.set("a", Mood::Well);
    running
        .doors
        .events
        .send(Event::WakeService {
            service: "a".into(),
        })
        .await
        .unwrap();
    let took = running.until(11, all_ready).await;

    assert!(took <= Duration::from_millis(1_100), "{took:?}");
}

/// R2.6, R4.13: a failed call makes a check at once, which finds the outage early.
#[tokio::test(start_paused = true)]
async fn a_failed_call_makes_a_check_at_once() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    pass(13).await;
    let before = running.backends.checks("a").len();

    let view = running.snapshot().backends[0].clone();
    let outcome = CallOutcome::Failed(failure());
    let seen = Observation {
        id: view.id.clone(),
        generation: view.generation,
        outcome,
    };
    running.doors.observations.try_send(seen).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    assert!(running.backends.checks("a").len() > before);
}

/// T9: checks are really made, and counted where they are shown.
#[tokio::test(start_paused = true)]
async fn checks_are_made_and_counted() {
    let running = Running::start();
    running.discover(&["a"]).await;
    pass(100).await;

    let counted = running.snapshot().backends[0].meter.probes_total();
    let made = running.backends.checks("a").len();
    assert!(made >= 10, "{made}");
    assert_eq!(counted, u64::try_from(made).unwrap());
}

/// R4.11: a burst of announcements is one check that reads the list, at once.
#[tokio::test(start_paused = true)]
async fn a_burst_of_announcements_is_one_check_at_once() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    pass(3).await;
    let before = running.backends.checks("a").len();

    let (_, changed) = running.backends.0.followed.lock().unwrap()[0].clone();
    (0..200).for_each(|_| changed.announce());
    tokio::time::sleep(Duration::from_millis(100)).await;

    assert_eq!(running.backends.checks("a").len(), before + 1);
    assert_eq!(
        running.backends.0.followed.lock().unwrap().len(),
        1,
        "one stream at a time"
    );
}

/// T2, T7: a server that announces changes and refuses the stream is asked for it once, not for
/// ever: each try is a session there.
#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_not_asked_for_again() {
    let running = Running::start();
    let soon = Duration::from_millis(10);
    running.backends.end_streams("a", Ended::Refused, soon);
    running.discover(&["a"]).await;
    pass(3600).await;

    assert_eq!(running.backends.followed(), 1);
}

/// T7: a stream that keeps breaking is asked for ever more rarely; one that stood is asked for
/// again soon (R4.11).
#[tokio::test(start_paused = true)]
async fn a_stream_that_keeps_breaking_is_asked_for_ever_more_rarely() {
    for (lived, least, most) in [(60, 9, 14), (200, 15, 20)] {
        let running = Running::start();
        let lived = Duration::from_secs(lived);
        running.backends.end_streams("a", Ended::Broken, lived);
        running.discover(&["a"]).await;
        pass(3600).await;

        let followed = running.backends.followed();
        assert!((least..=most).contains(&followed), "{followed} in an hour");
    }
}
