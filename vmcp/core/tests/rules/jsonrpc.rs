//! The envelope.

use proptest::prelude::*;
use vmcp_core::jsonrpc::{
    self, Message, ParseError, RequestId, Response, RpcError, parse, parse_batch,
};
use vmcp_core::limits;

use crate::support::{SOME, cases, quoted};

fn ids() -> impl Strategy<Value = RequestId> {
    prop_oneof![
        any::<u64>().prop_map(RequestId::number),
        any::<i64>().prop_map(|n| RequestId::Number(n.to_string().into())),
        "[1-9][0-9]{0,3}\\.[0-9]{1,4}".prop_map(|n| RequestId::Number(n.into())),
        "[1-9]e[1-9]".prop_map(|n| RequestId::Number(n.into())),
        ".{0,12}".prop_map(|text| RequestId::String(quoted(&text).into())),
        Just(RequestId::String(r#""\u0061\/""#.into())),
    ]
}

/// Values whose spelling a reformatting would change.
fn raw_values() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1.10".to_owned()),
        Just("1e400".to_owned()),
        Just("-0".to_owned()),
        Just(r#""\u00e9\/\"}{][""#.to_owned()),
        ".{0,6}".prop_map(|text| quoted(&text)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[ {} ]", items.join(" , "))),
            proptest::collection::vec(inner, 0..3).prop_map(|items| {
                let members: Vec<_> = items.iter().map(|item| format!("\"k\" :{item}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// T22: a request is read as it was written: id by its spelling, params byte for byte.
    #[test]
    fn a_request_is_read_as_it_was_written(
        id in ids(),
        method in ".{0,12}",
        value in proptest::option::of(raw_values()),
    ) {
        let params = value.map(|value| format!(r#"{{ "a":{value}}}"#));
        let bytes = jsonrpc::write_request(&id, &method, params.as_deref());

        let Ok(Message::Request(request)) = parse(&bytes) else {
            return Err(TestCaseError::fail(as_text(&bytes).to_owned()));
        };
        prop_assert_eq!(&request.id, &id);
        prop_assert_eq!(&*request.method, &*method);
        prop_assert_eq!(request.params.map(|raw| raw.get()), params.as_deref());
    }

    /// T22: so is a result.
    #[test]
    fn a_result_is_read_as_it_was_written(id in ids(), result in raw_values()) {
        let bytes = jsonrpc::write_result(&id, &result);

        let Ok(Message::Response(Response::Result { id: read, result: raw })) = parse(&bytes) else {
            return Err(TestCaseError::fail(as_text(&bytes).to_owned()));
        };
        prop_assert_eq!(read, id);
        prop_assert_eq!(raw.get(), &*result);
    }

    /// And an error, with its data byte for byte.
    #[test]
    fn an_error_is_read_as_it_was_written(
        id in prop_oneof![ids(), Just(RequestId::Null)],
        code in any::<i64>(),
        message in ".{0,12}",
        data in proptest::option::of(raw_values()),
    ) {
        // A null is no data.
        let data = data.filter(|data| data != "null");
        let mut error = RpcError::new(code, message);
        error.data = data.map(|raw| serde_json::value::RawValue::from_string(raw).unwrap());
        let bytes = jsonrpc::write_error(&id, &error);

        let Ok(Message::Response(Response::Error { id: read, error: found })) = parse(&bytes) else {
            return Err(TestCaseError::fail(as_text(&bytes).to_owned()));
        };
        prop_assert_eq!(read, id);
        prop_assert_eq!(found, error);
    }

    /// And a notification.
    #[test]
    fn a_notification_is_read_as_it_was_written(method in ".{0,12}", value in raw_values()) {
        let params = format!(r#"{{"v":{value}}}"#);
        let bytes = jsonrpc::write_notification(&method, Some(&params));

        let Ok(Message::Notification(notification)) = parse(&bytes) else {
            return Err(TestCaseError::fail(as_text(&bytes).to_owned()));
        };
        prop_assert_eq!(&*notification.method, &*method);
        prop_assert_eq!(notification.params.map(|raw| raw.get()), Some(&*params));
    }

    /// Hostile bytes are refused or read, never a panic.
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = parse(&bytes);
        let _ = parse_batch(&bytes);
    }

    /// Nor does text made of JSON's own signs.
    #[test]
    fn hostile_json_never_panics(text in r#"[\[\]{}":,\\0-9.eE+\-ntrufalsidmeho ]{0,60}"#) {
        let _ = parse(text.as_bytes());
        let _ = parse_batch(text.as_bytes());
    }

    /// A message cut short is refused, wherever the cut: never taken for another one (T11).
    #[test]
    fn a_message_cut_short_is_refused(
        id in ids(),
        result in raw_values(),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = jsonrpc::write_result(&id, &result);

        prop_assert!(parse(&bytes[..at.index(bytes.len())]).is_err());
    }
}

fn error_of(text: &str) -> ParseError {
    parse(text.as_bytes())
        .map(|message| format!("{message:?}"))
        .expect_err(text)
}

/// What is no JSON is -32700, what is no JSON-RPC is -32600.
#[test]
fn what_is_no_message_is_refused_with_the_right_code() {
    let syntax = [
        "",
        "{",
        "nope",
        "<html></html>",
        r#"{"jsonrpc":"2.0","id":1,"method":"m"}}"#,
        "\u{1}",
    ];
    for text in syntax {
        assert_eq!(error_of(text), ParseError::Syntax, "{text}");
        assert_eq!(error_of(text).to_rpc_error().code, -32_700);
    }
    let invalid = [
        "null",
        "7",
        r#""text""#,
        "{}",
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":"p"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","\u006dethod":"n"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":"Bad Request"}"#,
        r#"{"error":"Bad Request"}"#,
    ];
    for text in invalid {
        assert!(
            matches!(error_of(text), ParseError::Invalid(_)),
            "{text}: {:?}",
            error_of(text)
        );
        assert_eq!(error_of(text).to_rpc_error().code, -32_600);
    }
    assert_eq!(
        parse(b"\xff{}").map(|_| ()).unwrap_err(),
        ParseError::Syntax
    );
}

/// How real servers answer: a null id, an id of their own, a null beside what they mean.
#[test]
fn odd_answers_of_real_servers_are_understood() {
    let id_of = |text: &str| match parse(text.as_bytes()).unwrap() {
        Message::Response(response) => response.id().clone(),
        other => panic!("{other:?}"),
    };
    let null = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request"},"id":null}"#;
    assert_eq!(id_of(null), RequestId::Null);
    let named = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"x"}}"#;
    assert_eq!(id_of(named), RequestId::String("\"server-error\"".into()));
    let bare = r#"{"jsonrpc":"2.0","error":{"code":-32700}}"#;
    assert_eq!(id_of(bare), RequestId::Null);
    let both = r#"{"jsonrpc":"2.0","id":3,"result":{"a":1},"error":null}"#;
    assert!(matches!(
        parse(both.as_bytes()).unwrap(),
        Message::Response(Response::Result { result, .. }) if result.get() == r#"{"a":1}"#
    ));
    let neither = r#"{"jsonrpc":"2.0","id":3,"result":null,"error":{"code":1,"message":"m"}}"#;
    assert!(matches!(
        parse(neither.as_bytes()).unwrap(),
        Message::Response(Response::Error { error, .. }) if error.code == 1
    ));
}

/// Depth is bounded at 64, in every kind of bracket, and brackets in strings do not count.
#[test]
fn depth_is_bounded() {
    let nested = |depth: usize, open: &str, close: &str| {
        // The envelope itself and params are two levels.
        let inner = depth - 2;
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{}1{}}}}}"#,
            open.repeat(inner),
            close.repeat(inner)
        )
    };
    for (open, close) in [("[", "]"), (r#"{"k":"#, "}")] {
        assert!(parse(nested(limits::JSON_DEPTH, open, close).as_bytes()).is_ok());
        assert_eq!(
            error_of(&nested(limits::JSON_DEPTH + 1, open, close)),
            ParseError::TooDeep
        );
    }
    let million = "[".repeat(1_000_000);
    assert_eq!(error_of(&million), ParseError::TooDeep);
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"\"{}"}}"#,
        "[{".repeat(200)
    );
    assert!(parse(text.as_bytes()).is_ok());
}

