//! Progress tokens: ours upstream, the client's downstream.
//!
//! Owns the exchange of one for the other. Two clients may choose the same token, so a backend
//! never sees theirs; each gets its own back byte for byte, however it spelled it.

use std::borrow::Cow;

use super::meta::PROGRESS_TOKEN;
use crate::jsonrpc::raw;

/// The client's own token, raw, where it asks for progress at all.
#[must_use]
pub fn wanted(params: &str) -> Option<&str> {
    // Few have the word at all, and looking for it is far quicker than reading.
    if !params.contains(PROGRESS_TOKEN) && !params.contains('\\') {
        return None;
    }
    raw::top_level(raw::top_level(params, "_meta")?, PROGRESS_TOKEN)
}

/// Raw params with our token in place of the client's.
#[must_use]
pub fn with_token<'a>(params: &'a str, ours: &str) -> Cow<'a, str> {
    let Some(meta) = raw::top_level(params, "_meta") else {
        return Cow::Borrowed(params);
    };
    match raw::replace_top_level(meta, PROGRESS_TOKEN, ours) {
        Ok(meta) => Cow::Owned(raw::set_members(params, &[("_meta", &meta)])),
        Err(_) => Cow::Borrowed(params),
    }
}

/// The raw token of a progress notification.
#[must_use]
pub fn token_of(notification: &str) -> Option<&str> {
    raw::top_level(raw::top_level(notification, "params")?, PROGRESS_TOKEN)
}

/// The notification as the client knows it. `None` where it names no token.
#[must_use]
pub fn given_back(notification: &str, theirs: &str) -> Option<String> {
    let params = raw::top_level(notification, "params")?;
    let params = raw::replace_top_level(params, PROGRESS_TOKEN, theirs).ok()?;
    raw::replace_top_level(notification, "params", &params).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// T22: the token comes back as it was spelled, and nothing else changes.
    #[test]
    fn the_clients_token_comes_back_byte_for_byte() {
        for theirs in ["7", "\"a\\u00e9\"", "1.50e2", "\"\"", "-0"] {
            let params = format!(r#"{{"name":"t","_meta":{{"progressToken":{theirs} ,"x":1.0}}}}"#);
            assert_eq!(wanted(&params), Some(theirs));

            let sent = with_token(&params, "42");
            assert_eq!(sent, params.replace(theirs, "42"));

            let said = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":0.50,"progressToken": 42,"v":[]},"z":1}"#;
            assert_eq!(token_of(said), Some("42"));
            let told = given_back(said, theirs);
            assert_eq!(told, Some(said.replace("42", theirs)));
        }
    }

    /// Nobody asked for progress: nothing is added.
    #[test]
    fn no_token_is_invented() {
        for params in [
            "{}",
            r#"{"_meta":{}}"#,
            r#"{"progressToken":1}"#,
            r#"{"_meta":3}"#,
        ] {
            assert_eq!(wanted(params), None, "{params}");
            assert_eq!(with_token(params, "1"), params);
        }
        assert_eq!(given_back(r#"{"params":{}}"#, "1"), None);
        assert_eq!(given_back(r#"{"method":"x"}"#, "1"), None);
    }

    proptest! {
        /// Hostile text never panics.
        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}") {
            let _ = wanted(&text);
            let _ = with_token(&text, "1");
            let _ = token_of(&text);
            let _ = given_back(&text, "1");
        }
    }
}
