//! Requests for input, between the eras.

use proptest::prelude::*;
use serde_json::value::RawValue;
use vmcp_core::bridge::{
    Input, InputCapabilities, InputError, InputRequest, InputRequired, all_accepted,
    missing_capability, response_to, retry_params, retry_state, url_elicitations, url_required,
    with_elicitation_id, without_retry, write_input_required,
};
use vmcp_core::jsonrpc::{RpcError, raw};
use vmcp_core::limits;
use vmcp_core::mcp::{Params, ProtocolVersion};

use crate::support::{SOME, cases, quoted};

const LEGACY: ProtocolVersion = ProtocolVersion::LATEST_LEGACY;
const MODERN: ProtocolVersion = ProtocolVersion::LATEST_MODERN;

/// Raw objects with odd spellings, which must survive.
fn raw_objects() -> impl Strategy<Value = String> {
    (".{0,6}", any::<i32>()).prop_map(|(text, n)| {
        format!(
            r#"{{ "m":{}, "n" : {n}.10,"x":[1e400, null]}}"#,
            quoted(&text)
        )
    })
}

fn questions() -> impl Strategy<Value = Vec<(String, String, Option<String>)>> {
    let method = prop::sample::select(vec![
        "elicitation/create".to_owned(),
        "sampling/createMessage".to_owned(),
        "odd\"method".to_owned(),
    ]);
    proptest::collection::btree_map(
        ".{0,6}",
        (method, proptest::option::of(raw_objects())),
        1..6,
    )
    .prop_map(|map| map.into_iter().map(|(k, (m, p))| (k, m, p)).collect())
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// What is asked is read as it was written, params byte for byte.
    #[test]
    fn requests_for_input_are_read_as_they_were_written(asked in questions(), state in ".{0,12}") {
        let requests: Vec<_> = asked.iter().map(|(key, method, params)| InputRequest {
            key: key.as_str().into(),
            method: method.as_str().into(),
            params: params.as_deref(),
        }).collect();

        let written = write_input_required(requests.clone(), &state);
        let read = InputRequired::parse(&written).unwrap().unwrap();

        prop_assert_eq!(read.requests, requests);
        let state_read: String = serde_json::from_str(read.state.unwrap()).unwrap();
        prop_assert_eq!(state_read, state);
    }

    /// Each answer is found under its key, byte for byte; the state and every other member cross
    /// unchanged, and earlier rounds leave nothing behind.
    #[test]
    fn a_retry_carries_its_answers_and_nothing_else_changes(
        answers in proptest::collection::btree_map(".{0,6}", raw_objects(), 1..5),
        state in proptest::option::of(".{0,12}"),
        params in raw_objects(),
    ) {
        let pairs = || answers.iter().map(|(key, raw)| (key.as_str(), raw.as_str()));
        let state = state.map(|text| quoted(&text));
        let first = retry_params(&params, [("old", "{}")], Some("\"old\""));

        let retry = retry_params(&first, pairs(), state.as_deref());

        prop_assert!(Params::read("tools/call", &retry).is_retry());
        prop_assert!(!Params::read("tools/call", &params).is_retry());
        for (key, raw) in &answers {
            prop_assert_eq!(response_to(&retry, key), Some(raw.as_str()));
        }
        prop_assert_eq!(response_to(&retry, "never asked"), None);
        prop_assert_eq!(raw::top_level(&retry, "requestState"), state.as_deref());
        prop_assert_eq!(retry_state(&retry), state.map(|raw| serde_json::from_str(&raw).unwrap()));
        let before = without_retry(&retry);
        prop_assert_eq!(raw::members(&before).unwrap(), raw::members(&params).unwrap());
    }

    /// Hostile text never panics, and is never taken for a question.
    #[test]
    fn hostile_results_never_panic(text in ".{0,40}") {
        prop_assert_eq!(InputRequired::parse(&text), Ok(None));
        let _ = Params::read("tools/call", &text).is_retry();
        let _ = retry_params(&text, [("a", "{}")], None);
        let asking = format!(r#"{{"resultType":"input_required","inputRequests":{text}"#);
        let _ = InputRequired::parse(&asking);
    }

    /// A request passes only to a client that declared it, whatever it declared.
    #[test]
    fn nothing_is_asked_that_was_not_declared(declared in proptest::sample::subsequence(&Input::ALL[..], 0..=5)) {
        let capabilities = InputCapabilities::declared(LEGACY, Some(&declaration(&declared)));

        for (input, method, params) in ASKED {
            let allowed = capabilities.check(method, Some(params));
            // Form is what is meant where no mode is named at all; sampling with tools is sampling.
            let has = declared.contains(&input)
                || (input == Input::Sampling && declared.contains(&Input::SamplingTools));
            prop_assert_eq!(allowed.is_ok(), has, "{:?} of {:?}", input, declared);
        }
    }
}

const ASKED: [(Input, &str, &str); 5] = [
    (
        Input::ElicitationForm,
        "elicitation/create",
        r#"{"message":"?"}"#,
    ),
    (
        Input::ElicitationUrl,
        "elicitation/create",
        r#"{"mode":"url"}"#,
    ),
    (Input::Sampling, "sampling/createMessage", "{}"),
    (
        Input::SamplingTools,
        "sampling/createMessage",
        r#"{"tools":[]}"#,
    ),
    (Input::Roots, "roots/list", "{}"),
];

fn declaration(declared: &[Input]) -> String {
    let has = |input| declared.contains(&input);
    let modes: Vec<_> = [
        (Input::ElicitationForm, "form"),
        (Input::ElicitationUrl, "url"),
    ]
    .into_iter()
    .filter(|(input, _)| has(*input))
    .map(|(_, mode)| format!(r#""{mode}":{{}}"#))
    .collect();
    let mut members = Vec::new();
    if !modes.is_empty() {
        members.push(format!(r#""elicitation":{{{}}}"#, modes.join(",")));
    }
    if has(Input::SamplingTools) {
        members.push(r#""sampling":{"tools":{}}"#.to_owned());
    } else if has(Input::Sampling) {
        members.push(r#""sampling":{}"#.to_owned());
    }
    if has(Input::Roots) {
        members.push(r#""roots":{"listChanged":true}"#.to_owned());
    }
    format!("{{{}}}", members.join(","))
}

#[test]
fn a_client_is_refused_as_it_would_refuse_itself() {
    let form = InputCapabilities::declared(MODERN, Some(r#"{"elicitation":{},"sampling":{}}"#));
    let code = |method, params| form.check(method, Some(params)).unwrap_err().code;

    assert!(form.check("elicitation/create", Some("{}")).is_ok());
    assert_eq!(code("elicitation/create", r#"{"mode":"url"}"#), -32_602);
    assert_eq!(code("elicitation/create", r#"{"mode":"dream"}"#), -32_602);
    assert_eq!(code("sampling/createMessage", r#"{"tools":[]}"#), -32_602);
    assert_eq!(code("roots/list", "{}"), -32_601);
    assert_eq!(code("vendor/ask", "{}"), -32_601);
    let nothing = InputCapabilities::declared(MODERN, None);
    assert_eq!(
        nothing.check("elicitation/create", None).unwrap_err().code,
        -32_601
    );
}

/// What a revision does not know, its client cannot mean.
#[test]
fn a_revision_bounds_what_its_clients_can_declare() {
    let all = r#"{"elicitation":{"url":{},"form":{}},"sampling":{"tools":{}},"roots":{}}"#;
    let has = |version, input| InputCapabilities::declared(version, Some(all)).has(input);

    for input in Input::ALL {
        for version in ProtocolVersion::ALL {
            assert_eq!(
                has(version, input),
                version >= input.since(),
                "{version} {input:?}"
            );
        }
    }
    let url_only = Some(r#"{"elicitation":{"url":{}}}"#);
    assert!(!InputCapabilities::declared(LEGACY, url_only).has(Input::ElicitationForm));
    let older = InputCapabilities::declared(ProtocolVersion::V2025_06_18, url_only);
    assert!(older.has(Input::ElicitationForm) && !older.has(Input::ElicitationUrl));
}

#[test]
fn a_broken_request_for_input_says_what_is_wrong() {
    let error = |members: &str| {
        InputRequired::parse(&format!(r#"{{"resultType":"input_required"{members}}}"#)).unwrap_err()
    };
    let many: Vec<_> = (0..=limits::QUESTIONS)
        .map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#))
        .collect();

    assert_eq!(error(""), InputError::Nothing);
    assert_eq!(error(r#","inputRequests":[]"#), InputError::Requests);
    assert_eq!(error(r#","inputRequests":{"a":{}}"#), InputError::Requests);
    assert_eq!(
        error(r#","inputRequests":{"a":{"method":"m","params":[]}}"#),
        InputError::Requests
    );
    assert_eq!(
        error(r#","inputRequests":{"a":{"method":"m"},"\u0061":{"method":"m"}}"#),
        InputError::Twice
    );
    assert_eq!(error(r#","requestState":7"#), InputError::State);
    assert_eq!(
        error(&format!(r#","inputRequests":{{{}}}"#, many.join(","))),
        InputError::TooMany
    );
    let state_alone = r#"{"resultType":"input_required","requestState":"s"}"#;
    assert!(
        InputRequired::parse(state_alone)
            .unwrap()
            .unwrap()
            .requests
            .is_empty()
    );
}

fn url_error(data: &str) -> RpcError {
    RpcError {
        data: RawValue::from_string(data.to_owned()).ok(),
        ..RpcError::new(-32_042, "open it")
    }
}

/// -32042 and a request for input say the same thing, there and back.
#[test]
fn a_required_url_crosses_in_both_directions() {
    let params = r#"{"mode":"url","elicitationId":"e-1","url":"https://x/ ","message":"1.10"}"#;
    let error = url_error(&format!(r#"{{"elicitations":[{params}],"vendor":1}}"#));

    assert_eq!(url_elicitations(&error), Some(vec![params]));

    let bare = r#"{"mode":"url","url":"https://x/"}"#;
    let request = |params, method: &'static str| InputRequest {
        key: "k".into(),
        method: method.into(),
        params,
    };
    let ids = ["ours".to_owned(), "ours-2".to_owned()];
    let asked = [
        request(Some(params), "elicitation/create"),
        request(Some(bare), "elicitation/create"),
    ];
    let back = url_required(&asked, &ids).unwrap();
    let with_id = with_elicitation_id(bare, "ours-2");
    assert!(with_id.contains(r#""elicitationId":"ours-2""#));
    assert_eq!(
        url_elicitations(&back),
        Some(vec![params, with_id.as_str()])
    );
    assert_eq!(with_elicitation_id("{}", "x"), "{}");

    let mixed = [
        request(Some(bare), "elicitation/create"),
        request(None, "roots/list"),
    ];
    assert_eq!(url_required(&mixed, &ids), None);
    assert_eq!(
        url_required(&[request(Some("{}"), "elicitation/create")], &ids),
        None
    );
    assert_eq!(url_required(&[], &ids), None);
}

#[test]
fn an_error_that_names_no_url_is_passed_as_it_is() {
    for data in [
        "null",
        r#"{"elicitations":[]}"#,
        r#"{"elicitations":[{"mode":"form"}]}"#,
        r#"{"elicitations":{}}"#,
    ] {
        assert_eq!(url_elicitations(&url_error(data)), None, "{data}");
    }
    let other = RpcError {
        code: -32_041,
        ..url_error(r#"{"elicitations":[{"mode":"url"}]}"#)
    };
    assert_eq!(url_elicitations(&other), None);
}

#[test]
fn one_refusal_among_the_answers_is_seen() {
    let answers = |second: &str| {
        format!(r#"{{"inputResponses":{{"a":{{"action":"accept"}},"b":{{"action":{second}}}}}}}"#)
    };
    assert!(all_accepted(&answers("\"accept\""), ["a", "b", "missing"]));
    assert!(!all_accepted(&answers("\"decline\""), ["a", "b"]));
    assert!(!all_accepted(&answers("\"cancel\""), ["a", "b"]));
    assert!(all_accepted(&answers("\"cancel\""), ["a"]));
}

#[test]
fn a_missing_capability_is_named_as_the_specification_says() {
    let error = missing_capability(Input::ElicitationUrl);

    assert_eq!(error.code, -32_021);
    assert_eq!(
        error.data_raw(),
        Some(r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#)
    );
}
