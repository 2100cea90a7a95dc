//! The way of one request to a backend.
//!
//! Owns its bytes and its sending: idle connections, the second try where T19 permits it, the
//! cancellation. What is said until the answer stands in `dialogue`; whose session it is and what
//! the end means in `call`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::Instant;

use vmcp_core::jsonrpc::{self, RequestId};
use vmcp_core::limits::UNPROCESSED_REPEATS;
use vmcp_core::mcp::{ProtocolVersion, method};

use super::call::{Broken, Call};
use super::desk::{Desk, Hears};
use super::dialogue::Sent;
use super::link::{Counted, Link, Outgoing};
use super::message::Answer;
use super::opened::{Opened, Way};
use super::outgoing::{self, Address, Voice};
use super::params;
use super::reach::To;
use super::reply::Reply;
use super::side::{SIDE_MESSAGE_WITHIN, Side};
use super::site::Site;
use super::slot::Slot;
use super::wire::{WireError, next_id};
use crate::gateway::port::{Repeat, UpstreamRequest};
use crate::near::Near;
use crate::placed::boxed;
use crate::pods::Pin;

/// The clock of the call bounds what is sent; this only keeps something forgotten from staying for ever.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(86_400);

/// A stopping gateway, or a backend that is being removed, waits for this.
const STOPPED_WITHIN: Duration = Duration::from_millis(500);

/// How the request travels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route<'a> {
    Modern(ProtocolVersion),
    /// Legacy, and the server keeps nothing.
    Stateless(ProtocolVersion),
    Session(&'a Opened),
}

impl<'a> Route<'a> {
    /// The way to the backend beside the call; none where it takes no messages but requests.
    pub(super) fn side(self, site: &Site) -> Option<Side> {
        match self {
            Self::Modern(_) => None,
            Self::Stateless(version) => Some(Side::legacy(
                &site.endpoint,
                &site.tls,
                &site.places,
                To::Any,
                (version, None),
            )),
            Self::Session(opened) => Some(opened.side(site)),
        }
    }

    /// Where the request must go.
    fn to(self) -> To {
        match self {
            Self::Session(opened) => To::pinned(opened.pin()),
            Self::Modern(_) | Self::Stateless(_) => To::Any,
        }
    }

    /// The session was met there.
    fn met_at(self, pin: Pin) {
        if let Self::Session(opened) = self {
            opened.met_at(pin);
        }
    }

    fn desk(self) -> Option<&'a Arc<Desk>> {
        match self {
            Self::Session(opened) => Some(opened.desk()),
            Self::Modern(_) | Self::Stateless(_) => None,
        }
    }
}

/// A call leaves the desk however it ends.
struct Seat<'a> {
    desk: Option<&'a Arc<Desk>>,
    id: &'a RequestId,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.desk {
            desk.leave(self.id);
        }
    }
}

impl Call {
    /// Sends the request and listens until its answer.
    pub(super) async fn travel(&mut self, route: Route<'_>) -> Result<Answer, Broken> {
        let id = next_id();
        self.sent = Some(id.clone());
        let seat = Seat {
            desk: route.desk(),
            id: &id,
        };
        let inbox = match seat.desk {
            Some(desk) => Some(desk.join(&id, Hears::Everything)?),
            None => None,
        };
        let request = &self.request;
        let (token, params) = match route {
            Route::Modern(version) => params::modern(request, &id, version),
            Route::Stateless(_) | Route::Session(_) => params::legacy(request, &id),
        };
        let body = jsonrpc::write_request(&id, &request.method, params.as_deref());
        self.token = token;
        let ended = match route {
            Route::Session(Opened {
                way: Way::Events(stream),
                ..
            }) => {
                let side = stream.side.clone();
                let mut sending = Box::pin(async move {
                    side.send(body, far()).await?;
                    Ok(Sent::Taken)
                });
                self.converse(sending.as_mut(), inbox, route).await
            }
            _ => {
                let letter = self.letter(route, body);
                let sending = pin!(send(&letter, &id, self.patience(route)));
                self.converse(sending, inbox, route).await
            }
        };
        drop(seat);
        match ended {
            Ok((answer, sent)) => {
                if let Some(Sent::Replied(replied)) = &sent {
                    route.met_at(replied.0.pin);
                }
                self.recycle(sent);
                Ok(answer)
            }
            Err(broken) => {
                if broken.leaves_it_running() {
                    self.tell_cancelled(&id, route);
                }
                Err(broken)
            }
        }
    }

