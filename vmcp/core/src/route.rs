//! From an exposed name to the backend that has it.
//!
//! Owns the map; a name is looked up in it and never split (api.md, aggregation). Never knows
//! whether the backend is up: that is asked at call time (R4.7).

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{ExposedTool, Merged};
use crate::id::BackendId;
use crate::jsonrpc::raw;

/// Where a tool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub backend: BackendId,
    /// Its name there.
    pub original: Arc<str>,
    /// Its own annotations say read-only or idempotent, so a call may be sent twice (T19).
    pub repeatable: bool,
}

/// All routes of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    tools: HashMap<Arc<str>, Route>,
}

impl RouteTable {
    #[must_use]
    pub fn new(merged: &Merged) -> Self {
        let route = |tool: &ExposedTool| Route {
            backend: tool.backend.clone(),
            original: Arc::clone(&tool.original),
            repeatable: is_repeatable(&tool.raw),
        };
        let tools = merged
            .tools
            .iter()
            .map(|tool| (Arc::clone(&tool.exposed), route(tool)));
        Self {
            tools: tools.collect(),
        }
    }

    /// The tool of this exposed name.
    #[must_use]
    pub fn get(&self, exposed: &str) -> Option<&Route> {
        self.tools.get(exposed)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Route)> {
        self.tools.iter().map(|(name, route)| (&**name, route))
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
