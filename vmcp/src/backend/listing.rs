//! A backend's whole lists: tools, prompts, resources, templates.
//!
//! Owns following the cursors to the end (T21), within the shared limits, and which lists are asked
//! for at all. Keeps entries raw; judging them is the catalogue's. A cursor that comes twice would
//! go round for ever: an error. Tools whose `x-mcp-header` breaks the rules are taken out here,
//! because only here the server's era is known: clients must not see them.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use vmcp_core::health::{ProbeFailure, ProbeReason};
use vmcp_core::jsonrpc::{quote, raw};
use vmcp_core::limits::{CATALOG_ENTRIES, CATALOG_PAGES, NAME_WARN};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Kind, ListPage, PerKind, header_params, parse_page};
use vmcp_core::text::sanitise;

use super::conversation::Conversation;
use super::message::Answer;
use super::outgoing::Last;
use super::verdict::{self, Doing};
use super::wire::WireError;

/// Has the server said that it has such things?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offer {
    Declared,
    #[default]
    Undeclared,
}

/// What the server has said that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Offers {
    pub tools: Offer,
    pub prompts: Offer,
    /// And templates: one capability is for both.
    pub resources: Offer,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            tools: Offer::Declared,
            prompts: Offer::Undeclared,
            resources: Offer::Undeclared,
        }
    }
}

impl Offers {
    /// From a raw `ServerCapabilities` object.
    pub fn parse(capabilities: &str) -> Self {
        let offer = |name| match raw::top_level(capabilities, name) {
            None | Some("null") => Offer::Undeclared,
            Some(_) => Offer::Declared,
        };
        Self {
            tools: offer("tools"),
            prompts: offer("prompts"),
            resources: offer("resources"),
        }
    }

    const fn of(self, kind: Kind) -> Offer {
        match kind {
            Kind::Tools => self.tools,
            Kind::Prompts => self.prompts,
            Kind::Resources | Kind::Templates => self.resources,
        }
    }

    /// Tools are asked for in any case: servers were seen that have them and do not say so.
    fn is_asked(self, kind: Kind) -> bool {
        kind == Kind::Tools || self.of(kind) == Offer::Declared
    }

    /// "Method not found" means that there are none. Said of tools that were declared it is a
    /// failure; of the others it is commonplace, templates above all.
    fn may_lack(self, kind: Kind) -> bool {
        kind != Kind::Tools || self.of(kind) == Offer::Undeclared
    }
}

/// Why there is no list.
#[derive(Debug)]
pub enum ListError {
    Wire(Kind, WireError),
    Failure(ProbeFailure),
}

/// All lists that the server has.
///
/// # Errors
/// The first list that fails fails them all: half a catalogue would look like removed entries.
pub async fn all(
    talk: &mut Conversation<'_>,
    offers: Offers,
    deadline: Instant,
) -> Result<PerKind<Vec<ListPage>>, ListError> {
    let mut lists = PerKind::default();
    for kind in Kind::ALL {
        if offers.is_asked(kind) {
            *lists.get_mut(kind) = pages(talk, kind, offers, deadline).await?;
        }
    }
    Ok(lists)
}

/// Takes out the tools whose `x-mcp-header` a client must refuse, and says why.
#[must_use]
pub fn leave_out(tools: &mut [ListPage]) -> Vec<String> {
    let mut left_out = Vec::new();
    for page in tools {
        page.entries
            .retain(|entry| match header_params::of_tool(&entry.raw) {
                Ok(_) => true,
                Err(error) => {
                    let name = sanitise(&entry.name, NAME_WARN);
                    left_out.push(format!("{name}: {error}"));
                    false
                }
            });
    }
    left_out
}

/// All pages of one list, in order. The first page that fails fails the list.
async fn pages(
    talk: &mut Conversation<'_>,
    kind: Kind,
    offers: Offers,
    deadline: Instant,
) -> Result<Vec<ListPage>, ListError> {
    let mut pages = Vec::new();
    let mut entries = 0;
    let mut seen = HashSet::new();
    let mut params: Option<String> = None;
    for _ in 0..CATALOG_PAGES {
        let answer = talk
            .ask(kind.method(), params.as_deref(), Last::No, deadline)
            .await
            .map_err(|error| ListError::Wire(kind, error))?;
        let Some(result) = result_of(answer, kind, offers)? else {
            return Ok(pages);
        };
        let page =
            parse_page(kind, &result).map_err(|violation| broken(kind, &violation.to_string()))?;
        let cursor = page.next_cursor.clone();
        entries += page.entries.len();
        pages.push(page);
        let Some(cursor) = cursor else {
            return Ok(pages);
        };
        if entries > CATALOG_ENTRIES {
            // The catalogue cuts at the limit and says so.
            return Ok(pages);
        }
        params = Some(format!(r#"{{"cursor":{}}}"#, quote(&cursor)));
        if !seen.insert(cursor) {
            return Err(broken(kind, "a cursor came twice"));
        }
    }
    tracing::warn!(
        list = kind.member(),
        pages = CATALOG_PAGES,
        "list cut at the limit of pages"
    );
    Ok(pages)
}

/// `None`: the server has none.
fn result_of(answer: Answer, kind: Kind, offers: Offers) -> Result<Option<Arc<str>>, ListError> {
    match answer {
        Ok(result) => Ok(Some(result)),
        Err(error) if error.code == code::METHOD_NOT_FOUND && offers.may_lack(kind) => Ok(None),
        Err(error) => Err(ListError::Failure(verdict::rpc_failure(
            Doing::list(kind),
            &error,
        ))),
    }
}

fn broken(kind: Kind, detail: &str) -> ListError {
    let doing = Doing::list(kind);
    let message = format!("{}: {detail}", doing.what);
    ListError::Failure(verdict::failed(
        doing,
        ProbeReason::ProtocolError,
        None,
        &message,
    ))
}
