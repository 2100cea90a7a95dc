//! Session claims.

use proptest::prelude::*;
use vmcp_core::limits;
use vmcp_core::mcp::ProtocolVersion;
use vmcp_core::session::{CLAIMS_VERSION, ClaimsError, Owner, SessionClaims};

use crate::support::{SOME, cases, quoted};

fn objects() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,8}".prop_map(|text| format!(r#"{{ "n":{},"v":1.0}}"#, quoted(&text))))
}

fn claims() -> impl Strategy<Value = SessionClaims> {
    let who = (
        ".{0,8}",
        "/[a-z/]{0,8}",
        proptest::option::of(".{0,8}"),
        ".{0,8}",
    );
    let when = (
        any::<u64>(),
        any::<u64>(),
        prop::sample::select(&ProtocolVersion::ALL[..]),
    );
    (who, when, objects(), objects()).prop_map(|(who, when, info, capabilities)| SessionClaims {
        version: CLAIMS_VERSION,
        virtual_uid: who.0,
        path: who.1,
        principal: who.2,
        owner: Owner {
            pod: who.3.into(),
            boot: "b".into(),
        },
        issued: when.0,
        expires: when.1,
        protocol_version: when.2,
        client_info_raw: info,
        client_capabilities_raw: capabilities,
    })
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// Claims are read as they were written, raw members byte for byte.
    #[test]
    fn claims_are_read_as_they_were_written(claims in claims()) {
        prop_assert_eq!(SessionClaims::decode(&claims.encode()), Ok(claims));
    }

    /// Hostile bytes are refused, never a panic.
    #[test]
    fn hostile_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(SessionClaims::decode(&bytes).is_err());
    }

    /// Claims with a byte changed are refused or other claims, never a panic.
    #[test]
    fn changed_claims_never_panic(claims in claims(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = claims.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;

        let _ = SessionClaims::decode(&bytes);
    }

    /// T10, T12: claims hold for their own endpoint, principal and time only.
    #[test]
    fn claims_hold_where_and_for_whom_they_were_made(claims in claims(), now in any::<u64>()) {
        let principal = claims.principal.as_deref();
        let own = claims.check(&claims.virtual_uid, &claims.path, principal, now);

        let expected = if now < claims.expires { Ok(()) } else { Err(ClaimsError::Expired) };
        prop_assert_eq!(own, expected);
        let foreign = claims.check("another", &claims.path, principal, now);
        prop_assert_eq!(foreign, Err(ClaimsError::Foreign));
        let elsewhere = claims.check(&claims.virtual_uid, "elsewhere", principal, now);
        prop_assert_eq!(elsewhere, Err(ClaimsError::Foreign));
        let other = claims.check(&claims.virtual_uid, &claims.path, Some("somebody else"), now);
        prop_assert_eq!(other, Err(ClaimsError::Principal));
    }
}

#[test]
fn claims_of_another_layout_are_refused() {
    let other = SessionClaims {
        version: CLAIMS_VERSION + 1,
        ..SessionClaims::default()
    };

    assert_eq!(
        SessionClaims::decode(&other.encode()),
        Err(ClaimsError::Version)
    );
}

#[test]
fn claims_with_raw_members_that_are_no_objects_are_refused() {
    for raw in ["", "1", "[]", "{", "{} x", "{\"a\":}"] {
        let broken = SessionClaims {
            client_info_raw: Some(raw.into()),
            ..SessionClaims::default()
        };
        assert_eq!(
            SessionClaims::decode(&broken.encode()),
            Err(ClaimsError::Malformed),
            "{raw}"
        );
    }
}

/// A client that describes itself at length loses its description, not its session.
#[test]
fn a_long_description_of_a_client_costs_no_session() {
    let icon = format!(
        r#"{{"name":"c","icons":["{}"]}}"#,
        "x".repeat(limits::SESSION_CLAIMS)
    );
    let claims = SessionClaims {
        client_info_raw: Some(icon),
        ..SessionClaims::default()
    };

    let read = SessionClaims::decode(&claims.encode()).unwrap();

    assert_eq!(
        read,
        SessionClaims {
            client_info_raw: None,
            ..claims
        }
    );
}
