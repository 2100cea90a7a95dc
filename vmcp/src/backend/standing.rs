//! Standing streams: what a backend says outside calls, for as long as somebody listens.
//!
//! Owns the three ways to listen (the stream of a client's session, a session of its own with
//! subscriptions, `subscriptions/listen`) and the passing on. News of lists never passes: it goes
//! to the registry. Takes no place of a call, and never opens a broken stream again: whoever
//! listens decides that.

mod modern;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use vmcp_core::health::{Dialect, ProbeReason, Step};
use vmcp_core::jsonrpc::{self, RequestId};
use vmcp_core::mcp::{Era, method};

use super::call::keeps_sessions;
use super::desk::Inbox;
use super::ear::Hearing;
use super::ending;
use super::link::Link;
use super::message::{self, Inbound};
use super::opened::Opened;
use super::questions::Questions;
use super::reply::Reply;
use super::session::{Cell, Terms};
use super::side::Side;
use super::slot::{Slot, Wanted};
use super::verdict::{self, Doing};
use super::wire::{WireError, within};
use crate::gateway::port::{
    EVENT_BUFFER, ServerRequest, SessionScope, UpstreamError, UpstreamEvent, UpstreamListen,
    UpstreamStream,
};

/// A modern stream that says nothing for this long may be dead without knowing.
const SILENCE: Duration = Duration::from_secs(300);

const DOING: Doing<'static> = Doing {
    step: Step::Call,
    what: "standing stream",
};

/// Where messages come from.
#[derive(Debug)]
enum Source {
    Session(Inbox),
    Reply(Box<(Link, Reply)>),
}

/// Passes on what is said until one side ends it.
#[derive(Debug)]
struct Standing {
    slot: Arc<Slot>,
    source: Source,
    /// The way of answers to what is asked; a modern backend asks nothing.
    side: Option<Side>,
    questions: Questions,
    events: mpsc::Sender<Result<UpstreamEvent, UpstreamError>>,
    /// A session that ends with the stream.
    lease: Option<Arc<Cell>>,
    _under_way: TaskTrackerToken,
}

/// Opens a standing stream.
///
/// # Errors
/// Whatever keeps it from standing before the deadline. `Unavailable` with an HTTP status of 4xx:
/// the backend offers none.
pub async fn listen(
    slot: Arc<Slot>,
    wanted: UpstreamListen,
) -> Result<UpstreamStream, UpstreamError> {
    let under_way = slot.under_way.token();
    let dialect = wanted
        .target
        .dialect
        .ok_or_else(|| UpstreamError::Unavailable(ending::undetected(DOING)))?;
    let opened = match dialect.era {
        Era::Modern => modern::open(&slot, &wanted, dialect.version).await,
        Era::Legacy if keeps_sessions(dialect) => legacy(&slot, &wanted, dialect).await,
        Era::Legacy => Err(none_offered()),
    };
    let Stood {
        source,
        side,
        lease,
        taken,
    } = opened?;
    let (events, received) = mpsc::channel(EVENT_BUFFER);
    let standing = Standing {
        slot,
        source,
        side,
        questions: Questions::default(),
        events,
        lease,
        _under_way: under_way,
    };
    tokio::spawn(standing.run());
    Ok(UpstreamStream {
        events: received.into(),
        taken,
    })
}

/// What a stream is made of.
struct Stood {
    source: Source,
    side: Option<Side>,
    lease: Option<Arc<Cell>>,
    taken: Taken,
}

/// The resources that the backend took.
type Taken = BTreeSet<Arc<str>>;

async fn legacy(
    slot: &Arc<Slot>,
    wanted: &UpstreamListen,
    dialect: Dialect,
) -> Result<Stood, UpstreamError> {
    let terms = Terms::new(wanted.client_capabilities.as_ref(), wanted.client_version);
    let (cell, lease) = match wanted.scope {
        SessionScope::Client(_) => {
            let cell = slot.session(Wanted {
                scope: &wanted.scope,
                principal: None,
                terms: &terms,
                level: None,
            });
            (cell, None)
        }
        SessionScope::Lease => {
            let cell = Cell::new(&terms);
            (Arc::clone(&cell), Some(cell))
        }
    };
    let deadline = Instant::from_std(wanted.deadline);
    let stood = async {
        let opened = cell
            .get(&slot.site, dialect, deadline)
            .await
            .map_err(|error| ending::not_opened(error, &slot.site.endpoint.url))?;
        let inbox = stand(slot, opened).await?;
        let taken = if lease.is_some() {
            subscribe(slot, opened, wanted, deadline).await?
        } else {
            wanted.resources.iter().cloned().collect()
        };
        let side = Some(opened.side(&slot.site));
        Ok((Source::Session(inbox), side, taken))
    }
    .await;
    match (stood, lease) {
        (Ok((source, side, taken)), lease) => Ok(Stood {
            source,
            side,
            lease,
            taken,
        }),
        (Err(error), None) => Err(error),
        (Err(error), Some(lease)) => {
            lease.end(&slot.site).await;
            Err(error)
        }
    }
}

