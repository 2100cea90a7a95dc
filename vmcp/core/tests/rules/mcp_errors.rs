//! Error codes and data towards clients.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use vmcp_core::health::ProbeReason;
use vmcp_core::limits;
use vmcp_core::mcp::Era;
use vmcp_core::mcp::error::{ClientErrorKind, client_error};

use crate::support::cases;

const KINDS: [ClientErrorKind; 5] = [
    ClientErrorKind::BackendUnavailable,
    ClientErrorKind::Timeout,
    ClientErrorKind::ResourceTimeout,
    ClientErrorKind::Authentication,
    ClientErrorKind::ParkedCallLost,
];

/// R3, end: the codes of both eras.
#[test]
fn the_codes_are_those_of_the_contract() {
    let codes = |era| KINDS.map(|kind| kind.code(era));

    assert_eq!(
        codes(Era::Legacy),
        [-32_001, -32_002, -32_603, -32_003, -32_001]
    );
    assert_eq!(
        codes(Era::Modern),
        [-31_001, -31_002, -31_002, -31_003, -31_004]
    );
}

/// The modern specification reserves -32768..-32000.
#[test]
fn no_modern_code_of_ours_is_reserved() {
    for kind in KINDS {
        assert!(
            !(-32_768..=-32_000).contains(&kind.code(Era::Modern)),
            "{kind:?}"
        );
    }
}

/// R4.13: `data` is `{reason, server, detail, retryAfterMs?}`.
#[test]
fn the_data_names_reason_server_detail_and_when_to_come_back() {
    let error = client_error(
        Era::Legacy,
        ClientErrorKind::BackendUnavailable,
        "git",
        ProbeReason::ConnectRefused,
        "connect to git:8080 refused",
        Some(1_500),
    );

    let data: Value = serde_json::from_str(error.data_raw().unwrap()).unwrap();
    assert_eq!(
        data,
        json!({
            "reason": "ConnectRefused",
            "server": "git",
            "detail": "connect to git:8080 refused",
            "retryAfterMs": 1_500,
        })
    );
    assert_eq!(error.message, "backend unavailable: git (ConnectRefused)");
}

proptest! {
    #![proptest_config(cases(5_000))]

    /// R3.4: whatever the detail says, it is short, without control characters and without a
    /// bearer token.
    #[test]
    fn a_detail_is_always_fit_to_be_shown(before in ".{0,400}", secret in "[A-Za-z0-9]{12,40}") {
        let detail = format!("{before} Authorization: Bearer {secret}");
        let kind = ClientErrorKind::Authentication;
        let error = client_error(Era::Modern, kind, "s", ProbeReason::AuthFailed, &detail, None);

        let data: Value = serde_json::from_str(error.data_raw().unwrap()).unwrap();
        let shown = data["detail"].as_str().unwrap();
        prop_assert!(shown.len() <= limits::STATUS_TEXT);
        prop_assert!(!shown.contains(&secret) || before.contains(&secret));
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(data.get("retryAfterMs").is_none());
    }
}

/// T6: reasons are one enumeration with one spelling each.
#[test]
fn every_reason_has_one_name() {
    let names: HashSet<_> = ProbeReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();

    assert_eq!(names.len(), ProbeReason::ALL.len());
    for reason in ProbeReason::ALL {
        assert_eq!(ProbeReason::parse(reason.as_str()), Some(*reason));
        assert!(reason.as_str().chars().all(|c| c.is_ascii_alphabetic()));
    }
    assert_eq!(ProbeReason::parse("nonsense"), None);
}
