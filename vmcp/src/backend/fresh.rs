//! The connections of one health-check cycle.
//!
//! Owns a bare HTTP/1.1 connection, opened for this cycle and closed with it: its own name lookup,
//! its own TCP and TLS, its own source port (R2.2). There is no pool in these types, so "not
//! pooled" cannot regress. Never shares anything with traffic or with an earlier cycle.

use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::jsonrpc::RequestId;
use vmcp_core::mcp::ProtocolVersion;

use super::link::{Link, Outgoing};
use super::message::{self, Answer, Inbound};
use super::outgoing::{self, Last, SessionId, Voice};
use super::reply::Reply;
use super::timings::Timings;
use super::tls::Trust;
use super::wire::{WireError, exchange, tell};
use crate::snapshot::Endpoint;

/// A connection that is not free this long after its last answer is given up for another.
const FREE_WITHIN: Duration = Duration::from_millis(100);

/// The connection of a cycle. Opened by the first request; a request that finds it closed by the
/// server opens another one, equally fresh.
#[derive(Debug)]
pub struct Fresh<'a> {
    pub endpoint: &'a Endpoint,
    tls: Trust,
    link: Option<Link>,
    pub timings: Timings,
}

/// A question, apart from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub id: &'a RequestId,
    pub voice: Voice<'a>,
    /// Limit of the answer.
    pub max_bytes: usize,
}

/// What became of a question. The session is known even if the answer never came (T7).
#[derive(Debug)]
pub struct Asked {
    pub session: Option<SessionId>,
    pub answer: Result<Answer, WireError>,
}

impl Asked {
    fn failed(error: WireError) -> Self {
        Self {
            session: None,
            answer: Err(error),
        }
    }
}

impl<'a> Fresh<'a> {
    #[must_use]
    pub fn new(endpoint: &'a Endpoint) -> Self {
        Self {
            endpoint,
            tls: Trust::Machine,
            link: None,
            timings: Timings::default(),
        }
    }

    /// Sends a question and reads to its answer. Requests of the server's on the way are refused
    /// at once; its notifications are of no interest here.
    pub async fn ask(
        &mut self,
        request: Outgoing,
        question: Question<'_>,
        deadline: Instant,
    ) -> Asked {
        let mut reply = match self.open_reply(request, question.id, deadline).await {
            Ok(reply) => reply.at_most(question.max_bytes),
            Err(error) => return Asked::failed(error),
        };
        let session = reply.session.clone();
        // A session that this very reply opened is the one to answer on.
        let voice = match (question.voice, &session) {
            (Voice::Legacy { version, .. }, session @ Some(_)) => Voice::Legacy {
                version,
                session: session.as_ref(),
            },
            (Voice::Plain, session @ Some(_)) => Voice::Legacy {
                version: ProtocolVersion::LATEST_LEGACY,
                session: session.as_ref(),
            },
            (voice, _) => voice,
        };
        let answer = loop {
            match reply.next(deadline).await {
                Ok(Inbound::Response { answer, .. }) => break Ok(answer),
                Ok(Inbound::Notification(_)) => {}
                Ok(Inbound::Request { id, method, .. }) => {
                    self.refuse(&id, &method, voice, deadline).await
                }
                Err(error) => break Err(error),
            }
        };
        if answer.is_err() || !reply.finish().await {
            self.link = None;
        }
        Asked { session, answer }
    }

    /// Sends what wants no answer; the HTTP status, whatever it is.
    ///
    /// # Errors
    /// Only where there was no HTTP answer at all.
    pub async fn tell(&mut self, request: Outgoing, deadline: Instant) -> Result<u16, WireError> {
        let link = self.link(deadline).await?;
        let told = tell(link, request.clone(), deadline).await;
        match told {
            Err(WireError::Unsent | WireError::Lost(_)) => {
                self.link = None;
                tell(self.link(deadline).await?, request, deadline).await
            }
            Err(error) => {
                self.link = None;
                Err(error)
            }
            Ok(status) => Ok(status),
        }
    }

    /// Closes what is open. The next request begins anew.
    pub fn close(&mut self) {
        self.link = None;
    }

    async fn open_reply(
        &mut self,
        request: Outgoing,
        id: &RequestId,
        deadline: Instant,
    ) -> Result<Reply, WireError> {
        let used = self.link.is_some();
        let link = self.link(deadline).await?;
        match exchange(link, request.clone(), id, deadline).await {
            // The server closed between two requests of this cycle: that says nothing about it.
            Err(WireError::Unsent | WireError::Lost(_)) if used => {
                self.link = None;
                exchange(self.link(deadline).await?, request, id, deadline)
                    .await
                    .inspect_err(|_| self.link = None)
            }
            Err(error) => {
                self.link = None;
                Err(error)
            }
            reply => reply,
        }
    }

    async fn link(&mut self, deadline: Instant) -> Result<&mut Link, WireError> {
        let open = match &mut self.link {
            Some(link) => {
                link.reusable(deadline.min(Instant::now() + FREE_WITHIN))
                    .await
            }
            None => false,
        };
        if !open {
            self.link = None;
        }
        match &mut self.link {
            Some(_) => {}
            None => {
                let link = self.open(deadline).await?;
                self.link = Some(link);
            }
        }
        self.link.as_mut().ok_or(WireError::Unsent)
    }

    async fn open(&mut self, deadline: Instant) -> Result<Link, WireError> {
        let (link, timings) = Link::dial(self.endpoint, &self.tls, deadline).await?;
        self.timings.merge(timings);
        Ok(link)
    }

    /// Answers a request of the server's, on a connection of its own: ours is taken by the reply.
    async fn refuse(&mut self, id: &RequestId, method: &str, voice: Voice<'_>, deadline: Instant) {
        let answered = async {
            let request = outgoing::post(self.endpoint, voice, message::reply_to(id, method))?;
            let (mut side, _) = Link::dial(self.endpoint, &self.tls, deadline).await?;
            tell(&mut side, outgoing::ending(request, Last::Yes), deadline).await
        };
        if let Err(error) = answered.await {
            tracing::debug!(%error, method, "request of a server could not be refused");
        }
    }
}