/// Batches: only where they are asked for, 100 at most, each message on its own.
#[test]
fn a_batch_is_read_only_where_it_is_asked_for() {
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(error_of(&format!("[{one}]")), ParseError::Batch);
    assert_eq!(error_of(" []"), ParseError::Batch);
    // serde would read an array as the members of the envelope in order.
    assert_eq!(error_of(r#"["2.0",1,"m",{},null,null]"#), ParseError::Batch);

    let items = |count: usize| format!("[{}]", vec![one; count].join(","));
    assert_eq!(
        parse_batch(items(limits::BATCH).as_bytes()).unwrap().len(),
        limits::BATCH
    );
    assert_eq!(
        parse_batch(items(limits::BATCH + 1).as_bytes())
            .map(|_| ())
            .unwrap_err(),
        ParseError::BatchTooLarge
    );
    assert!(parse_batch(b"[]").is_err());
    assert_eq!(parse_batch(one.as_bytes()).unwrap().len(), 1);
    let mixed = format!("[{one},7]");
    let mixed = parse_batch(mixed.as_bytes()).unwrap();
    assert!(mixed[0].is_ok() && mixed[1].is_err());
}

/// Spelling is part of an id: the answer carries what the question carried.
#[test]
fn an_id_keeps_its_spelling_and_its_type() {
    let read = |raw| RequestId::from_raw(raw);

    assert_ne!(read("1"), read("\"1\""));
    assert_ne!(read("1"), read("1.0"));
    assert_eq!(read("1.0").unwrap().to_raw(), "1.0");
    for raw in ["true", "[1]", "{}", "", "\""] {
        assert_eq!(read(raw), None, "{raw}");
    }
}

#[test]
fn an_error_says_its_message_and_code() {
    assert_eq!(
        RpcError::new(-32_601, "no such method").to_string(),
        "no such method (code -32601)"
    );
}
