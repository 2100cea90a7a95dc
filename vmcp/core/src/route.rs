//! From an exposed name or URI to the backend that has it.
//!
//! Owns the maps; a name is looked up and never split (api.md, aggregation), a URI is never tried
//! at one backend after the other. Never knows whether the backend is up: that is asked at call
//! time (R4.7).

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Exposed, Kind, Merged, PerKind};
use crate::id::BackendId;
use crate::jsonrpc::raw;
use crate::mcp::header_params::{self, HeaderParam};

/// Where an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub backend: BackendId,
    /// Its name there. A URI is the same there: of no use where a template or prefix matched.
    pub original: Arc<str>,
    /// Asking twice does no harm (T19): a read, or a tool whose own annotations say read-only or
    /// idempotent.
    pub repeatable: bool,
    /// Arguments that a modern backend wants in headers as well.
    pub header_params: Arc<[HeaderParam]>,
}

/// All routes of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    exact: PerKind<HashMap<Arc<str>, Route>>,
}

impl RouteTable {
    #[must_use]
    pub fn new(merged: &Merged) -> Self {
        let route = |kind: Kind, entry: &Exposed| Route {
            backend: entry.backend.clone(),
            original: Arc::clone(&entry.original),
            repeatable: kind != Kind::Tools || is_repeatable(&entry.raw),
            header_params: match kind {
                // A legacy server knows nothing of headers: what it annotates wrongly means nothing.
                Kind::Tools => header_params::of_tool(&entry.raw)
                    .unwrap_or_default()
                    .into(),
                _ => Arc::default(),
            },
        };
        Self {
            exact: PerKind::from_fn(|kind| {
                let entries = merged.entries(kind).iter();
                entries
                    .map(|entry| (Arc::clone(&entry.exposed), route(kind, entry)))
                    .collect()
            }),
        }
    }

    /// The tool of this exposed name.
    #[must_use]
    pub fn tool(&self, exposed: &str) -> Option<&Route> {
        self.exact.tools.get(exposed)
    }

    /// The prompt of this exposed name.
    #[must_use]
    pub fn prompt(&self, exposed: &str) -> Option<&Route> {
        self.exact.prompts.get(exposed)
    }

    /// Who serves this URI.
    #[must_use]
    pub fn resource(&self, uri: &str) -> Option<&Route> {
        self.exact.resources.get(uri)
    }

    /// The template that is spelled exactly so.
    #[must_use]
    pub fn template(&self, uri_template: &str) -> Option<&Route> {
        self.exact.templates.get(uri_template)
    }

    /// How many entries of this kind have a route.
    #[must_use]
    pub fn len(&self, kind: Kind) -> usize {
        self.exact.get(kind).len()
    }

    /// All entries of a kind, in no order.
    pub fn iter(&self, kind: Kind) -> impl Iterator<Item = (&str, &Route)> {
        let all = self.exact.get(kind).iter();
        all.map(|(name, route)| (&**name, route))
    }
}

fn is_repeatable(entry: &str) -> bool {
    let Some(annotations) = raw::top_level(entry, "annotations") else {
        return false;
    };
    ["readOnlyHint", "idempotentHint"]
        .iter()
        .any(|hint| raw::top_level(annotations, hint) == Some("true"))
}
