//! JSON-RPC batches, which revision 2025-03-26 alone has.
//!
//! Owns the way of a batch through the use-cases, member by member, and the one answer to all of
//! them. A member is treated as if it had come alone.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::select_all;

use vmcp_core::jsonrpc::{self, Message, ParseError, RequestId};
use vmcp_core::mcp::{ProtocolVersion, method};

use super::Gateway;
use super::live::Live;
use super::message::{Answer, Facts, Messages};
use super::modern::invalid_request;

type Member<'a> = Result<Message<'a>, ParseError>;

impl Gateway {
    /// Responses come in one JSON array, or on one stream where one of them does. Notifications
    /// and responses of the client alone are accepted without a word.
    pub(super) async fn batch(&self, facts: &Facts<'_>, body: &Bytes) -> Answer {
        let members = match jsonrpc::parse_batch(body) {
            Ok(members) => members,
            Err(error) => return refused(&error),
        };
        if members.iter().any(is_initialize) {
            let error = invalid_request("initialize cannot be part of a batch");
            return Answer::error(400, &RequestId::Null, &error);
        }
        // Revisions without sessions have no batches either.
        if facts.session.is_none() {
            return refused(&ParseError::Batch);
        }
        let session = match self.session(facts, &RequestId::Null) {
            Ok(session) => session,
            Err(answer) => return answer,
        };
        if session.claims.protocol_version != ProtocolVersion::V2025_03_26 {
            return refused(&ParseError::Batch);
        }
        let answers = members.into_iter().map(async |member| match member {
            Ok(message) => self.legacy(facts, message).await,
            Err(error) => refused(&error),
        });
        together(&session, join_all(answers).await)
    }
}

fn is_initialize(member: &Member<'_>) -> bool {
    matches!(member, Ok(Message::Request(request)) if request.method == method::INITIALIZE)
}

fn refused(error: &ParseError) -> Answer {
    Answer::error(400, &RequestId::Null, &error.to_rpc_error())
}

fn together(session: &Live, answers: Vec<Answer>) -> Answer {
    let mut whole = Vec::new();
    let mut streams = Vec::new();
    for answer in answers {
        match answer {
            Answer::Json { body, .. } | Answer::Error { body, .. } => whole.push(body),
            Answer::Events(messages) => streams.push(messages),
            Answer::Empty { .. } => {}
        }
    }
    match (whole.is_empty(), streams.is_empty()) {
        (true, true) => Answer::Empty { status: 202 },
        (false, true) => Answer::Json {
            status: 200,
            body: array(&whole),
            session: None,
        },
        _ => Answer::Events(one_stream(session, whole, streams)),
    }
}

/// One JSON array of these messages.
pub(super) fn array(members: &[Bytes]) -> Bytes {
    let length: usize = members.iter().map(|member| member.len() + 1).sum();
    let mut out = BytesMut::with_capacity(length + 1);
    for (at, member) in members.iter().enumerate() {
        out.put_u8(if at == 0 { b'[' } else { b',' });
        out.put_slice(member);
    }
    out.put_u8(b']');
    out.freeze()
}

/// A stream of the session like any other: a client that loses it can come back for the rest.
fn one_stream(session: &Live, whole: Vec<Bytes>, streams: Vec<Messages>) -> Messages {
    let (writer, messages) = session.outbox.open();
    for body in whole {
        writer.send(body);
    }
    tokio::spawn(async move {
        let mut all = select_all(streams);
        while let Some(event) = all.next().await {
            if !event.data.is_empty() && !writer.send(event.data) {
                return;
            }
        }
    });
    messages
}
