//! What a waiting call leaves with its client.

use proptest::prelude::*;
use vmcp_core::bridge::{StateClaims, StateError, Terms, request_digest};
use vmcp_core::session::{OwnedState, Owner};

use crate::support::{SOME, cases, quoted};

const NOW: u64 = 1_800_000_000;

fn owner() -> Owner {
    Owner {
        pod: "10.0.0.1".into(),
        boot: "b".into(),
    }
}

fn claims() -> StateClaims {
    let terms = Terms {
        round: 1,
        principal: Some("alice".to_owned()),
        expires: NOW + 600,
        digest: request_digest("s", "tools/call", "{}"),
    };
    StateClaims::parked(owner(), 7, terms)
}

proptest! {
    #![proptest_config(cases(SOME))]

    #[test]
    fn claims_of_a_state_are_read_as_they_were_written(
        call in proptest::option::of(any::<u64>()),
        principal in proptest::option::of(".{0,8}"),
        round in any::<u32>(),
        expires in any::<u64>(),
        digest in any::<[u8; 32]>(),
    ) {
        let terms = Terms { round, principal, expires, digest };
        let claims = match call {
            Some(call) => StateClaims::parked(owner(), call, terms),
            None => StateClaims::repeat(terms),
        };

        let bytes = claims.encode();

        prop_assert_eq!(StateClaims::decode(&bytes), Ok(claims.clone()));
        // Any replica knows whose it is without knowing more.
        prop_assert_eq!(OwnedState::owner_of(&bytes), call.map(|_| owner()));
        prop_assert_eq!(claims.kept().map(|(_, call)| call), call);
    }

    #[test]
    fn hostile_states_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        prop_assert_eq!(StateClaims::decode(&bytes), Err(StateError::Malformed));
    }

    /// A retry is the same request however its client spells it this time: order, escapes, white
    /// space, `_meta` and the members of the retry do not count.
    #[test]
    fn a_retry_has_the_digest_of_its_request(text in ".{0,8}", number in any::<i64>()) {
        let text = quoted(&text);
        let first = format!(
            r#"{{"name":{text},"arguments":{{"a":{text},"n":{number},"l":[1,{{"x":1,"y":2}}]}},"_meta":{{"progressToken":1}}}}"#
        );
        let again = format!(
            r#"{{ "requestState":"s","_meta":{{"progressToken":2}}, "arguments":{{"l":[ 1, {{"y":2,"x":1}} ],"n":{number},"\u0061":{text}}},"name": {text},"inputResponses":{{"k":{{}}}}}}"#
        );
        prop_assert_eq!(
            request_digest("s", "tools/call", &first),
            request_digest("s", "tools/call", &again)
        );
    }

    /// And any other request has another.
    #[test]
    fn another_request_has_another_digest(a in "[a-z\"\\[\\]{},:]{0,6}", b in "[a-z\"\\[\\]{},:]{0,6}") {
        prop_assume!(a != b);
        let of = |text: &str| request_digest("s", "tools/call", &format!(r#"{{"a":{}}}"#, quoted(text)));
        prop_assert_ne!(of(&a), of(&b));
        prop_assert_ne!(request_digest("s", &a, "{}"), request_digest("s", &b, "{}"));
        prop_assert_ne!(request_digest(&a, "m", "{}"), request_digest(&b, "m", "{}"));
    }
}

#[test]
fn shapes_that_look_alike_have_different_digests() {
    let params = [
        r#"{"a":[1,2]}"#,
        r#"{"a":[12]}"#,
        r#"{"a":[[1],2]}"#,
        r#"{"a":["1",2]}"#,
        r#"{"a":{"1":2}}"#,
        r#"{"a":1.0}"#,
        r#"{"a":1}"#,
        r#"{"a":"1"}"#,
        r#"{"a":null}"#,
        r#"{"a":[]}"#,
        r#"{"a":{}}"#,
        r#"{}"#,
    ];
    for (at, one) in params.iter().enumerate() {
        for other in &params[at + 1..] {
            assert_ne!(
                request_digest("s", "m", one),
                request_digest("s", "m", other),
                "{one} {other}"
            );
        }
    }
}

#[test]
fn a_state_continues_its_own_request_of_its_own_principal_in_time() {
    let claims = claims();
    let digest = claims.digest;
    let other = request_digest("s", "tools/call", r#"{"a":1}"#);
    let check = |who, digest, now| claims.check(who, digest, now);

    assert_eq!(check(Some("alice"), &digest, NOW + 599), Ok(()));
    assert_eq!(
        check(Some("alice"), &digest, NOW + 600),
        Err(StateError::Expired)
    );
    assert_eq!(check(Some("bob"), &digest, NOW), Err(StateError::Principal));
    assert_eq!(check(None, &digest, NOW), Err(StateError::Principal));
    assert_eq!(check(Some("alice"), &other, NOW), Err(StateError::Request));
}

/// Somebody who tries out states learns nothing from the answers.
#[test]
fn a_refused_state_has_one_answer_and_a_lost_call_another() {
    let refused = [
        StateError::Malformed,
        StateError::Principal,
        StateError::Request,
    ];
    for error in refused {
        assert_eq!(error.to_rpc("s"), StateError::Malformed.to_rpc("s"));
        assert_eq!(error.to_rpc("s").code, -32_602);
    }
    for error in [StateError::Expired, StateError::Gone] {
        assert_eq!(error.to_rpc("s").code, -31_004);
        assert!(
            error
                .to_rpc("s")
                .data_raw()
                .unwrap()
                .contains("ParkedCallLost")
        );
    }
}
