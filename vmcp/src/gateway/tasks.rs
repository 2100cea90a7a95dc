//! Tasks of modern clients at modern backends (the extension of 2026-07-28).
//!
//! Owns the ids: towards clients a task is called by a sealed name that says which backend has it
//! and whose it is, so that any replica finds it and nobody asks for a stranger's. Keeps nothing: a
//! task lives at its backend, and is over when its backend is. Changes of tasks are asked for, never
//! announced: `subscriptions/listen` acknowledges no `taskIds`.

use std::borrow::Cow;
use std::sync::Arc;

use vmcp_core::jsonrpc::{RpcError, raw};
use vmcp_core::limits;
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::task::{self, TaskClaims};
use vmcp_core::mcp::{Era, Params, method};
use vmcp_core::route::Route;

use super::Gateway;
use super::adapt;
use super::aim::{Aim, invalid, subject};
use super::forward::Caller;
use super::message::EndpointPath;
use super::reply::Reply;
use super::seal::{Purpose, Sealer};
use crate::snapshot::Snapshot;

/// An id that is longer was not minted here: base64 of sealed claims.
const MAX_SEALED_LEN: usize = 3 * limits::TASK_ID;

impl Gateway {
    /// Where a request about a task goes, and how it reads there.
    ///
    /// # Errors
    /// With the HTTP status: the client did not declare the extension, or there is no such task for
    /// it here.
    pub(super) fn aim_at_task<'a>(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        of: &str,
        params: &Params<'_>,
    ) -> Result<Aim<'a>, (u16, RpcError)> {
        check_declared(caller.capabilities.as_deref())?;
        let sealed = subject(params).map_err(|error| (200, error))?;
        let unknown = || (200, invalid("there is no such task"));
        let claims = open(self.sealer(), &sealed).ok_or_else(unknown)?;
        // Whoever asks is nobody in particular so far, and so is whoever began the task.
        if claims.principal.is_some() {
            return Err(unknown());
        }
        let reachable = match &caller.path {
            EndpointPath::All => true,
            EndpointPath::Backend(alone) => *alone.0 == *claims.backend,
        };
        let view = snapshot
            .backends
            .iter()
            .find(|view| *view.id.name.0 == *claims.backend)
            .filter(|_| reachable)
            .ok_or_else(unknown)?;
        let original: Arc<str> = claims.id.into();
        Ok(Aim {
            params: task::renamed(params.raw(), &original).into(),
            name: Some(Arc::clone(&original)),
            route: Cow::Owned(Route {
                backend: view.id.clone(),
                original,
                repeatable: of == method::TASKS_GET,
                header_params: Arc::default(),
            }),
        })
    }
}

impl Reply {
    /// A result as the client must see it.
    ///
    /// # Errors
    /// When it has no form for this client.
    pub(super) fn adapted<'a>(&self, result: &'a str) -> Result<Cow<'a, str>, RpcError> {
        let forward = &self.forward;
        let (client, backend) = (forward.caller.era, forward.backend_era);
        let capabilities = forward.caller.capabilities.as_deref();
        let may_be_task = (client, backend) == (Era::Modern, Era::Modern)
            && capabilities.and_then(task::declared).is_some();
        if !may_be_task {
            return adapt::result(client, backend, forward.method, result);
        }
        if let Some(known) = &forward.task {
            return Ok(task::renamed(result, known).into());
        }
        let Some(id) = task::created(result) else {
            return Ok(result.into());
        };
        let principal = forward.upstream.principal.as_deref();
        let claims = TaskClaims::new(&forward.view.id.name.0, principal, id);
        let sealed = claims.and_then(|claims| {
            let sealed = forward
                .doors
                .parking
                .sealer()
                .seal(Purpose::Task, &claims.encode());
            sealed.ok()
        });
        match sealed {
            Some(sealed) => Ok(task::renamed(result, &sealed).into()),
            None => Err(RpcError::new(
                code::INTERNAL_ERROR,
                "the backend's task has an id that cannot be carried",
            )),
        }
    }
}

/// May this client speak of tasks?
///
/// # Errors
/// With the HTTP status.
pub(super) fn check_declared(capabilities: Option<&str>) -> Result<(), (u16, RpcError)> {
    match capabilities.and_then(task::declared) {
        Some(_) => Ok(()),
        None => Err((400, task::not_declared())),
    }
}

/// What of a client's extensions a modern backend is told: those that are relayed.
pub(super) fn relayed(capabilities: &str) -> Arc<str> {
    match task::declared(capabilities) {
        Some(tasks) => {
            let extensions = format!(r#"{{"{}":{tasks}}}"#, task::EXTENSION);
            raw::set_members(capabilities, &[("extensions", &extensions)]).into()
        }
        None if raw::top_level(capabilities, "extensions").is_none() => capabilities.into(),
        None => raw::without_members(capabilities, &["extensions"]).into(),
    }
}

fn open(sealer: &Sealer, sealed: &str) -> Option<TaskClaims> {
    if sealed.len() > MAX_SEALED_LEN {
        return None;
    }
    TaskClaims::decode(&sealer.open(Purpose::Task, sealed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_extensions_only_tasks_are_relayed() {
        let both =
            r#"{"roots":{ },"extensions":{"x/y":{},"io.modelcontextprotocol/tasks":{"n":1.0}}}"#;
        assert_eq!(
            &*relayed(both),
            r#"{"roots":{ },"extensions":{"io.modelcontextprotocol/tasks":{"n":1.0}}}"#
        );
        assert_eq!(&*relayed(r#"{"extensions":{"x/y":{}}}"#), "{}");
        assert_eq!(&*relayed(r#"{"roots":{ }}"#), r#"{"roots":{ }}"#);
    }

    #[test]
    fn a_name_opens_where_it_was_sealed_and_for_this_alone() {
        let sealer = Sealer::random().unwrap();
        let claims = TaskClaims::new("s", None, "1".to_owned()).unwrap();
        let sealed = sealer.seal(Purpose::Task, &claims.encode()).unwrap();

        assert_eq!(open(&sealer, &sealed), Some(claims.clone()));
        assert_eq!(open(&Sealer::random().unwrap(), &sealed), None);
        let state = sealer.seal(Purpose::State, &claims.encode()).unwrap();
        assert_eq!(open(&sealer, &state), None);
        assert_eq!(open(&sealer, "1"), None);
        assert_eq!(open(&sealer, &"x".repeat(MAX_SEALED_LEN + 1)), None);
    }
}
