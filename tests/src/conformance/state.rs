//! The request state that a client carries between two rounds: readable by it, changed by nobody.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

/// Fixed: what one process sealed, the next one opens.
const KEY: &[u8] = b"conformance backend, not a secret";

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, KEY)
}

/// `payload.tag`, both base64.
#[must_use]
pub fn seal(state: &Value) -> String {
    let payload = URL_SAFE_NO_PAD.encode(state.to_string());
    let tag = hmac::sign(&key(), payload.as_bytes());
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// What was sealed; `None` where somebody changed it.
#[must_use]
pub fn open(sealed: &str) -> Option<Value> {
    let (payload, tag) = sealed.split_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    hmac::verify(&key(), payload.as_bytes(), &tag).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
