//! Taking up the reply to a call where its stream broke (2025-11-25, SEP-1699).
//!
//! Owns the GET that goes on after the last event. Asks nothing anew: a server that cannot go on
//! refuses, and the call is as broken as before (T19).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

use super::link::Link;
use super::outgoing::{self, Voice};
use super::passage::Route;
use super::reach::To;
use super::reply::Reply;
use super::side::SIDE_MESSAGE_WITHIN;
use super::site::Site;
use super::wire::{WireError, exchange_stream};

/// The head of a stream comes soon, whatever comes on it later.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

type Opening = Pin<Box<dyn Future<Output = Result<(Link, Incoming), WireError>> + Send>>;

/// A reply whose stream is being taken up.
pub(super) struct Resuming {
    reply: Reply,
    opening: Opening,
}

impl fmt::Debug for Resuming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming")
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

impl Resuming {
    /// `None`: the server named no event to go on after, or the era has no such thing.
    pub(super) fn begin(reply: Reply, route: Route<'_>, site: &Arc<Site>) -> Option<Self> {
        let (after, pause) = reply.goes_on_after()?;
        let (version, session, to) = match route {
            Route::Modern(_) => return None,
            Route::Stateless(version) => (version, None, To::Any),
            Route::Session(opened) => {
                let session = opened.way.id().cloned();
                (opened.version, session, To::pinned(opened.pin()))
            }
        };
        let (after, site) = (Box::<str>::from(after), Arc::clone(site));
        let opening = Box::pin(async move {
            sleep(pause).await;
            let voice = Voice::Legacy {
                version,
                session: session.as_ref(),
            };
            let request = outgoing::listen(&site.endpoint, voice, Some(&after))?;
            let connect_by = Instant::now() + SIDE_MESSAGE_WITHIN;
            let mut link = site.dial(to, connect_by).await?;
            let body = exchange_stream(&mut link, request, Instant::now() + HEAD_WITHIN).await?;
            Ok((link, body))
        });
        Some(Self { reply, opening })
    }

    /// Waits until the stream goes on. May be dropped and asked again.
    ///
    /// # Errors
    /// `Cut`, whatever kept it: the call left, and its answer never came.
    pub(super) async fn opened(&mut self) -> Result<(Link, Incoming), WireError> {
        self.opening.as_mut().await.map_err(|error| {
            WireError::Cut(format!(
                "the stream ended before the answer and could not be taken up again: {error}"
            ))
        })
    }

    pub(super) fn go_on(self, link: Link, body: Incoming) -> (Link, Reply) {
        (link, self.reply.going_on(body))
    }
}
