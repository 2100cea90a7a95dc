//! `subscriptions/listen`: what a client wants to hear, what it is told, and whose it is.
//!
//! Owns the filter, its acknowledgement, and the tag that ties a notification to its stream. Never
//! touches anything else in a notification.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{meta, method};
use crate::jsonrpc::{self, RequestId, raw};

/// What a listener asks for, and what it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionFilter {
    #[serde(skip_serializing_if = "is_false")]
    pub tools_list_changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub prompts_list_changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub resources_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub resource_subscriptions: BTreeSet<Arc<str>>,
    /// Of the extension for tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Deserialize)]
struct Params {
    notifications: SubscriptionFilter,
}

impl SubscriptionFilter {
    /// From raw `params`.
    ///
    /// # Errors
    /// A text for the client when they hold no filter.
    pub fn parse(params: &str) -> Result<Self, String> {
        match serde_json::from_str::<Params>(params) {
            Ok(params) => Ok(params.notifications),
            Err(error) => Err(format!("params.notifications: {error}")),
        }
    }

    /// The first message of the stream of the request `id`.
    #[must_use]
    pub fn acknowledgement(&self, id: &RequestId) -> Vec<u8> {
        // Writing booleans and strings to memory cannot fail.
        let honoured = serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned());
        let params = format!(r#"{{"notifications":{honoured},"_meta":{}}}"#, tag_of(id));
        let method = method::NOTIFICATION_SUBSCRIPTIONS_ACKNOWLEDGED;
        jsonrpc::write_notification(method, Some(&params))
    }

    /// What a backend acknowledged, from the raw notification; `None` where it is another one.
    #[must_use]
    pub fn acknowledged(raw: &str) -> Option<Self> {
        let method = raw::top_level(raw, "method")?;
        if !raw::key_is(method, method::NOTIFICATION_SUBSCRIPTIONS_ACKNOWLEDGED) {
            return None;
        }
        Self::parse(raw::top_level(raw, "params")?).ok()
    }
}

/// The last message of a stream that the server ends.
#[must_use]
pub fn ended(id: &RequestId) -> Vec<u8> {
    let result = format!(r#"{{"resultType":"complete","_meta":{}}}"#, tag_of(id));
    jsonrpc::write_result(id, &result)
}

/// A notification without other content, on the stream of the request `id`.
#[must_use]
pub fn tagged(method: &str, id: &RequestId) -> Vec<u8> {
    let params = format!(r#"{{"_meta":{}}}"#, tag_of(id));
    jsonrpc::write_notification(method, Some(&params))
}

/// The raw notification, tagged as one of the stream of the request `id`.
#[must_use]
pub fn retag(notification: &str, id: &RequestId) -> String {
    let tag = id.to_raw();
    let params = raw::top_level(notification, "params");
    let params = meta::with_meta(params, &[(meta::SUBSCRIPTION_ID, tag)]);
    raw::set_members(notification, &[("params", &params)])
}

/// The raw notification without a tag, for a client that has no such streams.
#[must_use]
pub fn untag(notification: &str) -> String {
    let parts = raw::top_level(notification, "params")
        .and_then(|params| Some((params, raw::top_level(params, "_meta")?)));
    let Some((params, meta)) = parts else {
        return notification.to_owned();
    };
    let kept = raw::without_members(meta, &[meta::SUBSCRIPTION_ID]);
    if kept == meta {
        return notification.to_owned();
    }
    let params = match raw::members(&kept) {
        Ok(members) if members.is_empty() => raw::without_members(params, &["_meta"]),
        _ => raw::set_members(params, &[("_meta", &kept)]),
    };
    raw::set_members(notification, &[("params", &params)])
}

/// Is the resource one of these, or inside one of them? A server may tell of a part of what was
/// subscribed to.
#[must_use]
pub fn covers(subscribed: &BTreeSet<Arc<str>>, uri: &str) -> bool {
    subscribed.contains(uri)
        || subscribed.iter().any(|whole| {
            uri.strip_prefix(&**whole)
                .is_some_and(|rest| whole.ends_with('/') || rest.starts_with(['/', '#', '?']))
        })
}

fn tag_of(id: &RequestId) -> String {
    format!(r#"{{"{}":{}}}"#, meta::SUBSCRIPTION_ID, id.to_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(uris: &[&str]) -> BTreeSet<Arc<str>> {
        uris.iter().map(|uri| Arc::from(*uri)).collect()
    }

    #[test]
    fn a_filter_says_what_is_wanted_and_nothing_else_is_acknowledged() {
        let params =
            r#"{"notifications":{"promptsListChanged":true,"resourceSubscriptions":["a:b"]}}"#;
        let filter = SubscriptionFilter::parse(params).unwrap();
        assert_eq!(filter.resource_subscriptions, set(&["a:b"]));

        let told = filter.acknowledgement(&RequestId::String("\"x\"".into()));

        assert_eq!(
            str::from_utf8(&told).unwrap(),
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"promptsListChanged":true,"resourceSubscriptions":["a:b"]},"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}}"#
        );
        let read = SubscriptionFilter::acknowledged(str::from_utf8(&told).unwrap());
        assert_eq!(read, Some(filter));
    }

    #[test]
    fn params_without_a_filter_are_refused() {
        for params in [
            "{}",
            r#"{"notifications":7}"#,
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
        ] {
            assert!(SubscriptionFilter::parse(params).is_err(), "{params}");
        }
    }

    /// T22: the tag comes and goes, every other byte stays.
    #[test]
    fn only_the_tag_of_a_notification_changes() {
        let plain = r#"{"jsonrpc":"2.0","method":"m","params":{"uri":"a:\u0062","n":1.10}}"#;
        let foreign = retag(plain, &RequestId::Number("1e2".into()));
        assert_eq!(
            foreign,
            r#"{"jsonrpc":"2.0","method":"m","params":{"uri":"a:\u0062","n":1.10,"_meta":{"io.modelcontextprotocol/subscriptionId":1e2}}}"#
        );

        let ours = retag(&foreign, &RequestId::String("\"s\"".into()));

        assert_eq!(ours, foreign.replace("1e2", "\"s\""));
        assert_eq!(untag(&ours), plain);
        assert_eq!(untag(plain), plain);
    }

    #[test]
    fn parts_of_a_resource_belong_to_its_subscribers() {
        let subscribed = set(&["file:///a", "x://dir/"]);

        for uri in ["file:///a", "file:///a/b", "file:///a#1", "x://dir/deep/er"] {
            assert!(covers(&subscribed, uri), "{uri}");
        }
        for uri in ["file:///ab", "x://dir", "file:///", ""] {
            assert!(!covers(&subscribed, uri), "{uri}");
        }
    }
}