    fn letter<'a>(&self, route: Route<'a>, body: Vec<u8>) -> Letter<'a> {
        Letter {
            slot: self.slot.clone(),
            route,
            request: Arc::clone(&self.request),
            body: body.into(),
        }
    }

    fn patience(&self, route: Route<'_>) -> Patience {
        Patience {
            to: route.to(),
            repeat: self.request.repeat,
            connect_by: self.clock.deadline(),
        }
    }

    /// The rest of the body is read beside the client's answer, not before it.
    fn recycle(&self, sent: Option<Sent>) {
        let Some(Sent::Replied(replied)) = sent else {
            return;
        };
        let (mut link, reply) = *replied;
        let keep_alive = reply.keep_alive;
        if reply.is_spent() {
            self.slot.pool.put(link, keep_alive);
            return;
        }
        let slot = self.slot.clone();
        let mut rest = async move {
            if link.until(reply.finish()).await {
                slot.pool.put(link, keep_alive);
            }
        }
        .boxed();
        // The end of a stream mostly comes with its answer.
        if (&mut rest).now_or_never().is_none() {
            tokio::spawn(rest);
        }
    }

    /// A legacy backend does not take a closed connection for a cancellation.
    fn tell_cancelled(&self, id: &RequestId, route: Route<'_>) {
        let Some(side) = route.side(&self.slot.site) else {
            return;
        };
        side.tell(cancelled(id));
    }

    /// The session may go on elsewhere: its server must not work on for nobody, nor answer to an id
    /// that was ours.
    pub(super) async fn tell_stopped(&self) {
        let opened = self.sent_in.as_ref().and_then(|cell| cell.peek());
        let (Some(id), Some(opened)) = (&self.sent, opened) else {
            return;
        };
        let told = opened.side(&self.slot.site);
        let told = told.send(cancelled(id), Instant::now() + STOPPED_WITHIN);
        if let Err(error) = told.await {
            tracing::debug!(backend = %self.slot.id, %error, "stopped call not cancelled");
        }
    }

    /// Does the session answer? Anything but a refusal of the session counts as yes: neither an
    /// outage nor a rate limit nor a missing credential loses a session.
    pub(super) async fn ping(&self, opened: &Opened) -> bool {
        let limit = Instant::now() + SIDE_MESSAGE_WITHIN;
        let deadline = self.clock.deadline().min(limit);
        let asked = opened.ask(&self.slot.site, method::PING, None, deadline);
        let asked = asked.await.map_err(|error| error.status());
        !matches!(asked, Err(Some(400 | 404)))
    }
}

/// That nobody waits for the answer to a request of ours any more.
fn cancelled(id: &RequestId) -> Vec<u8> {
    let id = id.to_raw();
    let params = format!(r#"{{"requestId":{id},"reason":"the client is gone"}}"#);
    jsonrpc::write_notification(method::NOTIFICATION_CANCELLED, Some(&params))
}

/// How long and how often sending is tried.
#[derive(Clone, Copy, Debug)]
struct Patience {
    to: To,
    repeat: Repeat,
    connect_by: Instant,
}

/// What is sent, once or again.
struct Letter<'a> {
    slot: Near<Slot>,
    route: Route<'a>,
    request: Arc<UpstreamRequest>,
    body: Bytes,
}

impl Letter<'_> {
    fn request(&self) -> Result<Outgoing, WireError> {
        let voice = match self.route {
            Route::Modern(version) => Voice::Modern {
                version,
                method: &self.request.method,
                name: self.request.name.as_deref(),
            },
            Route::Stateless(version) => Voice::Legacy {
                version,
                session: None,
            },
            Route::Session(opened) => Voice::Legacy {
                version: opened.version,
                session: opened.way.id(),
            },
        };
        let site = &self.slot.site;
        let mut request = match site.address() {
            Some(address) => address.post(voice, self.body.clone())?,
            None => {
                Address::of(&site.endpoint.url, &site.endpoint)?.post(voice, self.body.clone())?
            }
        };
        if matches!(self.route, Route::Modern(_)) {
            outgoing::add(&mut request, &self.request.param_headers)?;
        }
        Ok(request)
    }
}

/// Sends it on an idle connection or a new one. T19: again only where it provably never left or was
/// never processed, or where the request may run twice.
async fn send(letter: &Letter<'_>, id: &RequestId, patience: Patience) -> Result<Sent, WireError> {
    let Patience { to, repeat, .. } = patience;
    let slot = &letter.slot;
    // What cannot be written takes no connection.
    let mut request = letter.request()?;
    let mut idle = slot.pool.take(repeat, to);
    let mut again = UNPROCESSED_REPEATS;
    loop {
        let was_idle = idle.is_some();
        let mut link = match idle.take() {
            Some(link) => link,
            None => Box::pin(dial(slot, patience)).await?,
        };
        // No deadline: the clock of the call bounds it.
        let exchanged = async {
            let response = link.send(request).await?;
            link.until(Reply::open(response, id, far())).await
        };
        match exchanged.await {
            Ok(reply) => return Ok(Sent::Replied(boxed(|| (link, reply)))),
            Err(WireError::Unsent) if again > 0 => {}
            Err(WireError::Lost(_)) if was_idle && repeat == Repeat::Freely => {}
            Err(error) => return Err(error),
        }
        slot.pool.retire(&link);
        again -= 1;
        request = letter.request()?;
    }
}

/// A new connection. Where those to this backend take many requests, one is opened at a time, and
/// whoever waited for it uses it.
async fn dial(slot: &Slot, patience: Patience) -> Result<Link, WireError> {
    let Patience {
        to,
        repeat,
        connect_by,
    } = patience;
    let _turn = slot.pool.turn(connect_by).await;
    if let Some(link) = slot.pool.share(repeat, to) {
        return Ok(link);
    }
    let site = &slot.site;
    let counted_in = Some(Counted::among(&slot.connections));
    let dialled = Link::dial_to(&site.endpoint, &site.tls, to, counted_in, connect_by);
    let (link, _) = dialled.await?;
    slot.pool.opened(&link);
    Ok(link)
}

fn far() -> Instant {
    Instant::now() + LONGEST_EXCHANGE
}
