//! Rounds of a legacy client's call at a modern backend.
//!
//! Owns what becomes of an `input_required` result: each of its requests goes to the client, all at
//! once, and the same call is made again with the answers and the backend's state. An answer is the
//! client's own, a refusal of a person's included; an error of the client's ends the call, for the
//! backend has no way to hear it.

use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;

use vmcp_core::bridge::{
    BridgeReason, Input, InputRequest, InputRequired, bridge_error, may_ask, refusal, retry_params,
    url_required, with_elicitation_id,
};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::limits;

use super::ask::Pending;
use super::dialogue::Dialogue;
use super::port::UpstreamRequest;
use super::reply::{Next, Reply};
use super::source::Source;

/// Answers by key.
type Answers = Vec<(String, Arc<str>)>;

/// Why the answers are not there.
enum Unanswered {
    Refused(RpcError),
    Late,
}

impl Dialogue {
    /// Asks what this result asks and calls again. `false`: the reply is over.
    pub(super) async fn next_round(&mut self, result: &str) -> bool {
        let required = match acceptable(&self.reply, result) {
            Ok(required) => required,
            Err(error) => return self.end(error),
        };
        let mut pending = self.put(&required.requests);
        let answers = tokio::select! {
            over = self.over() => Err(over),
            answers = collect(&required.requests, &mut pending) => Ok(answers),
        };
        match answers {
            Ok(Ok(answers)) => {
                self.call_again(&answers, required.state);
                true
            }
            Ok(Err(Unanswered::Refused(error))) => {
                self.withdraw_all(&pending);
                self.end(error)
            }
            Ok(Err(Unanswered::Late)) => {
                self.withdraw_all(&pending);
                let text = "the client did not give its input in time";
                self.end(told(&self.reply, BridgeReason::InputTimeout, text))
            }
            Err(Next::Cancelled) => {
                self.withdraw_all(&pending);
                let last = self.reply.finish(Next::Cancelled);
                self.writer.send(last.body);
                false
            }
            // The session is over, and its streams with it.
            Err(_) => {
                self.reply.source = Source::Done;
                false
            }
        }
    }

    fn put(&self, requests: &[InputRequest<'_>]) -> Vec<Pending> {
        let put = requests.iter().map(|request| {
            let params = request.params.map(|params| {
                let id = self.live.asks.elicitation_id();
                with_elicitation_id(params, &id)
            });
            let (message, pending) = self.live.asks.ask(&request.method, params.as_deref());
            self.writer.send(message);
            pending
        });
        put.collect()
    }

    fn call_again(&mut self, answers: &Answers, state: Option<&str>) {
        let reply = &mut self.reply;
        let first = &reply.forward.upstream;
        let params = first.params.as_deref().unwrap_or("{}");
        let answers = answers.iter().map(|(key, raw)| (key.as_str(), &**raw));
        let params = retry_params(params, answers, state);
        let timeout = first.target.endpoint.call_timeout;
        let again = UpstreamRequest {
            params: Some(params.into()),
            deadline: Instant::now() + timeout,
            ..UpstreamRequest::clone(first)
        };
        reply.round += 1;
        let sent = reply.forward.doors.port.send(Arc::new(again));
        reply.source = Source::starting(sent, reply.forward.view.clone());
    }

    fn withdraw_all(&self, pending: &[Pending]) {
        for pending in pending.iter().filter(|pending| pending.is_open()) {
            self.withdraw(Some(pending.id()));
        }
    }

    fn end(&mut self, error: RpcError) -> bool {
        self.reply.source = Source::Done;
        self.writer.send(self.reply.fail(error).body);
        false
    }
}

/// All answers, or the first error.
async fn collect(
    requests: &[InputRequest<'_>],
    pending: &mut [Pending],
) -> Result<Answers, Unanswered> {
    let each = requests
        .iter()
        .zip(pending)
        .map(|(request, pending)| async {
            match pending.answer().await {
                Some(Ok(raw)) => Ok((request.key.as_ref().to_owned(), raw)),
                Some(Err(error)) => Err(Unanswered::Refused(error)),
                None => Err(Unanswered::Late),
            }
        });
    match tokio::time::timeout(limits::PARKED_ROUND, try_join_all(each)).await {
        Ok(answers) => answers,
        Err(_) => Err(Unanswered::Late),
    }
}

/// What is asked, where this client can be asked all of it.
fn acceptable<'a>(reply: &Reply, result: &'a str) -> Result<InputRequired<'a>, RpcError> {
    let malformed = |text: &str| told(reply, BridgeReason::InputMalformed, text);
    if !may_ask(reply.forward.method) {
        return Err(malformed(
            "the answer to this request may not be input_required",
        ));
    }
    let required = InputRequired::parse(result)
        .map_err(|error| malformed(&error.to_string()))?
        .ok_or_else(|| malformed("no input_required"))?;
    if reply.round >= limits::PARKED_ROUNDS {
        let text = "the backend asks for input again and again";
        return Err(told(reply, BridgeReason::InputRoundsExceeded, text));
    }
    let capabilities = reply.capabilities();
    for request in &required.requests {
        capabilities
            .check(&request.method, request.params)
            .map_err(|error| told(reply, BridgeReason::InputUnsupported, &error.message))?;
    }
    Ok(required)
}

/// What a legacy client that takes no stream hears of an `input_required` result: where all it has
/// to do is to open URLs, that; else that it cannot be asked.
pub(super) fn without_stream(reply: &Reply, result: &str) -> RpcError {
    let required = match acceptable(reply, result) {
        Ok(required) => required,
        Err(error) => return error,
    };
    let id = reply.forward.id.to_raw();
    let ids: Vec<_> = (0..required.requests.len())
        .map(|at| format!("vmcp-{}-{at}", id.trim_matches('"')))
        .collect();
    if reply.capabilities().has(Input::ElicitationUrl)
        && let Some(error) = url_required(&required.requests, &ids)
    {
        return error;
    }
    let text = "the backend asks for input, and the client accepts no text/event-stream";
    told(reply, BridgeReason::InputUnsupported, text)
}

/// What a legacy backend hears when its question cannot reach the client.
pub(super) fn no_stream(method: &str) -> RpcError {
    let text = format!("the client takes no event stream, so it cannot be asked {method}");
    RpcError {
        code: vmcp_core::mcp::error::code::METHOD_NOT_FOUND,
        ..refusal(BridgeReason::InputUnsupported, &text)
    }
}

fn told(reply: &Reply, reason: BridgeReason, text: &str) -> RpcError {
    bridge_error(reason, &reply.forward.view.id.name.0, text)
}
