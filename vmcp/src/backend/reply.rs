//! The answer of a backend to one POST: JSON or an event stream.
//!
//! Owns reading with limits, and the refusal of everything that is not MCP: HTML with 200, an
//! unknown encoding, a body cut short (T11). Yields messages one at a time, so that progress
//! reaches a client while the call runs. Never follows, retries or judges.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderName, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use vmcp_core::jsonrpc::RequestId;
use vmcp_core::limits::BACKEND_RESPONSE;
use vmcp_core::mcp::header;

use super::link::describe;
use super::message::{self, Inbound};
use super::outgoing::SessionId;
use super::sse_event::{Decoder, SseError};
use super::whole::Whole;
use super::wire::{Challenged, Refusal, WireError, within};

/// What is read of a refusal: enough for a JSON-RPC error, and a page of HTML is cut.
pub const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// A refusal whose body hangs still is a refusal: its status must not become a timeout.
const REFUSAL_BODY_WAIT: Duration = Duration::from_secs(1);

/// After the answer, the end of the stream is awaited this long to use the connection again.
const TAIL_WAIT: Duration = Duration::from_millis(50);

/// Bytes after the answer that are read to use the connection again.
const MAX_TAIL_BYTES: usize = 16 * 1024;

const SESSION: HeaderName = HeaderName::from_static(header::MCP_SESSION_ID);
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A reply whose head is there.
#[derive(Debug)]
pub struct Reply {
    /// The session that the head names, known before the body: it must be ended even if the body
    /// never comes (T7).
    pub session: Option<SessionId>,
    /// How long the connection may lie idle afterwards, as far as the server says.
    pub keep_alive: Option<Duration>,
    expects: RequestId,
    max_bytes: usize,
    body: Incoming,
    format: Format,
    queue: VecDeque<Inbound>,
}

#[derive(Debug)]
enum Format {
    /// What has been read of the body stays here, so that reading may be interrupted.
    Json {
        declared: Option<usize>,
        whole: Whole,
    },
    /// JSON that was read to its end.
    Spent,
    Events(Box<Decoder>),
}

/// What the `Content-Type` says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Events,
    Absent,
    Other(Box<str>),
}

impl Reply {
    /// Judges the head.
    ///
    /// # Errors
    /// `Refused` for any status but 2xx; `Protocol` for a success that cannot hold an answer.
    pub async fn open(
        response: Response<Incoming>,
        expects: &RequestId,
        deadline: Instant,
    ) -> Result<Self, WireError> {
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let wait = deadline.min(Instant::now() + REFUSAL_BODY_WAIT);
            let refusal = Box::pin(refusal(head.status, &head.headers, body, wait));
            return Err(refusal.await);
        }
        if let Some(encoding) = text(&head.headers, CONTENT_ENCODING)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(WireError::Protocol(format!(
                "HTTP {} with encoding {encoding}, which was not asked for",
                head.status.as_u16()
            )));
        }
        let declared = text(&head.headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let format = match media(&head.headers) {
            Media::Json => json(declared),
            Media::Events => Format::Events(Box::default()),
            Media::Absent
                if matches!(head.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT)
                    || declared == Some(0) =>
            {
                return Err(WireError::Protocol(format!(
                    "HTTP {} without an answer",
                    head.status.as_u16()
                )));
            }
            Media::Absent => json(declared),
            Media::Other(kind) => {
                return Err(WireError::Protocol(format!(
                    "HTTP {} with {kind}, not JSON",
                    head.status.as_u16()
                )));
            }
        };
        let session = text(&head.headers, SESSION).and_then(|id| SessionId::parse(id).ok());
        let keep_alive = match text(&head.headers, CONNECTION) {
            Some(says) if says.eq_ignore_ascii_case("close") => Some(Duration::ZERO),
            _ => text(&head.headers, KEEP_ALIVE).and_then(keep_alive),
        };
        Ok(Self {
            session,
            keep_alive,
            expects: expects.clone(),
            max_bytes: BACKEND_RESPONSE,
            body,
            format,
            queue: VecDeque::new(),
        })
    }

    /// Lowers the limit of the answer, for questions whose answer is short by nature.
    #[must_use]
    pub fn at_most(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// The next message; the one after `Response` does not exist.
    ///
    /// # Errors
    /// As [`Self::next_message`], and `Timeout`.
    pub async fn next(&mut self, deadline: Instant) -> Result<Inbound, WireError> {
        within(deadline, self.next_message()).await?
    }

    /// The next message, however long it takes. May be dropped and asked again: nothing gets lost.
    ///
    /// # Errors
    /// `Protocol` for what is no MCP or ends too soon, `TooLarge`.
    pub async fn next_message(&mut self) -> Result<Inbound, WireError> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                if let Inbound::Response { id, answer } = &message {
                    message::answers(id, answer, &self.expects)?;
                }
                return Ok(message);
            }
            match &mut self.format {
                Format::Json { declared, whole } => {
                    let body = collect(&mut self.body, *declared, whole, self.max_bytes).await?;
                    self.format = Format::Spent;
                    self.queue = message::read(&body)?.into();
                    if !self
                        .queue
                        .iter()
                        .any(|message| matches!(message, Inbound::Response { .. }))
                    {
                        return Err(WireError::Protocol("JSON that is no response".to_owned()));
                    }
                }
                Format::Spent => return Err(WireError::Protocol("only one answer".to_owned())),
                Format::Events(decoder) => {
                    if let Some(event) = decoder.next_event()? {
                        if event.data.len() > self.max_bytes {
                            return Err(too_large(self.max_bytes));
                        }
                        self.queue = message::in_event(&event)?.into();
                        continue;
                    }
                    let Some(chunk) = chunk(&mut self.body).await? else {
                        return Err(WireError::Cut(
                            "the stream ended before the answer".to_owned(),
                        ));
                    };
                    decoder.push(&chunk)?;
                }
            }
        }
    }

    /// The event after which the stream could be taken up, and how long to wait before.
    pub fn goes_on_after(&self) -> Option<(&str, Duration)> {
        match &self.format {
            Format::Json { .. } | Format::Spent => None,
            Format::Events(decoder) => Some((decoder.last_id()?, decoder.pause())),
        }
    }

    /// The same reply on another stream.
    #[must_use]
    pub fn going_on(self, body: Incoming) -> Self {
        let format = match self.format {
            Format::Events(decoder) => Format::Events(Box::new(decoder.anew())),
            other => other,
        };
        Self {
            body,
            format,
            ..self
        }
    }

    /// The connection may be used again: nothing follows.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        matches!(self.format, Format::Spent)
    }

    /// Reads what follows the answer, briefly. `true`: the connection may be used again.
    pub async fn finish(self) -> bool {
        drain(self.body, Instant::now() + TAIL_WAIT).await
    }
}

