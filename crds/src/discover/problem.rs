//! What is wrong with a spec although its schema accepts it: always with the field and
//! what would fix it. A problem becomes a condition; it never stops another backend.

use super::MAX_BACKENDS;
use super::url::UrlError;
use crate::condition::clip;
use crate::reason::Reason;

/// Longest quotation of a user's own text in a message, in characters.
const MAX_QUOTE: usize = 128;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The backend concerned; `None` where the whole spec is.
    pub backend: Option<String>,
    pub reason: Reason,
    /// Path of the field: in the MCPServer of that name, or in the VirtualMCPServer
    /// where it starts with `spec.backends`.
    pub field: String,
    /// What is wrong and the fix, for people; contains the field.
    pub message: String,
}

impl Problem {
    pub(super) fn backend_not_found(name: &str, position: usize) -> Self {
        let field = format!("spec.backends.refs[{position}].name");
        Self {
            message: format!(
                "{field}: no MCPServer \"{name}\" in this namespace; create it or remove the ref"
            ),
            backend: Some(name.to_owned()),
            reason: Reason::BackendNotFound,
            field,
        }
    }

    pub(super) fn duplicate_prefix(name: &str, prefix: &str, sharers: &[&str]) -> Self {
        let field = format!("spec.backends.refs[name={name}].prefix");
        let sharers = clip(&sharers.join(", "), MAX_QUOTE);
        Self {
            message: format!(
                "{field}: the prefix \"{prefix}\" is shared by {sharers}; give each a prefix of \
                 its own"
            ),
            backend: Some(name.to_owned()),
            reason: Reason::DuplicatePrefix,
            field,
        }
    }

    pub(super) fn invalid_url(name: &str, url: &str, cause: UrlError) -> Self {
        // A refused URL may hold a password: nothing of it is repeated then.
        let quoted = match cause {
            UrlError::Credentials => String::new(),
            _ => format!(" \"{}\"", clip(url, MAX_QUOTE)),
        };
        Self::of_server(
            name,
            Reason::InvalidUrl,
            "spec.remote.url",
            format!("the URL{quoted} {cause}; {}", cause.fix()),
        )
    }

    pub(super) fn invalid_port(name: &str, field: &'static str, port: i32) -> Self {
        Self::of_server(
            name,
            Reason::InvalidUrl,
            field,
            format!("{port} is no port; use one of 1 to 65535"),
        )
    }

    pub(super) fn not_exactly_one_kind(name: &str) -> Self {
        Self::of_server(
            name,
            Reason::InvalidSpec,
            "spec",
            "set exactly one of workload, service, remote".to_owned(),
        )
    }

    pub(super) fn stopped(name: &str) -> Self {
        Self::of_server(
            name,
            Reason::Stopped,
            "spec.workload.replicas",
            "stopped, because replicas is 0; set 1 or more to start it".to_owned(),
        )
    }

    pub(super) fn invalid_selector(cause: &str) -> Self {
        let field = "spec.backends.selector";
        Self {
            backend: None,
            reason: Reason::InvalidSelector,
            field: field.to_owned(),
            message: format!(
                "{field}: {}; use operator In or NotIn with values, Exists or DoesNotExist without",
                clip(cause, MAX_QUOTE)
            ),
        }
    }

    pub(super) fn too_many_backends(count: usize) -> Self {
        let field = "spec.backends";
        Self {
            backend: None,
            reason: Reason::TooManyBackends,
            field: field.to_owned(),
            message: format!(
                "{field}: {count} servers match, the first {MAX_BACKENDS} are used; narrow the \
                 selector"
            ),
        }
    }

    fn of_server(name: &str, reason: Reason, field: &str, text: String) -> Self {
        Self {
            backend: Some(name.to_owned()),
            reason,
            field: field.to_owned(),
            message: format!("MCPServer \"{name}\": {field}: {text}"),
        }
    }
}