async fn stand(slot: &Slot, opened: &Opened) -> Result<Inbox, UpstreamError> {
    let hearing = if opened.is_events() {
        Hearing::Open
    } else {
        opened.listen(&slot.site).await
    };
    match hearing {
        Hearing::Unoffered => Err(none_offered()),
        Hearing::Lost => Err(wire(
            slot,
            &WireError::Lost("the server does not know the session".to_owned()),
        )),
        Hearing::Opening | Hearing::Open | Hearing::Broken => {
            opened.desk().stand().map_err(|error| wire(slot, &error))
        }
    }
}

/// What is refused is left out; a session in which nothing is subscribed to is no use.
async fn subscribe(
    slot: &Slot,
    opened: &Opened,
    wanted: &UpstreamListen,
    deadline: Instant,
) -> Result<Taken, UpstreamError> {
    if let Some(level) = &wanted.log_level {
        opened.tell_level(&slot.site, level, deadline).await;
    }
    let mut refused = None;
    let mut taken = Taken::new();
    for uri in &wanted.resources {
        let params = format!(r#"{{"uri":{}}}"#, jsonrpc::quote(uri));
        let subscribe = method::RESOURCES_SUBSCRIBE;
        let asked = opened.ask(&slot.site, subscribe, Some(&params), deadline);
        match asked.await {
            Ok(Ok(_)) => {
                taken.insert(Arc::clone(uri));
            }
            Ok(Err(error)) => refused = Some(error),
            Err(error) => return Err(wire(slot, &error)),
        }
    }
    match refused {
        Some(error) if taken.is_empty() => Err(UpstreamError::Unavailable(verdict::rpc_failure(
            DOING, &error,
        ))),
        _ => Ok(taken),
    }
}

impl Standing {
    async fn run(mut self) {
        let end = self.pass_on().await;
        if let Some(error) = end {
            let patience = Instant::now() + super::side::SIDE_MESSAGE_WITHIN;
            let _ = within(patience, self.events.send(Err(error))).await;
        }
        if let Some(side) = &self.side {
            for id in self.questions.give_up() {
                side.answer(message::reply_to(&id, ""));
            }
        }
        if let Some(lease) = &self.lease {
            lease.end(&self.slot.site).await;
        }
    }

    /// Why it ended; nothing, where nobody listens any more or the backend closed it well.
    async fn pass_on(&mut self) -> Option<UpstreamError> {
        loop {
            let heard = tokio::select! {
                biased;
                () = self.events.closed() => return None,
                () = self.slot.closing.cancelled() => {
                    return Some(UpstreamError::Unavailable(ending::stopped(DOING)));
                }
                heard = self.source.next() => heard,
                (id, said) = self.questions.next(), if !self.questions.is_empty() => {
                    if let Some(side) = &self.side {
                        super::dialogue::answer(side, &id, said);
                    }
                    continue;
                }
            };
            let event = match heard {
                Ok(Some(Inbound::Notification(text))) => self.worth_telling(text),
                Ok(Some(Inbound::Request { id, method, params })) => {
                    self.question(&id, &method, params)
                }
                Ok(Some(Inbound::Response { .. }) | None) => return None,
                Err(error) => return Some(wire(&self.slot, &error)),
            };
            if let Some(event) = event
                && self.events.send(Ok(event)).await.is_err()
            {
                return None;
            }
        }
    }

    fn worth_telling(&mut self, text: Arc<str>) -> Option<UpstreamEvent> {
        if message::is_cancellation(&text) {
            // Of a question, or of nothing that a client knows by that id.
            if let Some(id) = message::withdrawn(&text) {
                self.questions.withdraw(&id);
            }
            return None;
        }
        if message::changes_a_list(&text) {
            self.slot.site.news.hear();
            return None;
        }
        Some(UpstreamEvent::Notification(text))
    }

    fn question(
        &mut self,
        id: &RequestId,
        method: &str,
        params: Option<Arc<str>>,
    ) -> Option<UpstreamEvent> {
        let side = self.side.as_ref()?;
        let Some(answer) = self.questions.open(id) else {
            side.refuse(id, method);
            return None;
        };
        Some(UpstreamEvent::Request(ServerRequest {
            method: method.into(),
            params,
            answer,
        }))
    }
}

impl Source {
    async fn next(&mut self) -> Result<Option<Inbound>, WireError> {
        match self {
            Self::Session(inbox) => inbox.recv().await.transpose(),
            Self::Reply(replied) => within(Instant::now() + SILENCE, replied.1.next_message())
                .await?
                .map(Some),
        }
    }
}

fn none_offered() -> UpstreamError {
    UpstreamError::Unavailable(verdict::failed(
        DOING,
        ProbeReason::HttpStatus,
        Some(405),
        "the backend offers no standing stream",
    ))
}

fn wire(slot: &Slot, error: &WireError) -> UpstreamError {
    let failure = verdict::failure(DOING, error, &slot.site.endpoint.url);
    ending::client_error(error, failure)
}
