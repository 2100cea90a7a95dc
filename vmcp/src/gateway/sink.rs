//! Where the words of a standing stream go.
//!
//! Owns what of them a client may see: a listener hears of the resources that it asked for and of
//! nothing else; a legacy session hears what its own upstream session says. Announcements of
//! changed lists never get here.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use vmcp_core::jsonrpc::{self, RequestId, raw};
use vmcp_core::mcp::{method, subscription};

use super::live::Live;
use super::port::UpstreamEvent;
use super::standing;

/// Who listens.
pub(super) enum Sink {
    /// The standing stream of a legacy session. Held weakly: listening keeps no session alive.
    Session {
        live: Weak<Live>,
        ended: CancellationToken,
    },
    /// The stream of a `subscriptions/listen`.
    Listener {
        id: RequestId,
        sender: mpsc::Sender<Bytes>,
    },
}

impl Sink {
    /// Resolves when nobody listens any more.
    pub(super) async fn closed(&self) {
        match self {
            Self::Session { ended, .. } => ended.cancelled().await,
            Self::Listener { sender, .. } => sender.closed().await,
        }
    }

    /// `false`: nobody listens any more.
    pub(super) async fn take(&self, event: UpstreamEvent, subscribed: &BTreeSet<Arc<str>>) -> bool {
        match self {
            Self::Session { live, .. } => {
                let Some(live) = live.upgrade() else {
                    return false;
                };
                match event {
                    UpstreamEvent::Notification(raw) => {
                        if of_session(&raw, subscribed) {
                            live.outbox.push_standing(subscription::untag(&raw).into());
                        }
                    }
                    UpstreamEvent::Request(request) => standing::ask(&live, request),
                    UpstreamEvent::Response(_) => {}
                }
                true
            }
            Self::Listener { id, sender } => {
                let UpstreamEvent::Notification(raw) = event else {
                    return true;
                };
                let said = method_of(&raw);
                let is_update = said.as_deref() == Some(method::NOTIFICATION_RESOURCES_UPDATED);
                if !is_update || !is_covered(&raw, subscribed) {
                    return true;
                }
                sender
                    .send(subscription::retag(&raw, id).into())
                    .await
                    .is_ok()
            }
        }
    }
}

/// May a legacy session see this?
fn of_session(raw: &str, subscribed: &BTreeSet<Arc<str>>) -> bool {
    match method_of(raw).as_deref() {
        // A cancellation is about ids of its backend's, which mean another question to the client.
        None | Some(method::NOTIFICATION_CANCELLED | method::NOTIFICATION_PROGRESS) => false,
        Some(method::NOTIFICATION_RESOURCES_UPDATED) => is_covered(raw, subscribed),
        Some(other) => !other.starts_with("notifications/subscriptions/"),
    }
}

fn method_of(raw: &str) -> Option<Cow<'_, str>> {
    raw::top_level(raw, "method").and_then(jsonrpc::unquote)
}

fn is_covered(raw: &str, subscribed: &BTreeSet<Arc<str>>) -> bool {
    raw::top_level(raw, "params")
        .and_then(|params| raw::top_level(params, "uri"))
        .and_then(|uri| serde_json::from_str::<String>(uri).ok())
        .is_some_and(|uri| subscription::covers(subscribed, &uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(uri: &str) -> Arc<str> {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
        )
        .into()
    }

    /// A backend knows no question but its own: it takes none back on a client's stream, however it
    /// spells that.
    #[test]
    fn no_cancellation_of_a_backend_reaches_a_session() {
        let subscribed = BTreeSet::new();
        let said = |method: &str| {
            let raw = format!(
                r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"requestId":"vmcp-3"}}}}"#
            );
            of_session(&raw, &subscribed)
        };

        assert!(said("notifications/message"));
        assert!(!said("notifications/cancelled"));
        assert!(!said(r"notifications\/cancelled"));
        assert!(!said(r"notifications\/c\u0061ncelled"));
    }

    #[tokio::test]
    async fn a_listener_hears_of_its_resources_alone() {
        let (sender, mut receiver) = mpsc::channel(8);
        let id = RequestId::number(7);
        let sink = Sink::Listener { id, sender };
        let subscribed = BTreeSet::from([Arc::from("a:1")]);
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

        for raw in [updated("a:2"), log.into(), updated("a:1")] {
            assert!(
                sink.take(UpstreamEvent::Notification(raw), &subscribed)
                    .await
            );
        }

        let heard = receiver.recv().await.unwrap();
        let heard = str::from_utf8(&heard).unwrap();
        assert!(
            heard.contains("a:1") && heard.contains("subscriptionId\":7"),
            "{heard}"
        );
        assert!(receiver.try_recv().is_err());
        drop(receiver);
        assert!(
            !sink
                .take(UpstreamEvent::Notification(updated("a:1")), &subscribed)
                .await
        );
    }
}
