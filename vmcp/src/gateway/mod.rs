//! Use-cases of the gateway: what a client may ask and what it gets.
//!
//! Owns the way of one message from a client, in either era, to an answer: from the snapshot where
//! that is enough, from a backend through [`port::BackendPort`] where it is not. Never speaks HTTP
//! and never waits for a backend that the request is not about (R4.8).

pub mod ask;
pub mod cue;
pub mod live;
pub mod message;
pub mod meter;
pub mod outbox;
pub mod place;
pub mod port;
pub mod seal;
pub mod session;

mod adapt;
mod aim;
mod batch;
mod crowd;
mod departure;
mod dialogue;
mod endings;
mod events2024;
mod failure;
mod forward;
mod get;
mod held_stream;
mod legacy;
mod list;
mod modern;
mod park;
mod reply;
mod resume;
mod rounds;
mod sink;
mod source;
mod standing;
mod subscribe;
mod tasks;
mod tombstones;
mod wait;
mod watch;
mod wills;
mod wish;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use vmcp_core::jsonrpc::{self, Message, ParseError, RequestId, Response};
use vmcp_core::session::Owner;

use crate::near::Spread;
use crate::snapshot::SnapshotReader;

use cue::Cues;
use endings::Endings;
use events2024::Lines;
use message::{Answer, Facts};
use meter::RequestMeter;
use park::Parking;
use port::BackendPort;
use seal::Sealer;
use session::{Sessions, unix_now};
use wills::Wills;

/// How often idle and expired sessions are looked for; small against the idle time of ten minutes.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// However short the times are that were set.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// What a call needs of the gateway for as long as it lives.
#[derive(Debug)]
struct Doors {
    port: Arc<dyn BackendPort>,
    parking: Arc<Parking>,
    meter: Arc<dyn RequestMeter>,
}

/// The gateway, without its sockets.
#[derive(Debug)]
pub struct Gateway {
    snapshots: SnapshotReader,
    /// When clients are told of what they show.
    cues: Cues,
    port: Arc<dyn BackendPort>,
    sessions: Sessions,
    /// Streams of 2024-11-05 clients.
    lines: Lines,
    meter: Arc<dyn RequestMeter>,
    parking: Arc<Parking>,
    /// The same three, for calls.
    doors: Spread<Doors>,
    wills: Wills,
    /// Cancelled when the process stops: ends the streams that would otherwise never end.
    stopping: CancellationToken,
}

impl Gateway {
    #[must_use]
    pub fn new(
        snapshots: SnapshotReader,
        port: Arc<dyn BackendPort>,
        sessions: Sessions,
        meter: Arc<dyn RequestMeter>,
        stopping: CancellationToken,
    ) -> Self {
        let parking = Parking::new(sessions.shared_sealer(), sessions.owner().clone());
        let parking = Arc::new(parking);
        let doors = Arc::new(Doors {
            port: Arc::clone(&port),
            parking: Arc::clone(&parking),
            meter: Arc::clone(&meter),
        });
        Self {
            doors: doors.into(),
            wills: Wills::default(),
            parking,
            cues: Cues::published(snapshots.clone()),
            snapshots,
            port,
            sessions,
            lines: Lines::default(),
            meter,
            stopping,
        }
    }

    /// Clients are told when others say so, not with each snapshot.
    #[must_use]
    pub fn with_cues(self, cues: Cues) -> Self {
        Self { cues, ..self }
    }

    #[must_use]
    pub fn snapshots(&self) -> &SnapshotReader {
        &self.snapshots
    }

    /// This process, as sealed ids and states name it.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        self.sessions.owner()
    }

    /// Seals and opens what a client carries for us.
    #[must_use]
    pub fn sealer(&self) -> &Sealer {
        self.sessions.sealer()
    }

    /// A POSTed message.
    pub async fn post(&self, facts: &Facts<'_>, body: &Bytes) -> Answer {
        let message = match jsonrpc::parse(body) {
            Ok(message) => message,
            Err(ParseError::Batch) => return self.batch(facts, body).await,
            Err(error) => return Answer::error(400, &RequestId::Null, &error.to_rpc_error()),
        };
        if let Err(answer) = self.check_path(facts) {
            return answer;
        }
        if modern::claims(facts, &message) {
            self.modern(facts, message).await
        } else {
            self.legacy(facts, message).await
        }
    }

    /// A DELETE: the client ends its session.
    pub async fn delete(&self, facts: &Facts<'_>) -> Answer {
        let session = match self.session(facts, &RequestId::Null) {
            Ok(session) => session,
            Err(answer) => return answer,
        };
        self.sessions.delete(&session);
        self.wants_nothing(&session);
        self.meter.sessions(self.sessions.count());
        session.standing.over().await;
        self.port.end_session(Arc::clone(&session.id)).await;
        Answer::Empty { status: 204 }
    }

    /// Ends the upstream state of sessions that went idle, until cancelled.
    pub async fn sweep(&self) {
        let every = SWEEP_EVERY
            .min(self.sessions.idle / 2)
            .min(self.sessions.max_age / 2);
        let mut ticks = interval(every.max(LEAST_PAUSE));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut endings = Endings::new(&self.sessions, &self.port);
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {
                    self.parking.close();
                    endings.finish().await;
                    return;
                }
                _ = ticks.tick() => {}
                // Their upstream state costs the backends: it is not kept until the next look.
                () = self.sessions.crowd.changed() => {}
                () = endings.next() => continue,
            }
            self.lines.sweep();
            self.parking.sweep();
            let gone = self.sessions.sweep(unix_now());
            gone.iter().for_each(|live| self.wants_nothing(live));
            endings.add(gone);
            self.sweep_wills(unix_now());
            self.meter.sessions(self.sessions.count());
        }
    }

    async fn legacy(&self, facts: &Facts<'_>, message: Message<'_>) -> Answer {
        match message {
            Message::Request(request) => self.legacy_request(facts, &request).await,
            Message::Notification(notification) => self.legacy_notification(facts, &notification),
            Message::Response(response) => self.response(facts, &response),
        }
    }

    /// What a client answers to a question of ours.
    fn response(&self, facts: &Facts<'_>, response: &Response<'_>) -> Answer {
        match self.session(facts, &RequestId::Null) {
            Ok(session) => {
                session.asks.hear(response);
                Answer::Empty { status: 202 }
            }
            Err(answer) => answer,
        }
    }

    async fn modern(&self, facts: &Facts<'_>, message: Message<'_>) -> Answer {
        match message {
            Message::Request(request) => self.modern_request(facts, &request).await,
            Message::Notification(_) => Answer::Empty { status: 202 },
            Message::Response(_) => Answer::error(
                400,
                &RequestId::Null,
                &modern::invalid_request("this revision has no responses from clients"),
            ),
        }
    }
}
