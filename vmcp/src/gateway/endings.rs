//! What sessions that are over have open at backends, on its way to its end.
//!
//! Owns how many are ended at a time and how many wait for that. Exists so that a hung backend, which
//! costs each of them its whole deadline, holds up neither the clock of the gateway nor its memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};

use vmcp_core::limits;

use super::live::Live;
use super::port::BackendPort;
use super::session::Sessions;

/// Ended at a time: each may need a connection of its own.
const AT_A_TIME: usize = 64;

/// Those that wait. As many as there can be at once may be over at once.
const WAITING: usize = limits::MAX_SESSIONS;

/// A process that stops has this long for what is on its way; the rest is ended with its backends.
const LAST: Duration = Duration::from_secs(2);

/// Sessions that are over, but not at their backends.
pub(super) struct Endings<'a> {
    sessions: &'a Sessions,
    port: &'a Arc<dyn BackendPort>,
    waiting: VecDeque<Arc<Live>>,
    under_way: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<'a> Endings<'a> {
    pub(super) fn new(sessions: &'a Sessions, port: &'a Arc<dyn BackendPort>) -> Self {
        Self {
            sessions,
            port,
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    pub(super) fn add(&mut self, gone: Vec<Arc<Live>>) {
        self.waiting.extend(gone);
        self.fill();
        let over = self.waiting.len().saturating_sub(WAITING);
        for live in self.waiting.drain(..over) {
            // Forgotten here at once. Its backend, which keeps all the others waiting, may be told
            // no more.
            let _ = end(self.sessions, self.port, live).now_or_never();
        }
    }

    /// One more has ended; never, where none is on its way.
    pub(super) async fn next(&mut self) {
        match self.under_way.next().await {
            Some(()) => self.fill(),
            None => std::future::pending().await,
        }
    }

    /// What is on its way is finished, within limits.
    pub(super) async fn finish(mut self) {
        let all = async { while self.under_way.next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST, all).await;
    }

    fn fill(&mut self) {
        while self.under_way.len() < AT_A_TIME {
            let Some(live) = self.waiting.pop_front() else {
                return;
            };
            self.under_way.push(end(self.sessions, self.port, live));
        }
    }
}

fn end(
    sessions: &Sessions,
    port: &Arc<dyn BackendPort>,
    live: Arc<Live>,
) -> BoxFuture<'static, ()> {
    // A client that came back meanwhile has its upstream sessions still.
    let is_back = sessions.is_live(&live.id);
    let port = Arc::clone(port);
    Box::pin(async move {
        live.standing.over().await;
        if !is_back {
            port.end_session(Arc::clone(&live.id)).await;
        }
    })
}
