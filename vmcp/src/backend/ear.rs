//! The GET stream of a session, on which a server speaks unasked.
//!
//! Owns holding it open while the session lives, and opening it again where it broke. Many servers
//! put their questions there and drop them when nobody listens, so it stands before the first call.
//! A server without one is fine (T2): that is remembered for its runtime, and nothing depends on it.
//! Any other refusal concerns one session and one moment, and is never remembered (R2.3).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use vmcp_core::limits::EAR_OPEN;
use vmcp_core::mcp::ProtocolVersion;

use super::desk::Desk;
use super::message;
use super::outgoing::{self, SessionId, Voice};
use super::pause;
use super::reach::To;
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

/// After the first try that failed; doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A stream that stood this long was worth opening, whatever it said.
const PROVEN: Duration = Duration::from_secs(30);

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
    /// It broke or was not opened; another try follows.
    Broken,
    /// The server offers none (T2).
    Unoffered,
    /// The server does not know the session, so nobody listens any more.
    Lost,
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
    /// Where the session lives.
    pub to: To,
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

    /// Nobody will hear anything on it, but on another one perhaps.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.hearing.borrow() == Hearing::Lost
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
            Ok(Err(_closed)) => Hearing::Lost,
            Err(_elapsed) => {
                ears.late.store(true, Ordering::Relaxed);
                Hearing::Opening
            }
        }
    }
}

async fn listen(of: Of, hearing: watch::Sender<Hearing>) {
    let mut resume = Resume::default();
    let mut failed = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let error = match hold(&of, &hearing, &mut resume).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        tracing::debug!(url = %of.site.endpoint.url, %error, "listening stream ended");
        let refused = match &error {
            WireError::Gone => Refused::Session,
            error => error.status().map_or(Refused::Now, refused),
        };
        let over = match refused {
            Refused::Now => None,
            // A server that had such a stream offers it.
            Refused::Always if resume.has_stood => Some(Hearing::Lost),
            Refused::Always => {
                of.site.ears.none.store(true, Ordering::Relaxed);
                Some(Hearing::Unoffered)
            }
            Refused::Session => Some(Hearing::Lost),
        };
        if let Some(over) = over {
            hearing.send_replace(over);
            of.desk.fall_silent(&error);
            return;
        }
        let stood = hearing.send_replace(Hearing::Broken) == Hearing::Open;
        if begun.elapsed() >= PROVEN {
            resume.barren = 0;
        }
        let mut wait = pause::before_next(resume.retry, resume.barren);
        if stood {
            failed = FIRST_PAUSE;
        } else {
            wait = wait.max(failed);
            failed = (failed * 2).min(pause::LONGEST);
        }
        resume.barren += 1;
        sleep(wait).await;
    }
}

/// Where a broken stream goes on.
#[derive(Debug, Default)]
struct Resume {
    has_stood: bool,
    last_event: Option<Box<str>>,
    retry: Option<Duration>,
    /// Tries in a row that brought nothing.
    barren: u32,
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
    let mut link = of.site.dial(of.to, deadline).await?;
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
                resume.barren = 0;
                hear(message, &of.desk, &of.side, &of.site.news);
            }
        }
        resume.retry = decoder.retry().or(resume.retry);
        if let Some(id) = decoder.last_id() {
            resume.last_event = Some(id.into());
        }
    }
}

/// For whom and for how long a status refuses the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The server is busy, a credential is being changed, or the last stream still seems open to
    /// it (409).
    Now,
    Session,
    Always,
}

const fn refused(status: u16) -> Refused {
    match status {
        405 | 501 => Refused::Always,
        // 404 and 400 say that it knows no such session (T18); a try later would say no more.
        400 | 402 | 404 | 406 | 410..=424 | 426..=428 | 430..=499 => Refused::Session,
        _ => Refused::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T2, R2.3: one status says that there is no such stream; all others are about now.
    #[test]
    fn only_a_missing_method_is_an_answer_for_all_sessions() {
        for status in [405, 501] {
            assert_eq!(refused(status), Refused::Always, "{status}");
        }
        for status in [400, 404, 406, 410] {
            assert_eq!(refused(status), Refused::Session, "{status}");
        }
        for status in [401, 403, 409, 429, 500, 502, 503, 504] {
            assert_eq!(refused(status), Refused::Now, "{status}");
        }
    }
}
