//! The handshake of a session of traffic, and its end.
//!
//! Owns `initialize`, `initialized`, the listening stream before the first call, and the DELETE
//! (T7). Who may use the session and for how long is `session`'s.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::health::{Dialect, Wire};
use vmcp_core::jsonrpc;
use vmcp_core::mcp::{InitializeResult, ProtocolVersion, initialize_params, method};

use super::detect::{AfterInitialize, after_initialize};
use super::link::Link;
use super::message::{Answer, Inbound};
use super::opened::{Opened, Way};
use super::outgoing::{self, Last, Voice};
use super::reach::To;
use super::reply::Reply;
use super::session::Terms;
use super::site::Site;
use super::sse2024::SseSession;
use super::wire::{WireError, next_id, tell};
use crate::pods::Pin;
use crate::snapshot::Endpoint;

/// How traffic introduces itself to a backend.
pub const CLIENT_NAME: &str = "vmcp";
pub const CLIENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Ending is a courtesy; it must not hold up a removal.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no session.
#[derive(Debug)]
pub enum OpenError {
    Wire(WireError),
    /// An answer, and not the one that was needed.
    Outcome(Box<vmcp_core::health::Outcome>),
    /// The owner is gone.
    Ended,
}

impl From<WireError> for OpenError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Opens a session.
///
/// # Errors
/// `Wire` and `Outcome`; nothing is left behind then.
pub async fn open(
    site: &Arc<Site>,
    dialect: Dialect,
    terms: &Terms,
    deadline: Instant,
) -> Result<Opened, OpenError> {
    let opened = match dialect.wire {
        Wire::Sse => open_events(site, terms, deadline).await?,
        Wire::StreamableHttp => open_http(site, terms, deadline).await?,
    };
    if opened.is_worth_hearing(terms) {
        let _ = opened.listen(site).await;
    }
    Ok(opened)
}

async fn open_events(
    site: &Arc<Site>,
    terms: &Terms,
    deadline: Instant,
) -> Result<Opened, OpenError> {
    let stream =
        SseSession::open(&site.endpoint, &site.places, &site.news, To::New, deadline).await?;
    let answer = stream
        .answer(method::INITIALIZE, Some(&params(terms)), deadline)
        .await;
    let found = initialized(&answer, &site.endpoint)?;
    stream
        .notify(method::NOTIFICATION_INITIALIZED, None, deadline)
        .await?;
    let pin = Some(stream.pin);
    let way = Way::Events(Box::new(stream));
    Ok(Opened::new(
        found.version,
        &found.capabilities_raw,
        way,
        pin,
    ))
}

async fn open_http(site: &Site, terms: &Terms, deadline: Instant) -> Result<Opened, OpenError> {
    let endpoint = &site.endpoint;
    let id = next_id();
    let body = jsonrpc::write_request(&id, method::INITIALIZE, Some(&params(terms)));
    let request = outgoing::post(endpoint, Voice::Plain, body).map_err(WireError::from)?;
    let (link, mut reply) = site.exchange(To::New, request, &id, deadline).await?;
    let (mut session, pin) = (None, Some(link.pin));
    let answer = async {
        session.clone_from(&reply.session);
        let answer = answer_of(&mut reply, deadline).await?;
        let free = reply.finish().await;
        Ok((answer, free))
    }
    .await;
    let (answer, free) = match answer {
        Ok((answer, free)) => (Ok(answer), free),
        Err(error) => (Err(error), false),
    };
    let way = Way::Http {
        id: session,
        desk: Arc::default(),
    };
    let found = match initialized(&answer, endpoint) {
        Ok(found) => found,
        Err(error) => {
            // The head had named a session already: it must not stay behind (T7).
            end(&way, ProtocolVersion::LATEST_LEGACY, pin, site).await;
            return Err(error);
        }
    };
    let link = match free {
        true => Ok(link),
        false => Err(To::pinned(pin)),
    };
    if let Err(error) = tell_initialized(site, link, &way, found.version, deadline).await {
        end(&way, found.version, pin, site).await;
        return Err(error.into());
    }
    let pin = pin.filter(|_| way.id().is_some());
    Ok(Opened::new(
        found.version,
        &found.capabilities_raw,
        way,
        pin,
    ))
}

/// Whatever the status: the call that follows shows whether the session works.
async fn tell_initialized(
    site: &Site,
    link: Result<Link, To>,
    way: &Way,
    version: ProtocolVersion,
    deadline: Instant,
) -> Result<u16, WireError> {
    let voice = Voice::Legacy {
        version,
        session: way.id(),
    };
    let body = jsonrpc::write_notification(method::NOTIFICATION_INITIALIZED, None);
    let request = outgoing::post(&site.endpoint, voice, body)?;
    let request = outgoing::ending(request, Last::Yes);
    let to = match link {
        Err(to) => to,
        Ok(mut link) => match tell(&mut link, request.clone(), deadline).await {
            Err(WireError::Unsent) => To::Pinned(link.pin),
            told => return told,
        },
    };
    site.tell(to, request, deadline).await
}

pub(super) async fn answer_of(reply: &mut Reply, deadline: Instant) -> Result<Answer, WireError> {
    loop {
        if let Inbound::Response { answer, .. } = reply.next(deadline).await? {
            return Ok(answer);
        }
    }
}

fn initialized(
    answer: &Result<Answer, WireError>,
    endpoint: &Endpoint,
) -> Result<InitializeResult, OpenError> {
    if let Err(error) = answer {
        return Err(OpenError::Wire(error.clone()));
    }
    match after_initialize(answer, &endpoint.url) {
        AfterInitialize::Legacy(found) => Ok(*found),
        AfterInitialize::MaybeEvents(outcome)
        | AfterInitialize::NotLegacy(outcome)
        | AfterInitialize::Stop(outcome) => Err(OpenError::Outcome(Box::new(outcome))),
    }
}

/// Ends a session at the backend. A stream ends with its connection.
pub async fn end(way: &Way, version: ProtocolVersion, pin: Option<Pin>, site: &Site) {
    let Some(id) = way.id() else {
        return;
    };
    let deadline = Instant::now() + END_WITHIN;
    let ended = async {
        let request = outgoing::delete(&site.endpoint, version, id)?;
        let request = outgoing::ending(request, Last::Yes);
        site.tell(To::pinned(pin), request, deadline).await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "upstream session not ended");
    }
}

fn params(terms: &Terms) -> String {
    initialize_params(
        terms.version,
        CLIENT_NAME,
        CLIENT_VERSION,
        &terms.capabilities,
    )
}