impl From<SseError> for WireError {
    fn from(error: SseError) -> Self {
        match error {
            SseError::TooLarge => Self::TooLarge(error.to_string()),
            SseError::NotUtf8 => Self::Protocol(error.to_string()),
        }
    }
}

/// The body of a reply that must be an event stream.
///
/// # Errors
/// `Refused` for any status but 2xx, `Protocol` for another kind of body.
pub async fn event_stream(
    response: Response<Incoming>,
    deadline: Instant,
) -> Result<Incoming, WireError> {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    if !head.status.is_success() {
        let wait = deadline.min(Instant::now() + REFUSAL_BODY_WAIT);
        return Err(refusal(head.status, &head.headers, body, wait).await);
    }
    match media(&head.headers) {
        Media::Events => Ok(body),
        Media::Json => Err(WireError::Protocol(format!(
            "HTTP {status} with JSON, no event stream"
        ))),
        Media::Absent => Err(WireError::Protocol(format!(
            "HTTP {status} without a content type, no event stream"
        ))),
        Media::Other(kind) => Err(WireError::Protocol(format!(
            "HTTP {status} with {kind}, no event stream"
        ))),
    }
}

/// Reads a short rest of a body. `true` if its end was reached.
pub async fn drain(mut body: Incoming, deadline: Instant) -> bool {
    let mut read = 0;
    loop {
        match within(deadline, chunk(&mut body)).await {
            Ok(Ok(None)) => return true,
            Ok(Ok(Some(chunk))) => read += chunk.len(),
            Ok(Err(_)) | Err(_) => return false,
        }
        if read > MAX_TAIL_BYTES {
            return false;
        }
    }
}

async fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    mut body: Incoming,
    wait: Instant,
) -> WireError {
    let mut read = BytesMut::new();
    while read.len() < MAX_REFUSAL_BYTES
        && let Ok(Ok(Some(chunk))) = within(wait, chunk(&mut body)).await
    {
        read.extend_from_slice(&chunk);
    }
    read.truncate(MAX_REFUSAL_BYTES);
    let challenged = if headers.contains_key(WWW_AUTHENTICATE) {
        Challenged::Yes
    } else {
        Challenged::No
    };
    WireError::Refused(Box::new(Refusal {
        status: status.as_u16(),
        challenged,
        retry_after: text(headers, RETRY_AFTER)
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs),
        location: text(headers, LOCATION).map(Into::into),
        body: read.freeze(),
    }))
}

fn json(declared: Option<usize>) -> Format {
    Format::Json {
        declared,
        whole: Whole::Nothing,
    }
}

/// A whole JSON body.
async fn collect(
    body: &mut Incoming,
    declared: Option<usize>,
    whole: &mut Whole,
    max_bytes: usize,
) -> Result<Bytes, WireError> {
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(too_large(max_bytes));
    }
    // The end is read too, so that the connection is free.
    while let Some(next) = chunk(body).await? {
        if whole.len() + next.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        whole.push(next, declared.unwrap_or_default());
    }
    match std::mem::take(whole) {
        Whole::Nothing => Err(WireError::Protocol("an empty body".to_owned())),
        Whole::One(one) => Ok(one),
        Whole::Many(many) => Ok(many.freeze()),
    }
}

fn too_large(max_bytes: usize) -> WireError {
    WireError::TooLarge(format!("a body above {max_bytes} bytes"))
}

/// The next bytes of a body; `None` at its proper end.
pub async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, WireError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(WireError::Cut(describe(&error))),
        }
    }
}

fn media(headers: &HeaderMap) -> Media {
    let Some(value) = text(headers, CONTENT_TYPE) else {
        return Media::Absent;
    };
    if value == "application/json" {
        return Media::Json;
    }
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() {
        Media::Absent
    } else if essence.eq_ignore_ascii_case("application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Media::Events
    } else {
        Media::Other(essence.to_ascii_lowercase().into())
    }
}

/// `timeout` of a `Keep-Alive` header.
fn keep_alive(value: &str) -> Option<Duration> {
    let parameters = value
        .split(',')
        .filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters
        .into_iter()
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
