//! Where messages are posted, and to whom answers go.

use super::*;

fn event(name: &str, data: &str) -> Event {
    Event {
        name: name.into(),
        data: data.to_owned(),
    }
}

fn question(pending: &mut Pending, id: &str, token: Option<&str>) -> Inbox {
    let (inbox, received) = mpsc::channel(EVENT_BUFFER + 1);
    let question = Question {
        inbox,
        token: token.map(Into::into),
    };
    pending.register(&number(id), question).unwrap();
    received
}

fn number(id: &str) -> RequestId {
    RequestId::Number(id.into())
}

fn response(id: &str) -> Inbound {
    Inbound::Response {
        id: number(id),
        answer: Ok("{}".into()),
    }
}

/// The endpoint must resolve to the origin of the URL: it would carry requests elsewhere.
#[test]
fn an_endpoint_of_another_origin_is_refused() {
    let base: Url = "http://h:8080/a/sse".parse().unwrap();
    let resolved = |data: &str| {
        post_url(&base, &event("endpoint", data))
            .map(String::from)
            .ok()
    };

    assert_eq!(
        resolved("/messages?id=1").as_deref(),
        Some("http://h:8080/messages?id=1")
    );
    assert_eq!(
        resolved("messages").as_deref(),
        Some("http://h:8080/a/messages")
    );
    assert_eq!(
        resolved("http://h:8080/m").as_deref(),
        Some("http://h:8080/m")
    );
    for elsewhere in [
        "http://h/m",
        "https://h:8080/m",
        "//evil:8080/m",
        "http://evil:8080/m",
        "file:///etc",
    ] {
        assert_eq!(resolved(elsewhere), None, "{elsewhere}");
    }
    assert!(post_url(&base, &event("message", "/messages")).is_err());
}

/// Answers go to their own question, progress to the one whose token it names.
#[test]
fn each_message_finds_its_question() {
    let mut pending = Pending::default();
    let mut first = question(&mut pending, "1", Some("\"a\""));
    let mut second = question(&mut pending, "2", Some("\"b\""));
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"b"}}"#;

    pending.deliver(Inbound::Notification(progress.into()));
    pending.deliver(response("1"));
    pending.deliver(response("9"));

    assert!(matches!(first.try_recv(), Ok(Ok(Inbound::Response { .. }))));
    assert!(matches!(
        second.try_recv(),
        Ok(Ok(Inbound::Notification(_)))
    ));
    assert!(second.try_recv().is_err());
}

/// However many notifications are unread, the response still fits.
#[test]
fn notifications_never_crowd_out_the_response() {
    let mut pending = Pending::default();
    let mut inbox = question(&mut pending, "1", None);

    for _ in 0..100 {
        pending.deliver(Inbound::Notification("{}".into()));
    }
    pending.deliver(response("1"));

    let mut last = None;
    while let Ok(message) = inbox.try_recv() {
        last = Some(message);
    }
    assert!(matches!(last, Some(Ok(Inbound::Response { .. }))));
}

/// T11: a stream that ends fails every question on it, and takes no new one.
#[test]
fn a_lost_stream_fails_every_question() {
    let mut pending = Pending::default();
    let mut first = question(&mut pending, "1", None);
    let mut second = question(&mut pending, "2", None);

    pending.fail(&lost("the stream ended"));

    assert!(matches!(first.try_recv(), Ok(Err(WireError::Lost(_)))));
    assert!(matches!(second.try_recv(), Ok(Err(WireError::Lost(_)))));
    let (inbox, _received) = mpsc::channel(1);
    assert!(
        pending
            .register(&number("3"), Question { inbox, token: None })
            .is_err()
    );
}
