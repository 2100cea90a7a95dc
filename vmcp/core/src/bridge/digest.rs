//! Which request a retry repeats.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Members of `params` that differ between a request and its retry, or may: the retry's own, and
/// `_meta` (progress token, trace).
const OF_ONE_ROUND: [&str; 3] = ["inputResponses", "requestState", "_meta"];

/// SHA-256 over what makes a request this one: where it goes, its method and its parameters,
/// whatever the order of members, white space and escapes. A number counts as spelled.
#[must_use]
pub fn request_digest(backend: &str, method: &str, params: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    text(&mut digest, b'b', backend);
    text(&mut digest, b'm', method);
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(params).unwrap_or_default();
    for (key, raw) in &members {
        if !OF_ONE_ROUND.contains(&key.as_str()) {
            text(&mut digest, b'k', key);
            value(&mut digest, raw.get());
        }
    }
    digest.finalize().into()
}

/// As deep as the JSON is; whoever read the envelope has bounded that.
fn value(digest: &mut Sha256, raw: &str) {
    match raw.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_str(raw).unwrap_or_default();
            digest.update([b'{']);
            for (key, raw) in &members {
                text(digest, b'k', key);
                value(digest, raw.get());
            }
            digest.update([b'}']);
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
            digest.update([b'[']);
            for raw in items {
                value(digest, raw.get());
            }
            digest.update([b']']);
        }
        Some(b'"') => match serde_json::from_str::<String>(raw) {
            Ok(decoded) => text(digest, b's', &decoded),
            Err(_) => text(digest, b'r', raw),
        },
        _ => text(digest, b'r', raw),
    }
}

/// With its kind and its length, so that no two lists of texts look alike.
fn text(digest: &mut Sha256, kind: u8, text: &str) {
    digest.update([kind]);
    digest.update(text.len().to_le_bytes());
    digest.update(text.as_bytes());
}
