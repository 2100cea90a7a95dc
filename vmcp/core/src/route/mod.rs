//! From an exposed name or URI to the backend that has it.
//!
//! Owns the maps; a name is looked up and never split (api.md, aggregation), a URI is never tried
//! at one backend after the other: it goes to the exact entry, else to the template that says most
//! of it, else to the longest prefix that a backend claims, else to the only backend that has its
//! scheme. Where two say the same, the order of priority decides. Never knows whether the backend is up: that is asked at call
//! time (R4.7).

mod template;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

pub use template::{Template, TemplateError};

use crate::catalog::{Exposed, Kind, Merged, PerKind, UriClaims, scheme};
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
    /// The most specific first.
    templates: Vec<(Template, Route)>,
    /// The longest first.
    prefixes: Vec<(Arc<str>, Route)>,
    /// `None`: more than one backend has it.
    schemes: HashMap<Box<str>, Option<Route>>,
}

impl RouteTable {
    #[must_use]
    pub fn new(merged: &Merged) -> Self {
        let exact = PerKind::from_fn(|kind| {
            let entries = merged.entries(kind).iter();
            entries
                .map(|entry| (Arc::clone(&entry.exposed), route(kind, entry)))
                .collect()
        });
        Self {
            exact,
            templates: templates(merged),
            prefixes: prefixes(&merged.claims),
            schemes: schemes(&merged.claims),
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
        self.exact
            .resources
            .get(uri)
            .or_else(|| first(&self.templates, |template| template.matches(uri)))
            .or_else(|| first(&self.prefixes, |prefix| uri.starts_with(&**prefix)))
            .or_else(|| self.schemes.get(&scheme(uri)?)?.as_ref())
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

fn first<T>(all: &[(T, Route)], fits: impl Fn(&T) -> bool) -> Option<&Route> {
    let found = all.iter().find(|(key, _)| fits(key));
    found.map(|(_, route)| route)
}

fn route(kind: Kind, entry: &Exposed) -> Route {
    Route {
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
    }
}

/// To a backend of which nothing but a claim is known.
fn claimed(claim: &UriClaims, what: &str) -> Route {
    Route {
        backend: claim.backend.clone(),
        original: what.into(),
        repeatable: true,
        header_params: Arc::default(),
    }
}

fn templates(merged: &Merged) -> Vec<(Template, Route)> {
    let rank: HashMap<&BackendId, usize> = merged
        .claims
        .iter()
        .enumerate()
        .map(|(rank, claim)| (&claim.backend, rank))
        .collect();
    let mut all: Vec<_> = merged
        .templates
        .iter()
        .filter_map(|entry| {
            let template = Template::parse(&entry.exposed).ok()?;
            Some((template, entry))
        })
        .collect();
    all.sort_by_key(|(template, entry)| {
        (
            Reverse(template.literal_bytes()),
            rank.get(&entry.backend),
            Arc::clone(&entry.exposed),
        )
    });
    all.into_iter()
        .map(|(template, entry)| (template, route(Kind::Templates, entry)))
        .collect()
}

fn prefixes(claims: &[UriClaims]) -> Vec<(Arc<str>, Route)> {
    let mut all: Vec<_> = claims
        .iter()
        .flat_map(|claim| {
            let prefixes = claim.prefixes.iter().filter(|prefix| !prefix.is_empty());
            prefixes.map(|prefix| (Arc::clone(prefix), claimed(claim, prefix)))
        })
        .collect();
    // Stable: of two alike the first in the order of priority stays first.
    all.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
    all
}

fn schemes(claims: &[UriClaims]) -> HashMap<Box<str>, Option<Route>> {
    let mut all = HashMap::new();
    for claim in claims {
        for scheme in &claim.schemes {
            all.entry(scheme.clone())
                .and_modify(|route| *route = None)
                .or_insert_with(|| Some(claimed(claim, scheme)));
        }
    }
    all
}

fn is_repeatable(entry: &str) -> bool {
    let Some(annotations) = raw::top_level(entry, "annotations") else {
        return false;
    };
    ["readOnlyHint", "idempotentHint"]
        .iter()
        .any(|hint| raw::top_level(annotations, hint) == Some("true"))
}
