//! The GET stream of a session, on which a server speaks unasked.
//!
//! Owns holding it open while the session lives, and opening it again where it broke. Many servers
//! put their questions there and drop them when nobody listens, so it stands before the first call.
//! A server without one is fine (T2): that is remembered for its runtime, and nothing depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use vmcp_core::limits::EAR_OPEN;
use vmcp_core::mcp::ProtocolVersion;

use super::desk::Desk;
use super::link::Link;
use super::message;
use super::outgoing::{self, SessionId, Voice};
use super::reply::chunk;
use super::side::Side;
use super::site::Site;
use super::sse_event::Decoder;
use super::sse2024::hear;
use super::wire::{WireError, exchange_stream, within};

/// A server may send the head only with the first event; beyond this it does not offer a stream.
const HEAD_WITHIN: Duration = Duration::from_secs(60);

/// A stream that says nothing for this long may be dead without knowing: a new one is opened.
const SILENCE: Duration = Duration::from_secs(300);

/// Before the first try to open a broken stream again, unless the server names a time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, whatever the server says.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of the GET streams of one runtime.
#[derive(Debug, Default)]
pub struct Ears {
    none: AtomicBool,
    /// The head comes late: not worth waiting for.
    late: AtomicBool,
}

/// How the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    Opening,
    Open,
    /// The server offers none, or the session is lost.
    Refused,
}

/// A held stream. Dropping it closes the stream.
#[derive(Debug)]
pub struct Ear {
    task: JoinHandle<()>,
    hearing: watch::Receiver<Hearing>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whose stream it is.
#[derive(Debug)]
pub struct Of {
    pub site: Arc<Site>,
    pub desk: Arc<Desk>,
    pub side: Side,
    pub session: SessionId,
    pub version: ProtocolVersion,
}

impl Ear {
    /// Begins to listen. `None`: this server is known to offer no stream.
    #[must_use]
    pub fn open(of: Of) -> Option<Self> {
        if of.site.ears.none.load(Ordering::Relaxed) {
            return None;
        }
        let (sender, hearing) = watch::channel(Hearing::Opening);
        let task = tokio::spawn(listen(of, sender));
        Some(Self { task, hearing })
    }

    /// To wait with, without holding on to the stream.
    #[must_use]
    pub fn settling(&self) -> Settling {
        Settling(self.hearing.clone())
    }
}

/// The beginning of a stream.
#[derive(Debug)]
pub struct Settling(watch::Receiver<Hearing>);

impl Settling {
    /// Waits until the stream stands, or is known not to, or for as long as is worth while.
    pub async fn settle(mut self, ears: &Ears) -> Hearing {
        if ears.late.load(Ordering::Relaxed) {
            return *self.0.borrow();
        }
        let settled = self.0.wait_for(|now| *now != Hearing::Opening);
        match within(Instant::now() + EAR_OPEN, settled).await {
            Ok(Ok(now)) => *now,
            Ok(Err(_closed)) => Hearing::Refused,
            Err(_elapsed) => {
                ears.late.store(true, Ordering::Relaxed);
                Hearing::Opening
            }
        }
    }
}

async fn listen(of: Of, hearing: watch::Sender<Hearing>) {
    let mut resume = Resume::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match hold(&of, &hearing, &mut resume).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        tracing::debug!(url = %of.site.endpoint.url, %error, "listening stream ended");
        let stood = *hearing.borrow() == Hearing::Open;
        if error.status().is_some_and(is_final) {
            if !stood && *hearing.borrow() == Hearing::Opening && !resume.has_stood {
                of.site.ears.none.store(true, Ordering::Relaxed);
            }
            hearing.send_replace(Hearing::Refused);
            of.desk.fall_silent(&error);
            return;
        }
        if stood {
            pause = FIRST_PAUSE;
        }
        hearing.send_replace(Hearing::Opening);
        sleep(resume.retry.unwrap_or(pause).min(LAST_PAUSE)).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Where a broken stream goes on.
#[derive(Debug, Default)]
struct Resume {
    has_stood: bool,
    last_event: Option<Box<str>>,
    retry: Option<Duration>,
}

enum Never {}

async fn hold(
    of: &Of,
    hearing: &watch::Sender<Hearing>,
    resume: &mut Resume,
) -> Result<Never, WireError> {
    let deadline = Instant::now() + HEAD_WITHIN;
    let voice = Voice::Legacy {
        version: of.version,
        session: Some(&of.session),
    };
    let (mut link, _) = Link::dial(&of.site.endpoint, &of.site.tls, deadline).await?;
    let request = outgoing::listen(&of.site.endpoint, voice, resume.last_event.as_deref())?;
    let mut body = exchange_stream(&mut link, request, deadline).await?;
    resume.has_stood = true;
    hearing.send_replace(Hearing::Open);
    let mut decoder = Decoder::default();
    loop {
        let Some(bytes) = within(Instant::now() + SILENCE, chunk(&mut body)).await?? else {
            return Err(WireError::Lost("the stream ended".to_owned()));
        };
        decoder.push(&bytes)?;
        while let Some(event) = decoder.next_event()? {
            for message in message::in_event(&event)? {
                hear(message, &of.desk, &of.side, &of.site.news);
            }
        }
        resume.retry = decoder.retry().or(resume.retry);
        if let Some(id) = decoder.last_id() {
            resume.last_event = Some(id.into());
        }
    }
}

/// Will the next try be refused as well? Not where the server is merely busy.
const fn is_final(status: u16) -> bool {
    matches!(status, 400..=499 | 501) && !matches!(status, 408 | 425 | 429)
}
