//! A request of a modern client's that brings input along.
//!
//! Owns what such a request continues: a call that is parked here, one that is to be made once
//! more, or nothing of ours. Checks the state before it touches a call, so that a refused retry
//! costs nobody anything.

use std::sync::Arc;

use vmcp_core::bridge::{
    BridgeReason, StateError, all_accepted, bridge_error, request_digest, retry_state,
    without_retry,
};
use vmcp_core::jsonrpc::{RpcError, raw};
use vmcp_core::limits;
use vmcp_core::mcp::Era;
use vmcp_core::mcp::error::code;

use super::forward::Forward;
use super::park::{ParkedCall, Parking, Ticket};
use super::session::unix_now;

/// What a request is.
#[derive(Debug)]
pub(super) enum Continued {
    /// To be sent. So often has its client been asked before.
    Anew(u32),
    /// On its way already, and waiting.
    Parked(Box<ParkedCall>),
}

/// What the request continues. What only a modern backend could understand is taken off where the
/// backend is a legacy one.
///
/// # Errors
/// What the client is to be told: the state is not good for this request, or its call is gone.
pub(super) fn continued(parking: &Parking, forward: &mut Forward) -> Result<Continued, RpcError> {
    let params = forward.upstream.params.as_deref().unwrap_or("{}");
    if forward.caller.era == Era::Legacy || !forward.is_retry {
        return Ok(Continued::Anew(0));
    }
    let state = retry_state(params);
    let Some(claims) = state.as_deref().and_then(|state| parking.open(state)) else {
        return foreign(forward);
    };
    let server = &forward.view.id.name.0;
    let ticket = ticket(forward);
    claims
        .check(ticket.principal.as_deref(), &ticket.digest, unix_now())
        .map_err(|error| error.to_rpc(server))?;
    check_responses(params)?;
    if claims.kept().is_some() {
        let call = parking.take(&claims);
        let call = call.ok_or_else(|| StateError::Gone.to_rpc(server))?;
        return Ok(Continued::Parked(Box::new(call)));
    }
    let keys: Vec<_> = (1..=limits::QUESTIONS).map(url_key).collect();
    if !all_accepted(params, keys.iter().map(String::as_str)) {
        let text = "the URL that the backend wants opened was declined";
        return Err(bridge_error(
            BridgeReason::ElicitationDeclined,
            server,
            text,
        ));
    }
    forget_retry(forward);
    Ok(Continued::Anew(claims.round))
}

/// Under which a client answers whether it opened the n-th URL.
pub(super) fn url_key(n: usize) -> String {
    format!("url-{n}")
}

/// What is asked of a later retry.
pub(super) fn ticket(forward: &Forward) -> Ticket {
    let params = forward.upstream.params.as_deref().unwrap_or("{}");
    Ticket {
        principal: forward.upstream.principal.clone(),
        digest: request_digest(&forward.view.id.name.0, forward.method, params),
    }
}

/// A state that is not ours: the backend's own, or nobody's.
fn foreign(forward: &mut Forward) -> Result<Continued, RpcError> {
    if forward.backend_era == Era::Modern {
        return Ok(Continued::Anew(0));
    }
    let params = forward.upstream.params.as_deref().unwrap_or("{}");
    if raw::top_level(params, "requestState").is_some_and(|raw| raw != "null") {
        return Err(StateError::Malformed.to_rpc(&forward.view.id.name.0));
    }
    // Answers to nothing: the request stands for itself, and its backend asks again.
    check_responses(params)?;
    forget_retry(forward);
    Ok(Continued::Anew(0))
}

fn forget_retry(forward: &mut Forward) {
    if let Some(params) = &forward.upstream.params {
        let before = without_retry(params).as_ref().into();
        Arc::make_mut(&mut forward.upstream).params = Some(before);
    }
}

fn check_responses(params: &str) -> Result<(), RpcError> {
    match raw::top_level(params, "inputResponses") {
        Some(raw) if !raw.starts_with('{') => Err(RpcError::new(
            code::INVALID_PARAMS,
            "params.inputResponses is no object",
        )),
        _ => Ok(()),
    }
}
