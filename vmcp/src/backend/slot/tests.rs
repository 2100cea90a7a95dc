//! The end of a runtime whose calls run on several lanes.

use vmcp_core::limits::{CALL, CONNECT};

use super::*;
use crate::near::tests::everywhere;
use crate::pods::Pods;
use crate::snapshot::{Endpoint, ProtocolChoice, SessionLoss, Transport};

fn slot() -> Arc<Slot> {
    let endpoint = Endpoint {
        url: "http://127.0.0.1:1/mcp".parse().unwrap(),
        host_header: None,
        transport: Transport::StreamableHttp,
        protocol: ProtocolChoice::Auto,
        connect_timeout: CONNECT,
        call_timeout: CALL,
        session_loss: SessionLoss::default(),
        pods: Pods::default(),
    };
    let target = Target {
        id: BackendId::new("b", "uid-b"),
        generation: Generation(1),
        endpoint: Arc::new(endpoint),
        dialect: None,
    };
    let (observations, _) = mpsc::channel(1);
    Slot::start(&target, observations, Announcer::new(|_, _| ()))
}

/// R4.2: a call is waited for, whichever lane it runs on.
#[tokio::test]
async fn a_slot_rests_when_the_calls_of_all_lanes_have_ended() {
    let slot = slot();
    let began = Arc::clone(&slot);
    let mut calls = everywhere(move || began.begin().0).await;
    let mut closing = tokio::spawn(Arc::clone(&slot).close(Running::Finish));

    while !calls.is_empty() {
        let early = timeout(Duration::from_millis(20), &mut closing).await;
        assert!(early.is_err(), "{} calls are under way", calls.len());
        drop(calls.remove(0));
    }

    timeout(Duration::from_secs(5), closing)
        .await
        .unwrap()
        .unwrap();
}

/// R2.8: calls of a deleted backend are told to stop, whichever lane they run on, and so is one that
/// begins too late.
#[tokio::test]
async fn calls_of_all_lanes_stop_with_their_backend() {
    let slot = slot();
    let began = Arc::clone(&slot);
    let calls = everywhere(move || began.begin().0).await;
    let stops: Vec<_> = slot.calls.iter().map(|calls| calls.stop.clone()).collect();
    assert_eq!(stops.len(), calls.len());
    assert!(!stops.iter().any(CancellationToken::is_cancelled));

    let closing = tokio::spawn(Arc::clone(&slot).close(Running::StopAfter(Duration::ZERO)));
    for stop in &stops {
        let stopped = timeout(Duration::from_secs(5), stop.cancelled()).await;
        assert!(stopped.is_ok());
    }
    drop(calls);
    closing.await.unwrap();

    let late = timeout(Duration::from_secs(5), slot.begin().1).await;
    assert!(late.is_ok(), "it is over");
}
