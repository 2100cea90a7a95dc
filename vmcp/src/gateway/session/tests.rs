//! The table of sessions.

use vmcp_core::jsonrpc::RequestId;

use super::*;

const NOW: u64 = 1_800_000_000;

fn claims() -> SessionClaims {
    SessionClaims {
        virtual_uid: "uid-1".into(),
        issued: NOW,
        expires: NOW + 86_400,
        ..SessionClaims::default()
    }
}

fn sessions() -> Sessions {
    Sessions::new(Arc::new(Sealer::random().unwrap()), Owner::default())
}

#[test]
fn an_id_finds_its_session_and_only_under_its_own_virtual_server() {
    let table = sessions();
    let session = table.open(claims(), NOW).unwrap();

    assert!(table.find(&session.id, "uid-1", NOW).is_some());
    assert!(table.find(&session.id, "uid-2", NOW).is_none());
}

/// T10: everything that is not a valid id is unknown, whatever is wrong with it.
#[test]
fn a_forged_or_foreign_id_is_unknown() {
    let table = sessions();
    let foreign = sessions().open(claims(), NOW).unwrap();
    let mut flipped = table.open(claims(), NOW).unwrap().id.to_string();
    flipped.replace_range(20..21, if &flipped[20..21] == "A" { "B" } else { "A" });

    for id in [
        &*foreign.id,
        flipped.as_str(),
        "",
        "nonsense",
        &"A".repeat(10_000),
    ] {
        assert!(table.find(id, "uid-1", NOW).is_none(), "{id}");
    }
}

#[test]
fn a_deleted_session_stays_unknown_until_its_id_has_expired() {
    let table = sessions();
    let session = table.open(claims(), NOW).unwrap();

    table.delete(&session);
    table.delete(&session);

    assert!(session.ended.is_cancelled());
    assert!(table.find(&session.id, "uid-1", NOW + 1).is_none());
    table.sweep(NOW + 86_401);
    assert!(table.find(&session.id, "uid-1", NOW + 86_401).is_none());
}

#[test]
fn idle_expiry_ends_the_state_and_not_the_id() {
    let table = sessions();
    let id = Arc::clone(&table.open(claims(), NOW).unwrap().id);

    let gone = table.sweep(NOW + limits::SESSION_IDLE.as_secs());

    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].id, id);
    assert_eq!(table.count(), 0);
    assert!(table.find(&id, "uid-1", NOW + 700).is_some());
}

#[test]
fn an_expired_id_is_unknown() {
    let table = sessions();
    let id = Arc::clone(&table.open(claims(), NOW).unwrap().id);

    assert!(table.find(&id, "uid-1", NOW + 86_400).is_none());
}

/// Where there are too many, those that were idle longest leave: they lose no more than by idling.
#[test]
fn the_session_limit_is_enforced_on_those_idle_longest() {
    let table = sessions();
    let oldest = Arc::clone(&table.open(claims(), NOW).unwrap().id);
    let held = table.open(claims(), NOW).unwrap();
    for _ in 2..limits::MAX_SESSIONS {
        table.open(claims(), NOW + 1).unwrap();
    }

    table.open(claims(), NOW + 1).unwrap();

    assert!(table.count() <= limits::MAX_SESSIONS);
    assert!(!table.is_live(&oldest) && table.is_live(&held.id));
    let gone = table.sweep(NOW + 1);
    assert!(
        gone.iter().any(|session| session.id == oldest),
        "its upstream state is ended"
    );
    assert!(table.find(&oldest, "uid-1", NOW + 2).is_some());
}

#[test]
fn a_client_is_refused_where_every_session_is_in_use() {
    let table = sessions();
    let held: Vec<_> = (0..limits::MAX_SESSIONS)
        .map(|_| table.open(claims(), NOW).unwrap())
        .collect();

    let refused = table.open(claims(), NOW).unwrap_err();

    assert_eq!(refused, SessionError::TooMany);
    assert_eq!(table.count(), held.len());
}

#[test]
fn the_idle_time_can_be_set() {
    let table = sessions().with_idle(Duration::from_secs(2));
    table.open(claims(), NOW).unwrap();

    assert!(table.sweep(NOW + 1).is_empty());
    assert_eq!(table.sweep(NOW + 2).len(), 1);
}

/// R4.10: a cancellation reaches exactly its call.
#[test]
fn a_cancellation_reaches_exactly_its_call() {
    let table = sessions();
    let session = table.open(claims(), NOW).unwrap();
    let one = session.begin_call(&RequestId::Number("1".into()));
    let two = session.begin_call(&RequestId::Number("2".into()));

    session.cancel(&RequestId::Number("1".into()));

    assert!(one.token.is_cancelled() && !two.token.is_cancelled());
}

/// A session that everybody refused, or that has expired, is offered to nobody: it must not keep
/// the others from leaving.
#[test]
fn what_cannot_leave_does_not_stand_in_the_way() {
    let table = sessions();
    let stays = Arc::clone(&table.open(claims(), NOW).unwrap().id);
    let old = SessionClaims {
        expires: NOW + 1,
        ..claims()
    };
    let expired = Arc::clone(&table.open(old, NOW).unwrap().id);
    let goes = Arc::clone(&table.open(claims(), NOW).unwrap().id);
    let kept = HashSet::from([Arc::clone(&stays)]);

    for which in [Departing::Idle, Departing::All] {
        let gone = table.depart(which, &kept, NOW + 1);
        let ids: Vec<_> = gone.iter().map(|live| Arc::clone(&live.id)).collect();
        assert_eq!(ids, [Arc::clone(&goes)]);
        assert!(!table.has_beside(&kept, NOW + 1));
        table.stay(&gone[0]);
        drop(gone);
        assert!(table.has_beside(&kept, NOW + 1));
    }
    assert!(table.is_live(&stays) && table.is_live(&expired));
}
