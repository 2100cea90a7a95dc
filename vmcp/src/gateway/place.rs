//! Which replica a request belongs to, and the passing of sessions between replicas.
//!
//! Owns what another replica may learn about a session and what it is handed. Never speaks to a
//! replica: the edge does (`server::relay`, `server::handover`). A session is handed whole: what it
//! has open at backends, its log level, its subscriptions, what it was told; it is ended at no
//! backend on the way.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use vmcp_core::bridge::may_have_state;
use vmcp_core::jsonrpc::{self, Message, ParseError, RequestId, RpcError};
use vmcp_core::session::{OwnedState, Owner, Subscribed};

use super::Gateway;
use super::batch::array;
use super::live::Live;
use super::message::Facts;
use super::outbox::HandedStreams;
use super::park::MAX_STATE_LEN;
use super::port::HandedUpstream;
use super::seal::Purpose;
use super::session::{Departing, Hold, unix_now};
pub use super::tombstones::Grave;
use super::wills::{HandedStanding, Wants};

/// Whose state a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's: it is served wherever it arrives.
    Anyone,
    /// That of the session with this id.
    Session(Box<str>),
    /// A parked call's, which lives and dies with this process.
    State(Owner),
}

/// A client session on its way to another replica. Everything else stands in its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandedClient {
    pub id: Arc<str>,
    pub upstream: HandedUpstream,
    /// Raw JSON string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<Arc<str>>,
    /// Of its log level and its subscriptions.
    #[serde(default)]
    pub revision: u64,
    #[serde(default)]
    pub standing: HandedStanding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<HandedStreams>,
}

/// A client session that has left the table and has not arrived anywhere yet.
#[derive(Debug)]
pub struct Departed {
    pub handed: HandedClient,
    live: Arc<Live>,
}

#[derive(Deserialize)]
struct StateParams<'a> {
    #[serde(borrow, default, rename = "requestState")]
    state: Option<&'a RawValue>,
}

impl Gateway {
    /// Whose state a request needs.
    #[must_use]
    pub fn whose(&self, facts: &Facts<'_>, body: &Bytes) -> Whose {
        if let Some(id) = &facts.session {
            return Whose::Session((**id).into());
        }
        self.state_owner(body).map_or(Whose::Anyone, Whose::State)
    }

    /// Where the state of a session is, as this replica knows it.
    #[must_use]
    pub fn hold(&self, id: &str) -> Hold {
        self.sessions.hold(id, unix_now())
    }

    /// Another replica's client has ended this session.
    pub fn bury(&self, id: &str) {
        self.sessions.bury(id);
        self.forget_will(id);
    }

    /// Which sessions are over, for replicas that have not heard of it.
    #[must_use]
    pub fn graves(&self) -> Vec<Grave> {
        self.sessions.graves()
    }

    /// The same from another replica.
    pub fn bury_all(&self, graves: &[Grave]) {
        self.sessions.bury_all(graves);
    }

    /// Takes sessions out of this process, for another replica, but for those that are `kept`.
    #[must_use]
    pub fn depart(&self, which: Departing, kept: &HashSet<Arc<str>>) -> Vec<Departed> {
        let gone = self.sessions.depart(which, kept, unix_now());
        let departed = gone.into_iter().map(|live| Departed {
            handed: HandedClient {
                id: Arc::clone(&live.id),
                upstream: self.port.export_sessions(&live.id),
                revision: live.revision(),
                log_level: live.log_level(),
                standing: live.standing.pack(),
                streams: live.outbox.pack(),
            },
            live,
        });
        departed.collect()
    }

    /// The session lives in that pod now.
    pub fn arrived(&self, departed: &Departed, pod: &str) {
        let live = &departed.live;
        self.sessions.departures.arrived(&live.id, pod);
        // What still listens here comes again, and finds it there.
        live.ended.cancel();
    }

    /// Nobody has taken it: it stays.
    pub fn stay(&self, departed: Departed) {
        let id = Arc::clone(&departed.live.id);
        // There is room for what was here until now.
        let _ = self.port.import_sessions(id, departed.handed.upstream);
        self.sessions.stay(&departed.live);
        // Told by one that took it, and could not say so.
        self.forget_will(&departed.live.id);
        self.wants_still(&departed.live);
    }

