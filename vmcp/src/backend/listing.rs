//! A backend's whole `tools/list`.
//!
//! Owns following the cursors to the end (T21), within the shared limits. Keeps entries raw;
//! judging them is the catalogue's. A cursor that comes twice would go round for ever: an error.

pub(super) mod header_params;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use vmcp_core::health::{ProbeFailure, ProbeReason};
use vmcp_core::jsonrpc::quote;
use vmcp_core::limits::{CATALOG_ENTRIES, CATALOG_PAGES};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{ListPage, method, parse_tools_page};

use super::conversation::Conversation;
use super::message::Answer;
use super::outgoing::Last;
use super::verdict::{self, Doing};
use super::wire::WireError;

/// Has the server said that it has tools?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tools {
    #[default]
    Declared,
    Undeclared,
}

/// Why there is no list.
#[derive(Debug)]
pub enum ListError {
    Wire(WireError),
    Failure(ProbeFailure),
}

/// All pages, in order.
///
/// # Errors
/// The first page that fails fails the list: half a catalogue would look like removed tools.
pub async fn tools(
    talk: &mut Conversation<'_>,
    declared: Tools,
    deadline: Instant,
) -> Result<Vec<ListPage>, ListError> {
    let mut pages = Vec::new();
    let mut entries = 0;
    let mut seen = HashSet::new();
    let mut params: Option<String> = None;
    for _ in 0..CATALOG_PAGES {
        let answer = talk
            .ask(method::TOOLS_LIST, params.as_deref(), Last::No, deadline)
            .await
            .map_err(ListError::Wire)?;
        let Some(result) = result_of(answer, declared)? else {
            return Ok(pages);
        };
        let page = parse_tools_page(&result).map_err(|violation| broken(&violation.to_string()))?;
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
            return Err(broken("a cursor came twice"));
        }
    }
    tracing::warn!(
        pages = CATALOG_PAGES,
        "list of tools cut at the limit of pages"
    );
    Ok(pages)
}

/// `None`: the server has no tools and never said otherwise.
fn result_of(answer: Answer, declared: Tools) -> Result<Option<std::sync::Arc<str>>, ListError> {
    match answer {
        Ok(result) => Ok(Some(result)),
        Err(error) if error.code == code::METHOD_NOT_FOUND && declared == Tools::Undeclared => {
            Ok(None)
        }
        Err(error) => Err(ListError::Failure(verdict::rpc_failure(
            Doing::LIST,
            &error,
        ))),
    }
}

fn broken(detail: &str) -> ListError {
    let message = format!("{}: {detail}", Doing::LIST.what);
    ListError::Failure(verdict::failed(
        Doing::LIST,
        ProbeReason::ProtocolError,
        None,
        &message,
    ))
}
