//! A reply to a modern client that asks for input instead of answering.
//!
//! Owns how questions of a legacy backend become one `input_required` result: which of them this
//! client can be asked, which belong together, and what becomes of those that cannot be put to
//! anybody. Those are refused upstream at once and the call goes on: what it has done so far is
//! not undone by breaking it off.

use std::sync::Arc;

use vmcp_core::bridge::{
    BridgeReason, Input, InputRequest, bridge_error, may_ask, missing_capability, refusal,
    write_input_required,
};
use vmcp_core::limits;
use vmcp_core::mcp::{Era, method, progress};

use super::park::{ParkError, ParkedCall, Question};
use super::port::{ServerRequest, UpstreamEvent};
use super::reply::{Last, Reply};
use super::resume::{ticket, url_key};
use super::source::Source;

impl Reply {
    /// Asks the client, if it can be asked. Questions that follow at once are asked with the first.
    pub(super) async fn park(&mut self, first: ServerRequest) -> Option<Last> {
        let mut questions = Vec::new();
        self.admit(first, &mut questions);
        while !questions.is_empty() && questions.len() < limits::QUESTIONS {
            let following = tokio::time::timeout(limits::PARK_GATHER, self.source.event());
            match following.await {
                Ok(Ok(UpstreamEvent::Request(next))) => self.admit(next, &mut questions),
                Ok(other) => {
                    self.held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        questions.retain(|question| !question.answer.is_withdrawn());
        self.wait(questions)
    }

    /// Puts these questions to the client and lets the call wait. `None`: there are none, or they
    /// were refused; the call goes on.
    pub(super) fn wait(&mut self, questions: Vec<Question>) -> Option<Last> {
        // A backend that has answered already does not wait for anything.
        let over = matches!(&self.held, Some(Ok(UpstreamEvent::Response(_)) | Err(_)));
        if questions.is_empty() || over {
            return None;
        }
        if self.round >= limits::PARKED_ROUNDS {
            let reason = BridgeReason::InputRoundsExceeded;
            refuse(questions, reason, "the call has asked too often");
            return None;
        }
        let events = match std::mem::replace(&mut self.source, Source::Done) {
            Source::Running(events) => events,
            other => {
                self.source = other;
                return None;
            }
        };
        let call = ParkedCall {
            events,
            held: self.held.take(),
            questions,
            round: self.round + 1,
        };
        match self
            .forward
            .doors
            .parking
            .park(call, &ticket(&self.forward))
        {
            Ok(result) => Some(self.succeed("ok", &result)),
            Err((error, call)) => {
                self.source = Source::Running(call.events);
                self.held = call.held;
                let reason = match error {
                    ParkError::Stopping | ParkError::Seal(_) => BridgeReason::ParkedCallLost,
                    ParkError::Full | ParkError::PrincipalFull => BridgeReason::TooManyParked,
                };
                refuse(call.questions, reason, &error.to_string());
                None
            }
        }
    }

    /// A notification as the client knows it. A call that was taken up goes on under the progress
    /// token of the request that took it up. `None`: that one wants to hear of no progress.
    pub(super) fn retold(&self, notification: Arc<str>) -> Option<Arc<str>> {
        let cell = (self.forward.caller.era, self.forward.backend_era);
        let taken_up = self.round > 0 && cell == (Era::Modern, Era::Legacy);
        if !taken_up || progress::token_of(&notification).is_none() {
            return Some(notification);
        }
        let wanted = self.forward.upstream.params.as_deref();
        let token = wanted.and_then(progress::wanted)?;
        progress::given_back(&notification, token).map(Into::into)
    }

    fn admit(&self, asked: ServerRequest, questions: &mut Vec<Question>) {
        let allowed = if may_ask(self.forward.method) {
            self.capabilities()
                .check(&asked.method, asked.params.as_deref())
        } else {
            let text = "this request cannot wait for input in the client's revision";
            Err(refusal(BridgeReason::InputUnsupported, text))
        };
        match allowed {
            Ok(()) => {
                let key = format!("{}-{}", self.round + 1, questions.len() + 1);
                questions.push(Question::new(&key, asked));
            }
            Err(error) => asked.answer.answer(Err(error)),
        }
    }

    /// The backend will serve the request once these URLs were opened: the modern form of -32042.
    pub(super) fn ask_to_open(&self, urls: &[&str]) -> Last {
        let server = &self.forward.view.id.name.0;
        if !may_ask(self.forward.method) {
            let text = "the backend wants a URL opened, for which this request cannot wait";
            return self.fail(bridge_error(BridgeReason::InputUnsupported, server, text));
        }
        if !self.capabilities().has(Input::ElicitationUrl) {
            return self.fail(missing_capability(Input::ElicitationUrl));
        }
        if self.round >= limits::PARKED_ROUNDS {
            let text = "the backend wants URLs opened again and again";
            let reason = BridgeReason::InputRoundsExceeded;
            return self.fail(bridge_error(reason, server, text));
        }
        let parking = &self.forward.doors.parking;
        let state = parking.repeatable(self.round + 1, &ticket(&self.forward));
        match state {
            Ok(state) => {
                let asked = urls.iter().enumerate().map(|(at, params)| InputRequest {
                    key: url_key(at + 1).into(),
                    method: method::ELICITATION_CREATE.into(),
                    params: Some(params),
                });
                self.succeed("ok", &write_input_required(asked, &state))
            }
            Err(error) => self.fail(bridge_error(
                BridgeReason::ParkedCallLost,
                server,
                &error.to_string(),
            )),
        }
    }
}

fn refuse(questions: Vec<Question>, reason: BridgeReason, why: &str) {
    for question in questions {
        question.answer.answer(Err(refusal(reason, why)));
    }
}
