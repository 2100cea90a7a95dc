//! Versions, header values, handshakes, request metadata.

use proptest::prelude::*;
use serde_json::{Value, json};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::{
    DiscoverResult, Era, InitializeResult, ModernMeta, ProtocolVersion, ProtocolViolation,
    ServerInfo, UnsupportedVersions, discover_params, discover_result, header, initialize_params,
    initialize_result, known_method, meta, method,
};

use crate::support::{SOME, cases};

proptest! {
    #![proptest_config(cases(SOME))]

    /// A name is read as it was written, and its header value is visible ASCII.
    #[test]
    fn a_name_in_a_header_is_read_as_it_was_written(
        name in prop_oneof![".{0,20}", "[ -~]{0,20}", r"=\?base64\?[A-Za-z0-9+/=]{0,8}\?="],
    ) {
        let value = header::encode_name(&name);

        prop_assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{value:?}");
        prop_assert_eq!(value.trim(), &value);
        prop_assert_eq!(header::decode_name(&value), Ok(name.into()));
    }

    /// Hostile header values are read or refused, never a panic.
    #[test]
    fn hostile_header_values_never_panic(inner in ".{0,20}") {
        let _ = header::decode_name(&inner);
        let _ = header::decode_name(&format!("=?base64?{inner}?="));
    }

    /// T22: setting request metadata leaves every other member of params and of `_meta` as it is.
    #[test]
    fn metadata_is_set_and_all_else_stays(key in "[a-z]{1,6}", value in 0_u32..1_000) {
        prop_assume!(key != "arguments");
        let inner = format!(r#"{{ "{key}":{value}.0 }}"#);
        let params = format!(r#"{{"arguments":{{"{key}": {value}.10}},"_meta":{inner}}}"#);
        let info = r#"{"name":"n"}"#;

        let set = meta::modern_params(
            Some(&params), ProtocolVersion::LATEST_MODERN, "{}", Some(info),
        );

        let arguments = format!(r#"{{"{key}": {value}.10}}"#);
        prop_assert_eq!(vmcp_core::jsonrpc::raw::top_level(&set, "arguments"), Some(&*arguments));
        let kept = format!(r#""{key}":{value}.0"#);
        prop_assert!(set.contains(&kept));
        let read = ModernMeta::parse(&set).unwrap();
        prop_assert_eq!(&*read.protocol_version, "2026-07-28");
        prop_assert_eq!(read.client_capabilities_raw, Some("{}"));
        prop_assert_eq!(read.client_info_raw, Some(info));
    }

    /// Hostile answers to the handshakes are refused or read, never a panic.
    #[test]
    fn hostile_handshakes_never_panic(text in r#"[{}\[\]":,\\a-z0-9]{0,40}"#) {
        let _ = InitializeResult::parse(&text);
        let _ = DiscoverResult::parse(&text);
        let _ = ModernMeta::parse(&text);
        let _ = ServerInfo::parse(&text);
        let _ = vmcp_core::mcp::parse_page(vmcp_core::mcp::Kind::Tools, &text);
    }
}

#[test]
fn header_values_are_those_of_the_specification() {
    assert_eq!(header::encode_name("get_weather"), "get_weather");
    assert_eq!(header::encode_name("Grüße"), "=?base64?R3LDvMOfZQ==?=");
    assert_eq!(header::encode_name(" x"), "=?base64?IHg=?=");
    assert_eq!(
        header::decode_name("=?base64?%?="),
        Err(header::HeaderNameError::Base64)
    );
    assert_eq!(
        header::decode_name("=?base64?/w==?="),
        Err(header::HeaderNameError::Utf8)
    );
    assert_eq!(header::decode_name("=?base64?"), Ok("=?base64?".into()));
}

#[test]
fn each_revision_has_its_era_and_its_name() {
    for version in ProtocolVersion::ALL {
        assert_eq!(ProtocolVersion::parse(version.as_str()), Some(version));
        let modern = version >= ProtocolVersion::V2026_07_28;
        assert_eq!(version.era() == Era::Modern, modern);
    }
    assert_eq!(ProtocolVersion::parse("2025-11-26"), None);
    assert_eq!(ProtocolVersion::LATEST_LEGACY.as_str(), "2025-11-25");
}

#[test]
fn only_known_methods_become_labels() {
    for name in method::ALL {
        assert_eq!(known_method(name), *name);
    }
    assert_eq!(known_method("tools/call/../../x"), "other");
}

fn value(raw: &str) -> Value {
    serde_json::from_str(raw).unwrap()
}

#[test]
fn the_legacy_handshake_is_spoken_and_understood() {
    let version = ProtocolVersion::LATEST_LEGACY;
    assert_eq!(
        value(&initialize_params(version, "a\"b", "1", r#"{"roots":{}}"#)),
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"roots": {}},
            "clientInfo": {"name": "a\"b", "version": "1"},
        })
    );
    let server = ServerInfo {
        name: "s".to_owned(),
        version: "2".to_owned(),
    };
    let raw = initialize_result(version, &server, r#"{"tools":{"listChanged":true}}"#);

    let read = InitializeResult::parse(&raw).unwrap();

    assert_eq!(
        (read.version, read.server_info.as_ref()),
        (version, Some(&server))
    );
    assert!(read.announces_tools());
}

/// Servers that leave out what they should not, and one of a revision that has no `initialize`.
#[test]
fn a_poor_handshake_is_taken_and_a_wrong_one_refused() {
    let poor = InitializeResult::parse(r#"{"protocolVersion":"2024-11-05"}"#).unwrap();
    assert_eq!((poor.server_info, &*poor.capabilities_raw), (None, "{}"));

    for version in ["2026-07-28", "2099-01-01", ""] {
        let raw = json!({ "protocolVersion": version, "capabilities": {} }).to_string();
        let error = InitializeResult::parse(&raw).unwrap_err();
        assert_eq!(
            error,
            ProtocolViolation::UnsupportedVersion(version.to_owned())
        );
    }
    for raw in ["{}", "[]", "null", r#"{"protocolVersion":7}"#] {
        assert!(
            matches!(
                InitializeResult::parse(raw),
                Err(ProtocolViolation::Shape(..))
            ),
            "{raw}"
        );
    }
}

#[test]
fn the_modern_discovery_is_spoken_and_understood() {
    let params = discover_params(ProtocolVersion::LATEST_MODERN, "c", "1", "{}");
    let meta = ModernMeta::parse(&params).unwrap();
    assert_eq!(meta.client_info_raw, Some(r#"{"name":"c","version":"1"}"#));

    let server = ServerInfo {
        name: "s".to_owned(),
        version: "2".to_owned(),
    };
    let raw = discover_result(&server, r#"{"tools":{}}"#, 60_000);
    let read = DiscoverResult::parse(&raw).unwrap();
    assert_eq!(read.server_info, Some(server));
    assert_eq!(read.modern_version(), Some(ProtocolVersion::V2026_07_28));
    assert_eq!(read.legacy_version(), Some(ProtocolVersion::V2025_11_25));
    assert!(!read.announces_tools());
    assert_eq!(value(&raw)["resultType"], "complete");
}

/// Where server info stands differs, and unknown versions do no harm.
#[test]
fn a_discovery_of_another_make_is_understood() {
    let top = r#"{"supportedVersions":["2027-01-01","2025-06-18"],"serverInfo":{"name":"t"}}"#;

    let read = DiscoverResult::parse(top).unwrap();

    assert_eq!(read.server_info.unwrap().name, "t");
    assert_eq!(read.supported, ["2027-01-01", "2025-06-18"]);
    assert_eq!(
        DiscoverResult::parse(r#"{"supportedVersions":[]}"#)
            .unwrap()
            .supported
            .len(),
        0
    );
    assert!(DiscoverResult::parse(r#"{"tools":[]}"#).is_err());
}

#[test]
fn unsupported_versions_are_read_from_the_error() {
    let error = RpcError::new(-32_022, "no").with_data(&json!({"supported": ["2026-07-28", "x"]}));
    let found = UnsupportedVersions::of(&error).unwrap();
    assert_eq!(
        found.version(Era::Modern),
        Some(ProtocolVersion::V2026_07_28)
    );
    assert_eq!(found.version(Era::Legacy), None);

    let bare = UnsupportedVersions::of(&RpcError::new(-32_022, "no")).unwrap();
    assert_eq!(bare.supported.len(), 0);
    assert_eq!(UnsupportedVersions::of(&RpcError::new(-32_600, "no")), None);
}

#[test]
fn a_request_without_a_version_in_its_metadata_is_not_modern() {
    let odd = [
        "{}",
        r#"{"_meta":{}}"#,
        r#"{"_meta":7}"#,
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":7}}"#,
        r#"{"arguments":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    ];
    for params in odd {
        assert_eq!(ModernMeta::parse(params), None, "{params}");
    }
    let params = r#"{"_meta":{"io.modelcontextprotocol\/protocolVersion":"2026\u002d07-28","io.modelcontextprotocol/clientCapabilities":null}}"#;
    let read = ModernMeta::parse(params).unwrap();
    assert_eq!(&*read.protocol_version, "2026-07-28");
    assert_eq!(read.client_capabilities_raw, None);
}

/// R3.4: what a server says of itself is made fit to be shown.
#[test]
fn the_name_of_a_server_is_made_fit_to_be_shown() {
    let raw = json!({ "name": format!("a\u{7}{}", "b".repeat(1_000)), "version": "1" }).to_string();

    let info = ServerInfo::parse(&raw).unwrap();

    assert!(info.name.len() <= 256 && info.name.starts_with("a b"));
    assert_eq!(ServerInfo::parse(r#"{"version":"1"}"#), None);
}
