//! What backends say of the URIs that they serve, beside their lists.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::Member;
use crate::catalog::ConflictPolicy;
use crate::id::BackendId;

/// The claims of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriClaims {
    pub backend: BackendId,
    pub prefixes: Vec<Arc<str>>,
    /// In lower case: of its own entries, those that lost a clash too, and of its prefixes.
    pub schemes: BTreeSet<Box<str>>,
}

pub(super) fn claims(members: &[Member<'_>], policy: &ConflictPolicy) -> Vec<UriClaims> {
    let mut seen = HashSet::new();
    let mut claims: Vec<UriClaims> = members
        .iter()
        .filter(|member| seen.insert(member.id))
        .map(|member| {
            let listed = member.catalog.into_iter().flat_map(|catalog| {
                let all = catalog.resources.iter().chain(catalog.templates.iter());
                all.map(|entry| &*entry.name)
            });
            let prefixes = member.uri_prefixes.iter().map(String::as_str);
            UriClaims {
                backend: member.id.clone(),
                prefixes: prefixes.clone().map(Into::into).collect(),
                schemes: listed.chain(prefixes).filter_map(scheme).collect(),
            }
        })
        .collect();
    claims.sort_by(|a, b| {
        let place = |claim: &UriClaims| policy.rank(&claim.backend.name).0;
        (place(a), &a.backend).cmp(&(place(b), &b.backend))
    });
    claims
}

/// The scheme of a URI, or of a template that spells one out.
pub(crate) fn scheme(uri: &str) -> Option<Box<str>> {
    let (scheme, _) = uri.split_once(':')?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    (is_scheme && scheme.bytes().all(good)).then(|| scheme.to_ascii_lowercase().into())
}
