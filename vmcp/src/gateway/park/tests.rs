//! The table of waiting calls: every limit of it, on paused time.

use tokio::sync::mpsc;
use tokio::sync::oneshot::Receiver;
use tokio::time::{Duration, advance};

use vmcp_core::bridge::InputRequired;
use vmcp_core::jsonrpc::RpcError;

use super::*;

type Said = Receiver<Result<Arc<str>, RpcError>>;
type Events = mpsc::Sender<Result<UpstreamEvent, UpstreamError>>;

fn parking() -> Parking {
    let owner = Owner {
        pod: "here".into(),
        boot: "b".into(),
    };
    Parking::new(Arc::new(Sealer::random().unwrap()), owner)
}

/// A call that waits for one answer, the backend's end of it, and where the answer goes.
fn call() -> (ParkedCall, Events, Said) {
    let (sender, events) = mpsc::channel(1);
    let (answer, said) = Answerer::new();
    let question = Question {
        key: "1-1".into(),
        method: "roots/list".into(),
        params: None,
        answer,
    };
    let call = ParkedCall {
        events: events.into(),
        held: None,
        questions: vec![question],
        round: 1,
    };
    (call, sender, said)
}

fn ticket(principal: Option<&str>) -> Ticket {
    Ticket {
        principal: principal.map(Into::into),
        digest: [7; 32],
    }
}

fn claims_of(parking: &Parking, result: &str) -> StateClaims {
    let required = InputRequired::parse(result).unwrap().unwrap();
    let state: String = serde_json::from_str(required.state.unwrap()).unwrap();
    parking.open(&state).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_continued_once() {
    let parking = parking();
    let result = parking.park(call().0, &ticket(Some("alice"))).unwrap();
    let claims = claims_of(&parking, &result);
    assert!(claims.check(Some("alice"), &[7; 32], unix_now()).is_ok());

    advance(limits::PARKED_ROUND - Duration::from_secs(1)).await;

    assert!(parking.take(&claims).is_some());
    assert!(parking.take(&claims).is_none(), "a second retry");
}

/// Nobody comes back: the backend's end hears that nobody listens, which cancels the call.
#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_continues_is_given_up_after_its_round() {
    let parking = parking();
    let (first, events, said) = call();
    let result = parking.park(first, &ticket(None)).unwrap();
    let claims = claims_of(&parking, &result);
    assert!(claims.expires <= unix_now() + 600);

    advance(limits::PARKED_ROUND - Duration::from_secs(1)).await;
    parking.sweep();
    assert!(!events.is_closed());
    advance(Duration::from_secs(1)).await;
    assert!(parking.take(&claims).is_none(), "too late, swept or not");

    assert!(events.is_closed());
    assert!(said.await.is_err());

    let (second, events, _said) = call();
    let _result = parking.park(second, &ticket(None)).unwrap();
    advance(limits::PARKED_ROUND).await;
    parking.sweep();
    assert!(events.is_closed() && parking.count() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_principal_has_so_many_waiting_calls_and_leaves_room_for_others() {
    let parking = parking();
    let mut results = Vec::new();
    for _ in 0..limits::PARKED_PRINCIPAL {
        results.push(parking.park(call().0, &ticket(Some("alice"))).unwrap());
    }

    let (error, back) = parking.park(call().0, &ticket(Some("alice"))).unwrap_err();

    assert_eq!(error, ParkError::PrincipalFull);
    assert_eq!(back.questions.len(), 1, "the call comes back whole");
    assert!(parking.park(call().0, &ticket(Some("bob"))).is_ok());
    assert!(parking.park(call().0, &ticket(None)).is_ok());
    assert!(parking.take(&claims_of(&parking, &results[0])).is_some());
    assert!(parking.park(call().0, &ticket(Some("alice"))).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_process_has_so_many_waiting_calls() {
    let parking = parking();
    for _ in 0..limits::PARKED {
        parking.park(call().0, &ticket(None)).unwrap();
    }

    let (error, _) = parking.park(call().0, &ticket(Some("alice"))).unwrap_err();

    assert_eq!(error, ParkError::Full);
    assert_eq!(parking.count(), limits::PARKED);
}

#[tokio::test]
async fn a_stopping_process_gives_up_all_and_takes_no_more() {
    let parking = parking();
    let (first, events, _said) = call();
    parking.park(first, &ticket(None)).unwrap();

    parking.close();

    assert!(events.is_closed());
    let (error, _) = parking.park(call().0, &ticket(None)).unwrap_err();
    assert_eq!(error, ParkError::Stopping);
}

/// A state of another process, or of another gateway, continues nothing here.
#[tokio::test]
async fn a_foreign_state_continues_nothing() {
    let sealer = Arc::new(Sealer::random().unwrap());
    let before = Parking::new(Arc::clone(&sealer), Owner::default());
    let here = Parking::new(sealer, parking().owner);
    let result = before.park(call().0, &ticket(None)).unwrap();
    here.park(call().0, &ticket(None)).unwrap();

    let claims = claims_of(&here, &result);

    assert!(here.take(&claims).is_none(), "the process before this one");
    let state = parking().repeatable(1, &ticket(None)).unwrap();
    assert!(here.open(&state).is_none());
    assert!(here.open(&"A".repeat(MAX_STATE_LEN + 1)).is_none());
}
