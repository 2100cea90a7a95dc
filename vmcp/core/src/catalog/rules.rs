//! Which tools are shown, and what an administrator says of them instead of the server.
//!
//! Owns `tools` of an MCPServer, on the server's own names, and `aggregation.tools` of a
//! VirtualMCPServer, on exposed names. An override changes the members that it names and no other
//! byte (T22). A rule that means no tool is told and stops nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::jsonrpc::{quote, raw};
use crate::limits;
use crate::text::sanitise;

/// A name in which `*` stands for any text, also none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Arc<str>);

impl Glob {
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut name) = name.strip_prefix(head) else {
            return false;
        };
        let mut pieces: Vec<&str> = rest.split('*').collect();
        let last = pieces.pop().unwrap_or_default();
        // The first place is as good as any later one: the star behind takes the rest.
        for piece in pieces {
            match name.find(piece) {
                Some(at) => name = &name[at + piece.len()..],
                None => return false,
            }
        }
        name.ends_with(last)
    }
}

/// What is said of one tool instead of what its server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ToolOverride {
    pub name: String,
    pub rename: Option<String>,
    pub description: Option<String>,
    /// Member and raw value; others of the server's annotations stay.
    pub annotations: Vec<(String, String)>,
}

/// One object's rules. The default shows everything as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ToolRules {
    /// Empty: all.
    pub include: Vec<Glob>,
    /// Beats `include`.
    pub exclude: Vec<Glob>,
    pub overrides: Vec<ToolOverride>,
}

impl ToolRules {
    #[must_use]
    pub fn shows(&self, name: &str) -> bool {
        let in_it = self.include.is_empty() || any(&self.include, name);
        in_it && !any(&self.exclude, name)
    }

    #[must_use]
    pub fn override_of(&self, name: &str) -> Option<&ToolOverride> {
        self.overrides.iter().find(|rule| rule.name == name)
    }

    /// A warning for each rule that means none of these names. `object`: whose rules they are.
    #[must_use]
    pub fn idle<'a>(&self, object: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let names: HashSet<&str> = names.into_iter().collect();
        let globs = |field: &'static str, globs: &'_ [Glob]| {
            globs
                .iter()
                .enumerate()
                .filter(|(_, glob)| !names.iter().any(|name| glob.matches(name)))
                .map(|(at, glob)| (format!("{field}[{at}]"), Arc::clone(&glob.0)))
                .collect::<Vec<_>>()
        };
        let mut idle = globs("include", &self.include);
        idle.extend(globs("exclude", &self.exclude));
        for (at, rule) in self.overrides.iter().enumerate() {
            if !names.contains(&*rule.name) {
                idle.push((format!("overrides[{at}].name"), rule.name.as_str().into()));
            }
        }
        idle.into_iter()
            .map(|(field, value)| {
                let value = sanitise(&value, limits::NAME_WARN);
                format!("{object}.{field}: no tool is called {value:?}")
            })
            .collect()
    }
}

impl ToolOverride {
    /// The entry with the members that the rule names, but for the name.
    #[must_use]
    pub fn apply(&self, entry: &str) -> Option<String> {
        let description = self.description.as_deref().map(quote);
        let annotations = (!self.annotations.is_empty()).then(|| {
            let own = raw::top_level(entry, "annotations");
            let own = own.filter(|own| own.starts_with('{')).unwrap_or("{}");
            let members: Vec<_> = self
                .annotations
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            raw::set_members(own, &members)
        });
        let members: Vec<(&str, &str)> = description
            .as_deref()
            .map(|text| ("description", text))
            .into_iter()
            .chain(annotations.as_deref().map(|text| ("annotations", text)))
            .collect();
        (!members.is_empty()).then(|| raw::set_members(entry, &members))
    }
}

fn any(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}