    /// Takes over a session. `false`: it is not ours, is over, or there is no room.
    #[must_use]
    pub fn adopt(&self, handed: HandedClient) -> bool {
        let uid = Arc::clone(&self.snapshots.current.load().uid);
        let known = self.sessions.is_live(&handed.id);
        let Some(live) = self.sessions.find(&handed.id, &uid, unix_now()) else {
            return false;
        };
        let id = Arc::clone(&live.id);
        if !self.port.import_sessions(id, handed.upstream) {
            if !known {
                self.sessions.forget(&live);
            }
            return false;
        }
        if let Some(streams) = handed.streams {
            live.outbox.unpack(streams);
        }
        // What its client has said here since it was handed the first time is newer.
        if !known || handed.revision > live.revision() {
            let wants = Wants {
                revision: handed.revision,
                log_level: handed.log_level,
                standing: handed.standing,
            };
            self.go_on(&live, wants);
        } else {
            let used = handed.standing.with(Subscribed::new());
            self.hear_on(&live, used);
        }
        self.meter.sessions(self.sessions.count());
        true
    }

    /// Serves a session whose state is nowhere any more. `None`: it is no session, or is over.
    #[must_use]
    pub fn take_over(&self, id: &str) -> Option<Arc<Live>> {
        let known = self.sessions.is_live(id);
        let uid = Arc::clone(&self.snapshots.current.load().uid);
        let live = self.sessions.find(id, &uid, unix_now())?;
        if !known && live.claims.owner != *self.owner() {
            tracing::info!("session taken over from a replica that is gone");
            self.port.sessions_lost(Arc::clone(&live.id));
            self.go_on(&live, Wants::default());
            self.meter.session_taken_over();
        }
        Some(live)
    }

    /// Whether another session than those that are `kept` has state here and may still go.
    #[must_use]
    pub fn has_sessions_beside(&self, kept: &HashSet<Arc<str>>) -> bool {
        self.sessions.has_beside(kept, unix_now())
    }

    /// The owner in a `requestState` that we sealed; a backend's own does not open.
    fn state_owner(&self, body: &Bytes) -> Option<Owner> {
        if !may_have_state(body) {
            return None;
        }
        let Ok(Message::Request(request)) = jsonrpc::parse(body) else {
            return None;
        };
        let params: StateParams<'_> = serde_json::from_str(request.params?.get()).ok()?;
        let state: std::borrow::Cow<'_, str> = serde_json::from_str(params.state?.get()).ok()?;
        if state.len() > MAX_STATE_LEN {
            return None;
        }
        let plain = self.sealer().open(Purpose::State, &state)?;
        OwnedState::owner_of(&plain)
    }
}

/// The requests in a body. Each of them wants exactly one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requests {
    /// Notifications and responses alone.
    None,
    One(RequestId),
    Batch(Vec<RequestId>),
    /// It cannot be said what is in it.
    Unknown,
}

impl Requests {
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        match jsonrpc::parse(body) {
            Ok(Message::Request(request)) => Self::One(request.id),
            Ok(Message::Notification(_) | Message::Response(_)) => Self::None,
            Err(ParseError::Batch) => Self::of_batch(body),
            Err(_) => Self::Unknown,
        }
    }

    fn of_batch(body: &[u8]) -> Self {
        let Ok(members) = jsonrpc::parse_batch(body) else {
            return Self::Unknown;
        };
        let mut ids = Vec::new();
        for member in members {
            match member {
                Ok(Message::Request(request)) => ids.push(request.id),
                Ok(Message::Notification(_) | Message::Response(_)) => {}
                // Answered without being done, whatever it was meant to be.
                Err(_) => ids.push(RequestId::Null),
            }
        }
        if ids.is_empty() {
            Self::None
        } else {
            Self::Batch(ids)
        }
    }

    /// Those without an answer yet.
    #[must_use]
    pub fn ids(&self) -> &[RequestId] {
        match self {
            Self::None | Self::Unknown => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Batch(ids) => ids,
        }
    }

    /// One of them has its answer.
    pub fn answered(&mut self, id: &RequestId) {
        match self {
            Self::One(open) if open == id => *self = Self::None,
            Self::Batch(open) => {
                if let Some(at) = open.iter().position(|open| open == id) {
                    open.swap_remove(at);
                }
            }
            _ => {}
        }
    }

    /// The body that answers all of them with this error. `None`: there is none that is known.
    #[must_use]
    pub fn errors(&self, error: &RpcError) -> Option<Bytes> {
        let write = |id| Bytes::from(jsonrpc::write_error(id, error));
        match self {
            Self::None | Self::Unknown => None,
            Self::One(id) => Some(write(id)),
            Self::Batch(ids) => {
                let errors: Vec<Bytes> = ids.iter().map(write).collect();
                Some(array(&errors))
            }
        }
    }
}
