//! A GET of a legacy client: the standing stream of its session, or the rest of one that it lost.
//!
//! Owns what such a request is answered with. What goes over the streams is said elsewhere.

use futures::StreamExt as _;
use futures::stream;

use vmcp_core::jsonrpc::{RequestId, RpcError};
use vmcp_core::mcp::error::code;
use vmcp_core::replay::ResumeError;

use super::Gateway;
use super::message::{Accepts, Answer, Facts};
use super::outbox::Resumed;

impl Gateway {
    /// A GET: with `Last-Event-ID` the rest of that stream, else what belongs to no call.
    pub fn get(&self, facts: &Facts<'_>) -> Answer {
        if let Err(answer) = self.check_path(facts) {
            return answer;
        }
        let session = match self.session(facts, &RequestId::Null) {
            Ok(session) => session,
            Err(answer) => return answer,
        };
        if facts.accepts == Accepts::JsonOnly {
            return Answer::Empty { status: 405 };
        }
        let messages = match &facts.last_event_id {
            None => session.outbox.standing(),
            Some(last) => match session.outbox.resume(last) {
                Ok(Resumed::Standing(messages)) => messages,
                // Held by the stream, so that the session does not idle out while somebody reads.
                Ok(Resumed::Call(messages)) => {
                    let held =
                        stream::unfold((messages, session), |(mut messages, session)| async {
                            let event = messages.next().await?;
                            Some((event, (messages, session)))
                        });
                    return Answer::Events(Box::pin(held));
                }
                Err(error) => return not_resumed(last, &error),
            },
        };
        Answer::Events(self.stand(&session, &facts.path, messages))
    }
}

/// A bad request and not 404, by which a client would take its whole session for lost.
fn not_resumed(last: &str, error: &ResumeError) -> Answer {
    let mut data = serde_json::json!({ "reason": "EventsLost", "lastEventId": last });
    if let ResumeError::Lost { lost, resume_at } = error {
        data["lost"] = (*lost).into();
        data["resumeAt"] = resume_at.to_string().into();
    }
    let text = format!("header Last-Event-ID: {error}");
    let error = RpcError::new(code::INVALID_REQUEST, text).with_data(&data);
    Answer::error(400, &RequestId::Null, &error)
}
