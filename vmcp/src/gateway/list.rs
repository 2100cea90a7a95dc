//! The list methods: a page of the snapshot.
//!
//! Owns the choice of the page. Never asks a backend: the pages are serialised when the snapshot is
//! made, so a list costs the same with one backend or fifty, and with one of them hanging (T20).

use serde_json::value::RawValue;

use vmcp_core::catalog::{Kind, locate};
use vmcp_core::jsonrpc::{Request, raw};
use vmcp_core::mcp::Era;

use super::Gateway;
use super::aim::invalid;
use super::forward::no_such_backend;
use super::message::{Answer, EndpointPath};

/// What a method lists.
pub(super) fn listed(method: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.method() == method)
}

impl Gateway {
    pub(super) fn list(
        &self,
        kind: Kind,
        era: Era,
        path: &EndpointPath,
        request: &Request<'_>,
    ) -> Answer {
        let snapshot = self.snapshots.current.load();
        let Some(lists) = snapshot.lists_of(path) else {
            return Answer::error(404, &request.id, &no_such_backend(path));
        };
        let list = lists.pages(kind);
        let pages = match era {
            Era::Legacy => &list.legacy,
            Era::Modern => &list.modern,
        };
        let cursor = request
            .params
            .map(RawValue::get)
            .and_then(|params| raw::top_level(params, "cursor"))
            .filter(|raw| *raw != "null");
        let at = match cursor {
            None => Some(0),
            Some(raw) => serde_json::from_str::<String>(raw)
                .ok()
                .and_then(|cursor| locate(&list.cursors, &list.order, &cursor).ok()),
        };
        let page = at
            .and_then(|at| pages.get(at))
            .and_then(|page| std::str::from_utf8(page).ok());
        match page {
            Some(page) => Answer::result(&request.id, page),
            None => {
                let text = "params.cursor is no cursor of this server: list again without one";
                Answer::error(200, &request.id, &invalid(text))
            }
        }
    }
}
