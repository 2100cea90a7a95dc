//! What a client is owed when the replica that serves its request goes away.
//!
//! Owns which requests of a body have no answer yet, and the one error that each of them gets. A
//! body that may hold a request is never sent to two replicas: what it asks for would be done
//! twice (T19).

use bytes::{Bytes, BytesMut};
use hyper::Method;

use vmcp_core::jsonrpc::{self, Message, RpcError};
use vmcp_core::limits;
use vmcp_core::mcp::error::code;

use super::body::frame;
use super::passing::Passing;
use crate::gateway::message::{Answer, Facts, ServerEvent};
use crate::gateway::place::Requests;

const GONE: &str = "the replica that served this request went away";

/// The requests without an answer, and what is said to them.
#[derive(Debug)]
pub(super) struct Owed {
    requests: Requests,
    error: RpcError,
}

impl Owed {
    /// `server` is our own name: which backend it was is known to nobody any more.
    pub(super) fn of(request: &Passing<'_>, server: &str) -> Self {
        Self::because(request, replica_lost(request.facts, server))
    }

    /// For another reason than a lost replica.
    pub(super) fn because(request: &Passing<'_>, error: RpcError) -> Self {
        Self {
            requests: Requests::of(request.body),
            error,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.requests.ids().is_empty()
    }

    /// The whole answer, where none has begun.
    pub(super) fn answer(self) -> Answer {
        match self.requests.errors(&self.error) {
            Some(body) => Answer::Json {
                status: 200,
                body,
                session: None,
            },
            None => Answer::Empty { status: 503 },
        }
    }

    /// Whole events that pass to the client: whoever is answered in them is owed nothing more.
    pub(super) fn pass(&mut self, events: &[u8]) {
        let Ok(text) = std::str::from_utf8(events) else {
            return;
        };
        for event in text.split("\n\n") {
            let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
            let data = lines.collect::<Vec<_>>().join("\n");
            let messages = jsonrpc::parse_batch(data.as_bytes()).unwrap_or_default();
            for message in messages {
                if let Ok(Message::Response(response)) = message {
                    self.requests.answered(response.id());
                }
            }
        }
    }

    /// The end of a stream that broke off: an event for each request without an answer.
    pub(super) fn events(&self) -> Bytes {
        let mut out = BytesMut::new();
        for id in self.requests.ids() {
            let message = Bytes::from(jsonrpc::write_error(id, &self.error));
            out.extend_from_slice(&frame(&ServerEvent::from(message)));
        }
        out.freeze()
    }
}

/// Sending it twice would do it twice. Streams, ends of sessions, answers and cancellations may be
/// sent again.
pub(super) fn is_once(request: &Passing<'_>) -> bool {
    request.head.method == Method::POST && Requests::of(request.body) != Requests::None
}

/// The answer to a request whose session is between two replicas. It was not served.
pub(super) fn moving(request: &Passing<'_>) -> Answer {
    let wait = u64::try_from(limits::PEER_ASK.as_millis()).unwrap_or(u64::MAX);
    let data = serde_json::json!({"reason": "SessionMoving", "retryAfterMs": wait});
    let message = "the session is on its way to another replica";
    let error = RpcError::new(code::LEGACY_UNAVAILABLE, message).with_data(&data);
    Owed::because(request, error).answer()
}

fn replica_lost(facts: &Facts<'_>, server: &str) -> RpcError {
    let code = match facts.session {
        Some(_) => code::LEGACY_UNAVAILABLE,
        None => code::MODERN_PARKED_LOST,
    };
    let data = serde_json::json!({ "reason": "ReplicaLost", "server": server, "detail": GONE });
    RpcError::new(code, GONE).with_data(&data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(body: &'static str) -> Owed {
        Owed {
            requests: Requests::of(&Bytes::from_static(body.as_bytes())),
            error: RpcError::new(1, "gone"),
        }
    }

    fn left(owed: &Owed) -> String {
        String::from_utf8(owed.events().to_vec()).unwrap()
    }

    /// A stream that breaks off ends with an error for each request that was not answered on it.
    #[test]
    fn who_was_answered_is_owed_nothing() {
        let mut owed = owed(
            r#"[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":"2","method":"b"},{"jsonrpc":"2.0","id":3,"method":"c"}]"#,
        );
        owed.pass(b": comment\n\nid: 1-1\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":\"2\",\"result\":{}}\n\n");
        owed.pass(b"data: {\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"roots/list\"}\n\n");
        owed.pass(
            b"data: [{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1,\"message\":\"\"}}]\n\n",
        );

        let left = left(&owed);

        assert_eq!(left.matches("data: ").count(), 1, "{left}");
        assert!(left.contains(r#""id":1,"#), "{left}");
    }

    #[test]
    fn one_request_is_answered_once() {
        let mut owed = owed(r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#);
        assert!(left(&owed).contains(r#""id":1,"#));

        owed.pass(b"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n");

        assert_eq!(left(&owed), "");
    }
}
