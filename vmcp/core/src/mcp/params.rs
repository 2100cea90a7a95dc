//! The params of a request, read once.
//!
//! Owns the members that each request is decided by: what it is about, and what it says of its
//! client. Everything else in them stays raw and unread.

use std::borrow::Cow;

use super::method;
use crate::jsonrpc::raw::{Found, RawError};
use crate::jsonrpc::{quote, unquote};

/// What a client brings along when it sends a request once more (2026-07-28).
pub const INPUT_RESPONSES: &str = "inputResponses";
pub const REQUEST_STATE: &str = "requestState";

const META: usize = 0;
const SUBJECT: usize = 1;
const RESPONSES: usize = 2;
const STATE: usize = 3;

/// The member of a method's params that names what it is about.
#[must_use]
pub fn subject_of(method: &str) -> Option<&'static str> {
    match method {
        method::TOOLS_CALL | method::PROMPTS_GET => Some("name"),
        method::RESOURCES_READ | method::RESOURCES_SUBSCRIBE | method::RESOURCES_UNSUBSCRIBE => {
            Some("uri")
        }
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL => Some("taskId"),
        _ => None,
    }
}

/// Raw params, and where in them the members stand that are decided on.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    raw: &'a str,
    subject: Option<&'static str>,
    found: Found<'a, 4>,
}

impl<'a> Params<'a> {
    /// The raw params of a request of this method.
    #[must_use]
    pub fn read(method: &str, raw: &'a str) -> Self {
        let subject = subject_of(method);
        Self {
            raw,
            subject,
            found: Found::look(
                raw,
                [
                    "_meta",
                    subject.unwrap_or_default(),
                    INPUT_RESPONSES,
                    REQUEST_STATE,
                ],
            ),
        }
    }

    #[must_use]
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// `_meta`, raw.
    #[must_use]
    pub fn meta(&self) -> Option<&'a str> {
        self.found.get(META)
    }

    /// What the request is about, and the member that says so.
    ///
    /// # Errors
    /// The member, where it is missing or no string.
    pub fn subject(&self) -> Result<Cow<'a, str>, &'static str> {
        let member = self.subject.unwrap_or("name");
        let raw = self.subject.and_then(|_| self.found.get(SUBJECT));
        raw.and_then(unquote).ok_or(member)
    }

    /// Does the request bring input along, or a state that it continues?
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.found.get(RESPONSES).is_some() || self.found.get(STATE).is_some()
    }

    /// Nobody who reads them finds another `_meta` or another subject.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.found.is_clear()
    }

    /// The raw params about something else.
    ///
    /// # Errors
    /// When they are about nothing.
    pub fn about(&self, subject: &str) -> Result<String, RawError> {
        if self.subject.is_none() {
            return Err(RawError::NoSuchMember);
        }
        self.found.replaced(SUBJECT, &quote(subject))
    }
}
