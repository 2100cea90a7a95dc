//! Where a request goes, and how it reads there.
//!
//! Owns the members of each method's params that name something of a backend's: they are looked up,
//! and set to the backend's own name. URIs are never rewritten. Never asks whether the backend is
//! up (R4.7), and never tries one backend after the other.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;

use vmcp_core::jsonrpc::{self, RpcError, raw, unquote};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, Params, method};
use vmcp_core::route::Route;

use crate::snapshot::Lists;

/// `data.reason` of a URI that no backend is known to serve.
const UNROUTABLE: &str = "UnroutableUri";

/// A request as its backend is to read it.
#[derive(Debug)]
pub(super) struct Aim<'a> {
    pub route: Cow<'a, Route>,
    pub params: Cow<'a, str>,
    /// `Mcp-Name`, for the methods that have it.
    pub name: Option<Arc<str>>,
}

/// Is this a method whose answer only a backend has?
pub(super) fn is_forwarded(of: &str) -> bool {
    matches!(
        of,
        method::TOOLS_CALL
            | method::PROMPTS_GET
            | method::RESOURCES_READ
            | method::COMPLETION_COMPLETE
    )
}

/// Finds the backend of a request.
///
/// # Errors
/// What the client is to be told, in the code of its era: a member is missing, or nobody has what
/// it names.
pub(super) fn aim<'a>(
    lists: &'a Lists,
    era: Era,
    of: &str,
    params: &Params<'a>,
) -> Result<Aim<'a>, RpcError> {
    let routes = &lists.routes;
    match of {
        method::TOOLS_CALL => {
            let name = subject(params)?;
            let route = routes.tool(&name).ok_or_else(|| unknown("tool", &name))?;
            named(route, params)
        }
        method::PROMPTS_GET => {
            let name = subject(params)?;
            let route = routes
                .prompt(&name)
                .ok_or_else(|| unknown("prompt", &name))?;
            named(route, params)
        }
        method::COMPLETION_COMPLETE => completion(lists, params.raw()),
        _ => {
            let uri = subject(params)?;
            let route = routes.resource(&uri).ok_or_else(|| unroutable(era, &uri))?;
            Ok(Aim {
                route: Cow::Borrowed(route),
                params: params.raw().into(),
                name: Some(uri.into()),
            })
        }
    }
}

/// A URI that nobody is known to serve: each era has its own code for it.
pub(super) fn unroutable(era: Era, uri: &str) -> RpcError {
    let code = match era {
        Era::Legacy => code::RESOURCE_NOT_FOUND,
        Era::Modern => code::INVALID_PARAMS,
    };
    RpcError::new(code, format!("no backend serves {uri}"))
        .with_data(&json!({ "reason": UNROUTABLE, "uri": uri }))
}

/// What the request is about.
pub(super) fn subject<'a>(params: &Params<'a>) -> Result<Cow<'a, str>, RpcError> {
    let missing = |member| missing("params", member);
    params.subject().map_err(missing)
}

/// The text of a member of `of`, which is called `what` in the error.
pub(super) fn text<'a>(of: &'a str, what: &str, key: &str) -> Result<Cow<'a, str>, RpcError> {
    raw::top_level(of, key)
        .and_then(unquote)
        .ok_or_else(|| missing(what, key))
}

fn missing(what: &str, key: &str) -> RpcError {
    invalid(format!("{what}.{key} is missing or no string"))
}

pub(super) fn invalid(text: impl Into<String>) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, text)
}

fn unknown(what: &str, name: &str) -> RpcError {
    invalid(format!("unknown {what}: {name}"))
}

fn named<'a>(route: &'a Route, params: &Params<'_>) -> Result<Aim<'a>, RpcError> {
    let renamed = params.about(&route.original);
    Ok(Aim {
        route: Cow::Borrowed(route),
        params: renamed.map_err(|_| no_object())?.into(),
        name: Some(Arc::clone(&route.original)),
    })
}

fn renamed(object: &str, original: &str) -> Result<String, RpcError> {
    raw::replace_top_level(object, "name", &jsonrpc::quote(original)).map_err(|_| no_object())
}

fn no_object() -> RpcError {
    invalid("params is no object")
}

/// `completion/complete`: its reference is a prompt or a template.
fn completion<'a>(lists: &'a Lists, params: &'a str) -> Result<Aim<'a>, RpcError> {
    let reference = raw::top_level(params, "ref").unwrap_or("{}");
    match &*text(reference, "params.ref", "type")? {
        "ref/prompt" => {
            let name = text(reference, "params.ref", "name")?;
            let route = lists.routes.prompt(&name);
            let route = route.ok_or_else(|| unknown("prompt", &name))?;
            let reference = renamed(reference, &route.original)?;
            let params =
                raw::replace_top_level(params, "ref", &reference).map_err(|_| no_object())?;
            Ok(Aim {
                route: Cow::Borrowed(route),
                params: params.into(),
                name: None,
            })
        }
        "ref/resource" => {
            let uri = text(reference, "params.ref", "uri")?;
            let routes = &lists.routes;
            let route = routes.template(&uri).or_else(|| routes.resource(&uri));
            Ok(Aim {
                route: Cow::Borrowed(route.ok_or_else(|| unroutable(Era::Modern, &uri))?),
                params: params.into(),
                name: None,
            })
        }
        other => Err(invalid(format!("params.ref.type {other:?} is unknown"))),
    }
}
