//! A standing stream at a modern backend: `subscriptions/listen` until its acknowledgement.
//!
//! Owns what is asked and what of it was taken. A backend may take less than was asked; what it did
//! not acknowledge it does not tell of. Never passes the acknowledgement on: it is ours to give to a
//! client.

use tokio::time::Instant;

use vmcp_core::jsonrpc;
use vmcp_core::mcp::subscription::SubscriptionFilter;
use vmcp_core::mcp::{ProtocolVersion, method};

use super::{Source, Stood, Taken, wire};
use crate::backend::link::Link;
use crate::backend::message::Inbound;
use crate::backend::outgoing::{self, Voice};
use crate::backend::params::Client;
use crate::backend::reply::Reply;
use crate::backend::slot::Slot;
use crate::backend::wire::{WireError, exchange, next_id};
use crate::gateway::port::{UpstreamError, UpstreamListen};

pub(super) async fn open(
    slot: &Slot,
    wanted: &UpstreamListen,
    version: ProtocolVersion,
) -> Result<Stood, UpstreamError> {
    let deadline = Instant::from_std(wanted.deadline);
    let (link, reply, taken) = begin(slot, wanted, version, deadline)
        .await
        .map_err(|error| wire(slot, &error))?;
    Ok(Stood {
        source: Source::Reply(Box::new((link, reply))),
        side: None,
        lease: None,
        taken,
    })
}

/// Until the acknowledgement, which is ours to give to a client.
async fn begin(
    slot: &Slot,
    wanted: &UpstreamListen,
    version: ProtocolVersion,
    deadline: Instant,
) -> Result<(Link, Reply, Taken), WireError> {
    let site = &slot.site;
    let id = next_id();
    let params = params_of(wanted, version);
    let body = jsonrpc::write_request(&id, method::SUBSCRIPTIONS_LISTEN, Some(&params));
    let voice = Voice::Modern {
        version,
        method: method::SUBSCRIPTIONS_LISTEN,
        name: None,
    };
    let request = outgoing::post(&site.endpoint, voice, body)?;
    let (mut link, _) = Link::dial(&site.endpoint, &site.tls, deadline).await?;
    let mut reply = exchange(&mut link, request, &id, deadline).await?;
    match reply.next(deadline).await? {
        Inbound::Notification(text) => match acknowledged(&text, wanted) {
            Some(taken) => Ok((link, reply, taken)),
            None => Err(not_acknowledged()),
        },
        Inbound::Response {
            answer: Err(error), ..
        } => Err(WireError::Protocol(format!(
            "answered JSON-RPC error {}: {}",
            error.code, error.message
        ))),
        _ => Err(not_acknowledged()),
    }
}

fn not_acknowledged() -> WireError {
    WireError::Protocol(
        "the stream did not begin with the acknowledgement of what was asked".to_owned(),
    )
}

fn params_of(wanted: &UpstreamListen, version: ProtocolVersion) -> String {
    let uris: Vec<_> = wanted
        .resources
        .iter()
        .map(|uri| jsonrpc::quote(uri))
        .collect();
    let params = format!(
        r#"{{"notifications":{{"resourceSubscriptions":[{}]}}}}"#,
        uris.join(",")
    );
    let client = Client {
        capabilities: wanted.client_capabilities.as_deref(),
        info: wanted.client_info.as_deref(),
        log_level: wanted.log_level.as_deref(),
    };
    client.in_params(Some(&params), version, None)
}

/// What of the wanted the backend took. `None`: that is no acknowledgement, or it took nothing.
fn acknowledged(notification: &str, wanted: &UpstreamListen) -> Option<Taken> {
    let agreed = SubscriptionFilter::acknowledged(notification)?;
    let wished = wanted.resources.iter();
    let taken: Taken = wished
        .filter(|uri| agreed.resource_subscriptions.contains(*uri))
        .cloned()
        .collect();
    (!taken.is_empty() || wanted.resources.is_empty()).then_some(taken)
}
