//! Every entry with the name that it asks for, before clashes are settled.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Exposed, Member};
use crate::catalog::{ConflictPolicy, ConflictStrategy, Entry, Kind, ToolOverride, ToolRules};
use crate::id::BackendId;
use crate::jsonrpc::{quote, raw};
use crate::limits;
use crate::text::sanitise;

pub struct Candidate<'a> {
    pub exposed: String,
    pub backend: &'a BackendId,
    pub entry: &'a Entry,
    /// Of its server, then of the gateway: the later one has the last word.
    pub overrides: Vec<&'a ToolOverride>,
}

/// An entry that its server's rules show, under the name that they give it.
struct Own<'a> {
    name: &'a str,
    entry: &'a Entry,
    rule: Option<&'a ToolOverride>,
}

pub fn candidates<'a>(
    kind: Kind,
    members: &[Member<'a>],
    policy: &ConflictPolicy,
) -> Vec<Candidate<'a>> {
    let shared = match policy.strategy {
        ConflictStrategy::PrefixOnConflict => shared_names(kind, members),
        _ => HashSet::new(),
    };
    let mut all = Vec::new();
    let mut seen_members = HashSet::new();
    for member in members.iter().filter(|member| member.catalog.is_some()) {
        if !seen_members.insert(member.id) {
            continue;
        }
        let prefix = match (member.prefix, policy.strategy) {
            (Some(prefix), _) => prefix.to_owned(),
            (None, ConflictStrategy::Prefix | ConflictStrategy::PrefixOnConflict) => {
                policy.prefix(&member.id.name)
            }
            (None, ConflictStrategy::Priority | ConflictStrategy::Manual) => String::new(),
        };
        all.extend(own(kind, member).map(|own| {
            let bare = !kind.is_named()
                || policy.strategy == ConflictStrategy::PrefixOnConflict
                    && !shared.contains(own.name);
            Candidate {
                exposed: match bare {
                    true => own.name.to_owned(),
                    false => format!("{prefix}{}", own.name),
                },
                backend: member.id,
                entry: own.entry,
                overrides: own.rule.into_iter().collect(),
            }
        }));
    }
    all
}

fn own<'a>(kind: Kind, member: &Member<'a>) -> impl Iterator<Item = Own<'a>> {
    let rules: Option<&'a ToolRules> = member.tools.filter(|_| kind == Kind::Tools);
    let catalog = member.catalog.into_iter();
    let mut seen = HashSet::new();
    catalog
        .flat_map(move |catalog| catalog.entries(kind).iter())
        .filter(move |entry| seen.insert(&entry.name))
        .filter(move |entry| rules.is_none_or(|rules| rules.shows(&entry.name)))
        .map(move |entry| {
            let rule = rules.and_then(|rules| rules.override_of(&entry.name));
            let renamed = rule.and_then(|rule| rule.rename.as_deref());
            Own {
                name: renamed.unwrap_or(&entry.name),
                entry,
                rule,
            }
        })
}

/// Names that more than one member has.
fn shared_names<'a>(kind: Kind, members: &[Member<'a>]) -> HashSet<&'a str> {
    let mut owners: HashMap<&str, &BackendId> = HashMap::new();
    let mut shared = HashSet::new();
    for member in members {
        for own in own(kind, member) {
            let owner = *owners.entry(own.name).or_insert(member.id);
            if owner != member.id {
                shared.insert(own.name);
            }
        }
    }
    shared
}

impl Candidate<'_> {
    /// The entry as clients see it.
    ///
    /// # Errors
    /// A warning, when the backend's entry cannot carry another name.
    pub fn expose(self) -> Result<Exposed, String> {
        let mut raw = Arc::clone(&self.entry.raw);
        for rule in self.overrides {
            raw = rule.apply(&raw).map_or(raw, Into::into);
        }
        if self.exposed != *self.entry.name {
            let named = raw::replace_top_level(&raw, "name", &quote(&self.exposed));
            raw = named
                .map_err(|error| {
                    let name = sanitise(&self.entry.name, limits::NAME_WARN);
                    format!("{name:?} of {} is left out: {error}", self.backend.name)
                })?
                .into();
        }
        Ok(Exposed {
            exposed: self.exposed.into(),
            backend: self.backend.clone(),
            original: Arc::clone(&self.entry.name),
            raw,
        })
    }

    pub fn long(&self, what: &str, limit: usize) -> String {
        let name = sanitise(&self.exposed, limits::NAME_WARN);
        format!(
            "{name:?}... of {} {what}: longer than {limit} characters",
            self.backend.name
        )
    }
}
