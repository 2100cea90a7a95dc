//! Event streams, read one event at a time.
//!
//! Owns the client side of one stream on a connection of its own. Dropping it is what a client does
//! whose network breaks: the connection is gone at once, without a word.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::request::Builder;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer for a head or an event.
const DEADLINE: Duration = Duration::from_secs(60);

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub retry: Option<u64>,
    pub data: String,
}

impl Event {
    /// # Errors
    /// The data is no JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.data).with_context(|| format!("{self:?}"))
    }
}

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    text: String,
    _sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
    /// Comments so far.
    pub comments: usize,
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What a legacy client of this revision begins with.
#[must_use]
pub fn initialize(version: &str) -> Value {
    let params = json!({
        "protocolVersion": version, "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

/// The id of a new session of this revision.
///
/// # Errors
/// As [`EventStream::open`], or it gets none.
pub async fn session(address: SocketAddr, version: &str) -> Result<String> {
    let answer = EventStream::post(address, "/mcp", &[], &initialize(version)).await?;
    let id = answer.headers.get("mcp-session-id").context("no session")?;
    Ok(id.to_str()?.to_owned())
}

impl EventStream {
    /// Sends a request and reads the head of the answer, whatever it is.
    ///
    /// # Errors
    /// No head in time.
    pub async fn open(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            // How it ends is seen by whoever reads.
            let _ = connection.await;
        });
        let response = timeout(DEADLINE, sender.send_request(request))
            .await
            .context("no head in time")??;
        let (head, body) = response.into_parts();
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body,
            text: String::new(),
            _sender: sender,
            connection,
            comments: 0,
        })
    }

    /// GET of a path.
    ///
    /// # Errors
    /// As [`EventStream::open`].
    pub async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let request = with(Request::get(path), address, headers);
        Self::open(address, request.body(Full::default())?).await
    }

    /// POST of one JSON text.
    ///
    /// # Errors
    /// As [`EventStream::open`].
    pub async fn post(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Self> {
        let request =
            with(Request::post(path), address, headers).header("content-type", "application/json");
        Self::open(address, request.body(Full::from(body.to_string()))?).await
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection breaks, or nothing comes in time.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if block
                    .lines()
                    .all(|line| line.is_empty() || line.starts_with(':'))
                {
                    self.comments += 1;
                    continue;
                }
                return Ok(Some(parse(&block)?));
            }
            let frame = timeout(DEADLINE, self.body.frame());
            match frame.await.context("no event in time")? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.text.push_str(std::str::from_utf8(&data)?);
                    }
                }
            }
        }
    }

    /// The next event that carries data.
    ///
    /// # Errors
    /// The stream ends, or as [`EventStream::next`].
    pub async fn message(&mut self) -> Result<Event> {
        loop {
            match self.next().await? {
                Some(event) if event.data.is_empty() => {}
                Some(event) => return Ok(event),
                None => bail!("the stream ended"),
            }
        }
    }

    /// The whole body as text, for answers that are no stream.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn text(mut self) -> Result<String> {
        let mut all = std::mem::take(&mut self.text);
        while let Some(frame) = timeout(DEADLINE, self.body.frame()).await? {
            if let Ok(data) = frame?.into_data() {
                all.push_str(std::str::from_utf8(&data)?);
            }
        }
        Ok(all)
    }
}

fn with(mut request: Builder, address: SocketAddr, headers: &[(&str, &str)]) -> Builder {
    request = request.header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

fn parse(block: &str) -> Result<Event> {
    let mut event = Event::default();
    let mut data = Vec::new();
    for line in block
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(':'))
    {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => event.id = Some(value.to_owned()),
            "retry" => event.retry = Some(value.parse()?),
            "data" => data.push(value),
            _ => {}
        }
    }
    ensure!(!data.is_empty(), "an event without data: {block:?}");
    event.data = data.join("\n");
    Ok(event)
}
