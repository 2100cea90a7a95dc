//! Readers and writers of streams, at once.

use futures::StreamExt as _;
use vmcp_core::limits;

use super::*;

fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(ProtocolVersion::V2025_06_18))
}

fn message(number: u64) -> Bytes {
    number.to_string().into_bytes().into()
}

fn resume(outbox: &Arc<Outbox>, last: &str) -> Messages {
    match outbox.resume(last).unwrap() {
        Resumed::Call(messages) | Resumed::Standing(messages) => messages,
    }
}

async fn read(messages: &mut Messages) -> (String, Bytes) {
    let event = messages.next().await.unwrap();
    (event.id.unwrap().into(), event.data)
}

/// A writer and a client on two tasks; the client's connection breaks again and again.
#[tokio::test]
async fn a_client_whose_connection_breaks_sees_every_message_once_and_in_order() {
    const SAID: u64 = 200;
    let outbox = outbox();
    let (writer, mut messages) = outbox.open();
    let writing = tokio::spawn(async move {
        for number in 1..=SAID {
            assert!(writer.send(message(number)));
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });

    let mut seen = Vec::new();
    let mut last = None;
    loop {
        for _ in 0..9 {
            let Some(event) = messages.next().await else {
                break;
            };
            last = event.id;
            seen.push(event.data);
        }
        if seen.len() == usize::try_from(SAID).unwrap() {
            break;
        }
        drop(messages);
        tokio::task::yield_now().await;
        messages = resume(&outbox, last.as_deref().unwrap());
    }

    writing.await.unwrap();
    assert_eq!(seen, (1..=SAID).map(message).collect::<Vec<_>>());
    assert!(messages.next().await.is_none(), "the writer is gone");
}

#[tokio::test]
async fn a_stream_goes_on_for_whoever_resumes_it() {
    let outbox = outbox();
    let (writer, mut messages) = outbox.open();
    writer.send(message(1));
    let (last, _) = read(&mut messages).await;

    let mut resumed = resume(&outbox, &last);
    assert!(messages.next().await.is_none(), "replaced");
    let waiting = tokio::spawn(async move { read(&mut resumed).await.1 });
    tokio::task::yield_now().await;
    drop(messages);
    writer.send(message(2));

    assert_eq!(waiting.await.unwrap(), message(2));
}

/// SEP-1699: from 2025-11-25 on a stream begins with an event that has an id and no data.
#[tokio::test]
async fn only_clients_that_know_it_get_a_priming_event() {
    for (version, primed) in [
        (ProtocolVersion::V2025_03_26, false),
        (ProtocolVersion::V2025_06_18, false),
        (ProtocolVersion::V2025_11_25, true),
    ] {
        let outbox = Arc::new(Outbox::new(version));
        let (writer, mut call) = outbox.open();
        writer.send(message(1));
        let mut standing = outbox.standing();
        assert!(outbox.push_standing(message(1)));

        for messages in [&mut call, &mut standing] {
            let (id, first) = read(messages).await;
            assert_eq!(first.is_empty(), primed, "{version}");
            assert!(!id.is_empty());
        }
    }
}

/// A client that was primed and lost its connection before anything was said.
#[tokio::test]
async fn a_stream_is_resumed_from_its_priming_event() {
    let outbox = Arc::new(Outbox::new(ProtocolVersion::V2025_11_25));
    let (writer, mut messages) = outbox.open();
    let (primed, _) = read(&mut messages).await;
    drop(messages);
    writer.send(message(1));
    drop(writer);

    let mut resumed = resume(&outbox, &primed);

    assert_eq!(read(&mut resumed).await.1, message(1));
    assert!(resumed.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_before_the_first_and_long_after_the_last_standing_reader() {
    let outbox = outbox();
    assert!(!outbox.push_standing(message(0)));

    let mut standing = outbox.standing();
    assert!(outbox.push_standing(message(1)));
    assert_eq!(read(&mut standing).await.1, message(1));
    drop(standing);

    assert!(outbox.push_standing(message(2)), "it may come back");
    tokio::time::advance(limits::REPLAY_AGE).await;
    assert!(!outbox.push_standing(message(3)));
}

/// A client that lost its standing stream comes back with an id or, having seen none, without.
#[tokio::test]
async fn the_standing_stream_is_taken_up_again() {
    let outbox = outbox();
    let mut standing = outbox.standing();
    outbox.push_standing(message(1));
    let (last, _) = read(&mut standing).await;
    drop(standing);
    outbox.push_standing(message(2));

    let mut fresh = outbox.standing();
    assert_eq!(read(&mut fresh).await.1, message(2));
    let mut resumed = resume(&outbox, &last);
    assert_eq!(read(&mut resumed).await.1, message(2));
    assert!(fresh.next().await.is_none(), "replaced");
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_streams() {
    let outbox = outbox();
    let (writer, mut call) = outbox.open();
    let mut standing = outbox.standing();
    let ending = tokio::spawn(async move { (call.next().await, standing.next().await) });
    tokio::task::yield_now().await;

    outbox.close();

    assert!(matches!(ending.await.unwrap(), (None, None)));
    assert!(!writer.send(message(1)));
    assert!(outbox.standing().next().await.is_none());
    assert!(outbox.open().1.next().await.is_none());
}

#[tokio::test]
async fn two_outboxes_never_share_an_id() {
    let (one, other) = (outbox(), outbox());
    let (writer, mut messages) = one.open();
    let (_writer, _messages) = other.open();
    writer.send(message(1));
    let (id, _) = read(&mut messages).await;

    if one.lock().log.resume(&id).is_ok() {
        assert!(other.resume(&id).is_err());
    }
}

/// Nothing is left of a stream that was read to its end long ago, nor of one that nobody read.
#[tokio::test(start_paused = true)]
async fn streams_leave_nothing_behind() {
    let outbox = outbox();
    for _ in 0..1_000 {
        let (writer, messages) = outbox.open();
        writer.send(message(1));
        drop(writer);
        drop(messages);
    }
    assert_eq!(outbox.lock().log.held().0, limits::REPLAY_EVENTS);

    tokio::time::advance(limits::REPLAY_AGE).await;
    outbox.sweep();

    let state = outbox.lock();
    assert!(state.log.is_empty() && state.waiting.is_empty());
}
