//! Arguments in headers: which annotations are good, and what the headers say.

use proptest::prelude::*;
use serde_json::{Value, json};
use vmcp_core::mcp::header_params::{
    AnnotationError, HeaderMismatch, HeaderParam, check, encode, of_tool, parse, unrecognised,
};

use crate::support::{SOME, cases};

fn schema(properties: &Value) -> String {
    json!({"type": "object", "properties": properties}).to_string()
}

fn param(header: &str, path: &[&str]) -> HeaderParam {
    HeaderParam {
        header: header.into(),
        path: path.iter().map(|key| (*key).into()).collect(),
    }
}

fn headers(all: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
    all.iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

/// Annotated parameters are found at any depth of properties, and only as annotations.
#[test]
fn annotations_are_found_through_properties() {
    let text = schema(&json!({
        "region": {"type": "string", "x-mcp-header": "Region", "default": {"x-mcp-header": "data"}},
        "inner": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        "x-mcp-header": {"type": "string"},
    }));

    let found = parse(&text).unwrap();

    assert_eq!(
        found,
        [param("N", &["inner", "n"]), param("Region", &["region"])]
    );
    assert_eq!(of_tool(r#"{"name":"x-mcp-header"}"#), Ok(Vec::new()));
    let tool = format!(r#"{{"name":"t","inputSchema":{text}}}"#);
    assert_eq!(of_tool(&tool), Ok(found));
}

/// Each rule of the specification refuses the whole tool.
#[test]
fn a_bad_annotation_is_refused_with_its_reason() {
    let one = |property: Value| parse(&schema(&json!({ "p": property })));
    for name in [
        "",
        "My Region",
        "Region:Primary",
        "Région",
        "Region\t1",
        "a/b",
    ] {
        let got = one(json!({"type": "string", "x-mcp-header": name}));
        assert_eq!(got, Err(AnnotationError::NoToken), "{name:?}");
    }
    for kind in ["object", "array", "null", "number"] {
        let got = one(json!({"type": kind, "x-mcp-header": "H"}));
        assert_eq!(got, Err(AnnotationError::NoPrimitive), "{kind}");
    }
    let untyped = one(json!({"x-mcp-header": "H"}));
    assert_eq!(untyped, Err(AnnotationError::NoPrimitive));
    let number = one(json!({"type": "string", "x-mcp-header": 7}));
    assert_eq!(number, Err(AnnotationError::NoString));
    for hidden in [
        json!({"type": "array", "items": {"type": "string", "x-mcp-header": "H"}}),
        json!({"anyOf": [{"type": "string", "x-mcp-header": "H"}]}),
        json!({"additionalProperties": {"type": "string", "x-mcp-header": "H"}}),
        json!({"$defs": {"d": {"type": "string", "x-mcp-header": "H"}}}),
        json!({"items": {"properties": {"a": {"type": "string", "x-mcp-header": "H"}}}}),
    ] {
        assert_eq!(
            one(hidden.clone()),
            Err(AnnotationError::Unreachable),
            "{hidden}"
        );
    }
    let root = parse(r#"{"type":"string","x-mcp-header":"H"}"#);
    assert_eq!(root, Err(AnnotationError::Unreachable));
    for (a, b) in [("Region", "Region"), ("MyField", "myfield")] {
        let two = json!({
            "a": {"type": "string", "x-mcp-header": a}, "b": {"type": "string", "x-mcp-header": b},
        });
        assert_eq!(
            parse(&schema(&two)),
            Err(AnnotationError::Duplicate),
            "{a} {b}"
        );
    }
}

/// Values travel as the specification says: plain where they can, in base64 where not.
#[test]
fn values_are_written_as_headers_can_carry_them() {
    let params = [param("P", &["p"])];
    for (argument, expected) in [
        (r#""us-west1""#, Some("us-west1")),
        (r#""""#, Some("")),
        ("42", Some("42")),
        ("42.0", Some("42")),
        ("-0", Some("0")),
        ("1e3", Some("1000")),
        ("12345678901234567890", Some("12345678901234567890")),
        ("false", Some("false")),
        ("null", None),
        ("{}", None),
        ("[1]", None),
        (r#"" padded ""#, Some("=?base64?IHBhZGRlZCA=?=")),
        (r#""a b""#, Some("a b")),
        (r#""\u0009tab""#, Some("=?base64?CXRhYg==?=")),
        (r#""=?base64?x?=""#, Some("=?base64?PT9iYXNlNjQ/eD89?=")),
        (r#""\u4e16""#, Some("=?base64?5LiW?=")),
    ] {
        let got = encode(&params, &format!(r#"{{"p": {argument}}}"#));
        let expected: Vec<_> = expected.map(|v| ("Mcp-Param-P", v)).into_iter().collect();
        assert_eq!(got, headers(&expected), "{argument}");
    }
    assert_eq!(encode(&params, "{}"), []);
    let nested = [param("N", &["a", "b"])];
    let got = encode(&nested, r#"{"a":{"b":true}}"#);
    assert_eq!(got, headers(&[("Mcp-Param-N", "true")]));
}

/// A client's headers must say what its body says, and nothing that the body does not.
#[test]
fn headers_that_contradict_the_body_are_refused() {
    let params = [param("Region", &["region"])];
    let body = r#"{"region":"Hello"}"#;
    let with = |value: &str| check(&params, body, &headers(&[("mcp-param-region", value)]));

    assert_eq!(with("Hello"), Ok(()));
    assert_eq!(with("  Hello "), Ok(()));
    assert_eq!(with("=?base64?SGVsbG8=?="), Ok(()));
    let region: Box<str> = "Region".into();
    assert_eq!(
        with("hello"),
        Err(HeaderMismatch::Different(region.clone()))
    );
    for broken in ["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?="] {
        assert_eq!(with(broken), Err(HeaderMismatch::Encoding(region.clone())));
    }
    let missing = HeaderMismatch::Missing(region.clone());
    assert_eq!(check(&params, body, &[]), Err(missing));
    assert_eq!(check(&params, "{}", &[]), Ok(()));
    assert_eq!(check(&params, r#"{"region":null}"#, &[]), Ok(()));
    let surplus = check(&params, "{}", &headers(&[("mcp-param-region", "x")]));
    assert_eq!(surplus, Err(HeaderMismatch::Different(region)));
    // Text without both marks is what it is.
    for literal in ["SGVsbG8=?=", "=?base64?SGVsbG8="] {
        let body = json!({ "region": literal }).to_string();
        let sent = headers(&[("mcp-param-region", literal)]);
        assert_eq!(check(&params, &body, &sent), Ok(()));
    }
    let number = headers(&[("mcp-param-region", "7.0")]);
    assert_eq!(check(&params, r#"{"region":7}"#, &number), Ok(()));
}

/// Headers that mean no parameter are the next hop's.
#[test]
fn unrecognised_headers_are_passed_on() {
    let params = [param("Region", &["region"])];
    let sent = headers(&[("mcp-param-region", "a"), ("mcp-param-other", "b")]);

    let rest: Vec<_> = unrecognised(&params, &sent).collect();

    assert_eq!(rest, [&sent[1]]);
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// What we write for any arguments, we accept for the same arguments.
    #[test]
    fn what_is_encoded_passes_the_check(
        text in any::<String>(),
        number in any::<f64>(),
        whole in any::<i64>(),
    ) {
        let params = [param("T", &["t"]), param("N", &["n"]), param("W", &["w"])];
        let body = json!({"t": text, "n": number, "w": whole}).to_string();

        let sent = encode(&params, &body);

        prop_assert_eq!(check(&params, &body, &sent), Ok(()));
        for (_, value) in &sent {
            prop_assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", value);
        }
    }

    /// Nothing makes it panic.
    #[test]
    fn hostile_input_is_survived(schema in any::<String>(), arguments in any::<String>()) {
        let params = parse(&schema).unwrap_or_else(|_| vec![param("H", &["a", "b"])]);
        let sent = encode(&params, &arguments);
        prop_assert!(check(&params, &arguments, &sent).is_ok());
        let _ = of_tool(&schema);
    }
}
