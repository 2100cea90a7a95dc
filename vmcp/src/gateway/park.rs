//! Calls of modern clients that wait for input while their legacy backend waits for an answer.
//!
//! Owns the table of such calls: who may park how many, how long each is kept, and the state that
//! its client brings back. A state continues one call once; what it names and is not here any more
//! is lost, never made again. Never talks to a client or a backend: dropping a call is what cancels
//! it upstream.
//!
//! A principal is who authenticated. Anonymous clients have nothing that tells one from another and
//! could not be invented by each of them (address, `clientInfo`), so no share of the table is theirs
//! alone: they are bounded by the whole of it. Nobody can continue a call of somebody else's all the
//! same: the state is sealed, and only its client has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use vmcp_core::bridge::{InputRequest, StateClaims, Terms, write_input_required};
use vmcp_core::limits;
use vmcp_core::session::Owner;

use super::port::{Answerer, ServerRequest, UpstreamError, UpstreamEvent, UpstreamEvents};
use super::seal::{Purpose, SealError, Sealer};
use super::session::unix_now;

/// A state that is longer was not minted here: base64 of sealed claims.
pub(super) const MAX_STATE_LEN: usize = 2 * limits::STATE_CLAIMS;

/// A question that waits for its answer.
#[derive(Debug)]
pub(super) struct Question {
    /// Under which the client answers.
    pub key: Box<str>,
    pub method: Arc<str>,
    pub params: Option<Arc<str>>,
    pub answer: Answerer,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct ParkedCall {
    pub events: UpstreamEvents,
    /// Said already, and not yet passed on.
    pub held: Option<Result<UpstreamEvent, UpstreamError>>,
    /// Never empty.
    pub questions: Vec<Question>,
    /// How often the client has been asked, this time included.
    pub round: u32,
}

/// What a call is, to whoever wants to continue it.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub principal: Option<Arc<str>>,
    pub digest: [u8; 32],
}

/// Why a call cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParkError {
    #[error("too many calls wait for input")]
    Full,
    #[error("too many calls of this client wait for input")]
    PrincipalFull,
    #[error("the gateway is stopping")]
    Stopping,
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// All calls that wait in this process.
#[derive(Debug)]
pub(super) struct Parking {
    sealer: Arc<Sealer>,
    owner: Owner,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, Waiting>,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    call: ParkedCall,
    principal: Option<Arc<str>>,
    until: Instant,
}

impl Question {
    pub(super) fn new(key: &str, asked: ServerRequest) -> Self {
        Self {
            key: key.into(),
            method: asked.method,
            params: asked.params,
            answer: asked.answer,
        }
    }
}

impl Ticket {
    fn terms(&self, round: u32) -> Terms {
        Terms {
            round,
            principal: self.principal.as_deref().map(str::to_owned),
            expires: unix_now() + limits::PARKED_ROUND.as_secs(),
            digest: self.digest,
        }
    }
}

impl Parking {
    pub(super) fn new(sealer: Arc<Sealer>, owner: Owner) -> Self {
        Self {
            sealer,
            owner,
            table: Mutex::default(),
        }
    }

    /// Seals what else a client carries for us.
    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Keeps a call, and gives the result that asks its client.
    ///
    /// # Errors
    /// With the call, unchanged, where it cannot wait.
    pub(super) fn park(
        &self,
        call: ParkedCall,
        ticket: &Ticket,
    ) -> Result<String, (ParkError, Box<ParkedCall>)> {
        let mut table = self.lock();
        if let Err(error) = table.admit(ticket.principal.as_deref()) {
            return Err((error, Box::new(call)));
        }
        table.last += 1;
        let id = table.last;
        let claims = StateClaims::parked(self.owner.clone(), id, ticket.terms(call.round));
        let state = match self.seal(&claims) {
            Ok(state) => state,
            Err(error) => return Err((error.into(), Box::new(call))),
        };
        let asked = call.questions.iter().map(|question| InputRequest {
            key: (&*question.key).into(),
            method: (&*question.method).into(),
            params: question.params.as_deref(),
        });
        let result = write_input_required(asked, &state);
        let waiting = Waiting {
            call,
            principal: ticket.principal.clone(),
            until: Instant::now() + limits::PARKED_ROUND,
        };
        table.waiting.insert(id, waiting);
        Ok(result)
    }

    /// The state of a call that is made once more, and kept by nobody meanwhile.
    ///
    /// # Errors
    /// When nothing can be sealed.
    pub(super) fn repeatable(&self, round: u32, ticket: &Ticket) -> Result<String, SealError> {
        self.seal(&StateClaims::repeat(ticket.terms(round)))
    }

    /// What a state says; `None` for one that was not sealed by this gateway.
    pub(super) fn open(&self, state: &str) -> Option<StateClaims> {
        if state.len() > MAX_STATE_LEN {
            return None;
        }
        let plain = self.sealer.open(Purpose::State, state)?;
        StateClaims::decode(&plain).ok()
    }

    /// The call of a state, for whoever comes first and in time.
    pub(super) fn take(&self, claims: &StateClaims) -> Option<ParkedCall> {
        let (owner, id) = claims.kept()?;
        if *owner != self.owner {
            return None;
        }
        let waiting = self.lock().waiting.remove(&id)?;
        (waiting.until > Instant::now()).then_some(waiting.call)
    }

    /// Gives up calls that nobody came back for.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let gone: Vec<_> = {
            let mut table = self.lock();
            let over = |_: &u64, waiting: &mut Waiting| waiting.until <= now;
            table.waiting.extract_if(over).collect()
        };
        if !gone.is_empty() {
            tracing::debug!(calls = gone.len(), "calls were not continued in time");
        }
    }

    /// The process stops: nobody can come back here. All are given up, and no more are taken.
    pub(super) fn close(&self) {
        let gone = {
            let mut table = self.lock();
            table.closed = true;
            std::mem::take(&mut table.waiting)
        };
        drop(gone);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    fn seal(&self, claims: &StateClaims) -> Result<String, SealError> {
        self.sealer.seal(Purpose::State, &claims.encode())
    }

    /// A poisoned lock only means that another thread panicked between two plain map operations.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn admit(&self, principal: Option<&str>) -> Result<(), ParkError> {
        if self.closed {
            return Err(ParkError::Stopping);
        }
        if self.waiting.len() >= limits::PARKED {
            return Err(ParkError::Full);
        }
        let Some(principal) = principal else {
            return Ok(());
        };
        let theirs = self.waiting.values();
        let theirs = theirs.filter(|waiting| waiting.principal.as_deref() == Some(principal));
        if theirs.count() >= limits::PARKED_PRINCIPAL {
            return Err(ParkError::PrincipalFull);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
