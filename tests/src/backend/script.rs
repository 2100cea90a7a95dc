//! What a well-behaved server would do.
//!
//! Owns the description of the server; never the failures (see [`super::Fault`]). Exists so that a
//! test reads as a sentence: a modern-only server with three tools in pages of two.

use super::shelf::Shelf;
use super::tool::{Tool, default_tools};

/// Which generation of the protocol, and whether it keeps sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// `initialize`, `Mcp-Session-Id`; a request without a session is refused.
    LegacyStateful,
    /// `initialize` works but nothing is remembered.
    LegacyStateless,
    /// 2026-07-28 alone: `initialize` answers HTTP 400 with -32022.
    ModernOnly,
    /// 2026-07-28 beside [`Era::LegacyStateful`].
    Dual,
    /// HTTP+SSE: GET `/sse`, POST `/messages`.
    Sse2024,
}

/// How an unknown or ended session is refused; both exist in the field (T18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSession {
    NotFound404,
    BadRequest400,
}

/// Framing of replies to POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// `application/json`.
    Json,
    /// One event.
    Sse,
    /// A comment and an empty event with `id` and `retry` come first, as 2025-11-25 servers do.
    SsePrimed,
    /// The message spreads over several `data:` lines.
    SseMultiLine,
}

/// GET on the MCP path of a streamable HTTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetStream {
    /// 405, which is fine and not a failure (T2).
    MethodNotAllowed,
    /// An event stream that carries `notifications/tools/list_changed`; one in a session, a second
    /// is refused with 409.
    Offered,
    /// As [`GetStream::Offered`], but each ends at once with `retry: 0`, as servers may that want to
    /// be polled (SEP-1699).
    Polled,
}

/// Does the server declare `logging`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    Offered,
    Absent,
}

/// The server's good behaviour. All fields may be changed while it runs.
#[derive(Clone, Debug)]
pub struct Script {
    pub era: Era,
    pub tools: Vec<Tool>,
    /// Prompts, resources and templates; declared only where there are any.
    pub shelf: Shelf,
    /// Entries in a page of a list; `None` sends all at once.
    pub page_size: Option<usize>,
    pub unknown_session: UnknownSession,
    pub reply: ReplyFormat,
    pub get_stream: GetStream,
    pub logging: Logging,
    pub server_name: String,
    pub server_version: String,
    /// Legacy revisions that `initialize` accepts, best first.
    pub legacy_versions: Vec<String>,
    /// HTTP status of a successful DELETE; servers differ (200, 202, 204).
    pub delete_status: u16,
    /// If set, every request must carry `Authorization: Bearer <this>`.
    pub bearer: Option<String>,
    /// `ttlMs` of modern lists.
    pub ttl_ms: u64,
    /// Added to every answer, for example `set-cookie` or `keep-alive`.
    pub extra_headers: Vec<(String, String)>,
}

impl Script {
    /// A server of `era` with the default tools `echo`, `add`, `slow` and `fail`.
    #[must_use]
    pub fn new(era: Era) -> Self {
        Self {
            era,
            tools: default_tools(),
            shelf: Shelf::default(),
            page_size: None,
            unknown_session: UnknownSession::NotFound404,
            reply: ReplyFormat::Json,
            get_stream: GetStream::MethodNotAllowed,
            logging: Logging::Absent,
            server_name: "scripted".to_owned(),
            server_version: "1.0.0".to_owned(),
            legacy_versions: ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
                .map(str::to_owned)
                .to_vec(),
            delete_status: 200,
            bearer: None,
            ttl_ms: 60_000,
            extra_headers: Vec::new(),
        }
    }

    #[must_use]
    pub fn legacy() -> Self {
        Self::new(Era::LegacyStateful)
    }

    #[must_use]
    pub fn stateless() -> Self {
        Self::new(Era::LegacyStateless)
    }

    #[must_use]
    pub fn modern() -> Self {
        Self::new(Era::ModernOnly)
    }

    #[must_use]
    pub fn dual() -> Self {
        Self::new(Era::Dual)
    }

    #[must_use]
    pub fn sse() -> Self {
        Self::new(Era::Sse2024)
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.server_name = name.to_owned();
        self
    }

    #[must_use]
    pub fn with_tools(mut self, tools: Vec<Tool>) -> Self {
        self.tools = tools;
        self
    }

    #[must_use]
    pub fn with_shelf(mut self, shelf: Shelf) -> Self {
        self.shelf = shelf;
        self
    }

    #[must_use]
    pub fn with_page_size(mut self, size: usize) -> Self {
        self.page_size = Some(size.max(1));
        self
    }

    #[must_use]
    pub fn with_reply(mut self, reply: ReplyFormat) -> Self {
        self.reply = reply;
        self
    }

    #[must_use]
    pub fn with_unknown_session(mut self, answer: UnknownSession) -> Self {
        self.unknown_session = answer;
        self
    }

    #[must_use]
    pub fn with_get_stream(mut self) -> Self {
        self.get_stream = GetStream::Offered;
        self
    }

    #[must_use]
    pub fn with_polled_stream(mut self) -> Self {
        self.get_stream = GetStream::Polled;
        self
    }

    #[must_use]
    pub fn with_logging(mut self) -> Self {
        self.logging = Logging::Offered;
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.extra_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn with_bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    pub(super) fn path(&self) -> &'static str {
        match self.era {
            Era::Sse2024 => "/sse",
            _ => "/mcp",
        }
    }

    /// One page of a list: the raw definitions and the cursor of the next one. `None` where the
    /// cursor was not minted here.
    pub(super) fn page<'a>(
        &self,
        all: &[&'a str],
        cursor: Option<&str>,
    ) -> Option<(Vec<&'a str>, Option<String>)> {
        let start = match cursor {
            None => 0,
            Some(cursor) => cursor.strip_prefix("after-")?.parse::<usize>().ok()?,
        };
        let rest = all.get(start..)?;
        let size = self.page_size.unwrap_or(usize::MAX);
        let page = rest.iter().take(size).copied().collect();
        let next = (rest.len() > size).then(|| format!("after-{}", start + size));
        Some((page, next))
    }
}
