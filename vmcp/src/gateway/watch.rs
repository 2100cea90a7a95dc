//! Streams that tell a client that the list of tools has changed.
//!
//! Owns the GET stream of legacy sessions and `subscriptions/listen` of modern clients. Speaks only
//! when the content hash of the catalogue differs from the one that the client could have seen
//! (R4.11, T15); bursts are already one snapshot.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use std::sync::Arc;

use vmcp_core::catalog::CatalogHash;
use vmcp_core::jsonrpc::{self, Request, RequestId, RpcError};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::meta;

use super::live::Live;
use super::message::{Answer, Messages};
use crate::snapshot::SnapshotReader;

#[derive(Deserialize)]
struct ListenParams {
    notifications: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    tools_list_changed: bool,
}

struct Watch {
    snapshots: SnapshotReader,
    seen: CatalogHash,
    stopping: CancellationToken,
    ended: CancellationToken,
}

impl Watch {
    fn new(
        snapshots: SnapshotReader,
        stopping: CancellationToken,
        ended: CancellationToken,
    ) -> Self {
        let mut snapshots = snapshots;
        snapshots.changed.mark_unchanged();
        let seen = snapshots.load().lists.hashes.tools;
        Self {
            snapshots,
            seen,
            stopping,
            ended,
        }
    }

    /// Resolves at the next change of the content; `None` when there will be none any more.
    async fn changed(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                () = self.ended.cancelled() => return None,
                changed = self.snapshots.changed.changed() => changed.ok()?,
            }
            let now = self.snapshots.load().lists.hashes.tools;
            if now != self.seen {
                self.seen = now;
                return Some(());
            }
        }
    }
}

/// The GET stream of a legacy session: what is said on its standing stream, and changes of the list
/// while it is read.
pub(super) fn standing(
    snapshots: SnapshotReader,
    session: Arc<Live>,
    messages: Messages,
    stopping: CancellationToken,
) -> Messages {
    let watch = Watch::new(snapshots, stopping, session.ended.clone());
    // Holding the session keeps it from idling out while somebody listens.
    Box::pin(stream::unfold(
        (watch, session, messages),
        |(mut watch, session, mut messages)| async move {
            loop {
                tokio::select! {
                    biased;
                    event = messages.next() => {
                        return event.map(|event| (event, (watch, session, messages)));
                    }
                    // Said on the stream, so that it is kept for a client that comes back.
                    changed = watch.changed() => {
                        changed?;
                        session.outbox.push_standing(notification(None));
                    }
                }
            }
        },
    ))
}

/// `subscriptions/listen` of a modern client: an acknowledgement, then what it asked for, at the
/// end a result.
pub(super) fn listen(
    snapshots: SnapshotReader,
    request: &Request<'_>,
    stopping: CancellationToken,
) -> Answer {
    let params = request.params.map_or("{}", RawValue::get);
    let filter = match serde_json::from_str::<ListenParams>(params) {
        Ok(params) => params.notifications,
        Err(error) => {
            let text = format!("params.notifications: {error}");
            return Answer::error(200, &request.id, &RpcError::new(code::INVALID_PARAMS, text));
        }
    };
    let id = request.id.clone();
    let first = stream::iter([acknowledgement(&id, &filter).into()]);
    let last_id = id.clone();
    let last = stream::once(async move { end(&last_id).into() });
    if !filter.tools_list_changed {
        return Answer::Events(Box::pin(first.chain(last)));
    }
    let watch = Watch::new(snapshots, stopping, CancellationToken::new());
    let changes = stream::unfold((watch, id), |(mut watch, id)| async move {
        watch.changed().await?;
        let message = notification(Some(&id));
        Some((message.into(), (watch, id)))
    });
    Answer::Events(Box::pin(first.chain(changes).chain(last)))
}

fn subscription(id: &RequestId) -> String {
    format!(r#"{{"{}":{}}}"#, meta::SUBSCRIPTION_ID, id.to_raw())
}

fn acknowledgement(id: &RequestId, filter: &Filter) -> Bytes {
    let honored = if filter.tools_list_changed {
        r#"{"toolsListChanged":true}"#
    } else {
        "{}"
    };
    let params = format!(
        r#"{{"notifications":{honored},"_meta":{}}}"#,
        subscription(id)
    );
    jsonrpc::write_notification("notifications/subscriptions/acknowledged", Some(&params)).into()
}

fn notification(id: Option<&RequestId>) -> Bytes {
    let params = id.map(|id| format!(r#"{{"_meta":{}}}"#, subscription(id)));
    jsonrpc::write_notification("notifications/tools/list_changed", params.as_deref()).into()
}

fn end(id: &RequestId) -> Bytes {
    let result = format!(
        r#"{{"resultType":"complete","_meta":{}}}"#,
        subscription(id)
    );
    jsonrpc::write_result(id, &result).into()
}
