//! The four lists that a server has.

use serde::Serialize;

use super::method;

/// What an entry is. The order is the one in which lists are read and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The method that lists it.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tools => method::TOOLS_LIST,
            Self::Prompts => method::PROMPTS_LIST,
            Self::Resources => method::RESOURCES_LIST,
            Self::Templates => method::RESOURCES_TEMPLATES_LIST,
        }
    }

    /// The result of that method, in words.
    #[must_use]
    pub const fn result(self) -> &'static str {
        match self {
            Self::Tools => "tools/list result",
            Self::Prompts => "prompts/list result",
            Self::Resources => "resources/list result",
            Self::Templates => "resources/templates/list result",
        }
    }

    /// The member of a result that holds the entries.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry that tells it from others.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// Its keys are names, which may get a prefix; URIs are never rewritten.
    #[must_use]
    pub const fn is_named(self) -> bool {
        matches!(self, Self::Tools | Self::Prompts)
    }

    /// One entry in words.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "resource template",
        }
    }
}

/// One value for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PerKind<T> {
    pub tools: T,
    pub prompts: T,
    pub resources: T,
    pub templates: T,
}

impl<T> PerKind<T> {
    #[must_use]
    pub fn from_fn(mut make: impl FnMut(Kind) -> T) -> Self {
        Self {
            tools: make(Kind::Tools),
            prompts: make(Kind::Prompts),
            resources: make(Kind::Resources),
            templates: make(Kind::Templates),
        }
    }

    pub const fn get(&self, kind: Kind) -> &T {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }

    pub const fn get_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Tools => &mut self.tools,
            Kind::Prompts => &mut self.prompts,
            Kind::Resources => &mut self.resources,
            Kind::Templates => &mut self.templates,
        }
    }
}
