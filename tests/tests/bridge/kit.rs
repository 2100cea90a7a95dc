//! Backends that ask, and clients that can be asked.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Order, Over, Question, Script, Tool};
use vmcp_tests::stack::{Local, SOON};
use vmcp_tests::talk::{self, Client};

/// Everything that a client may declare.
pub fn able() -> Value {
    json!({
        "elicitation": { "form": {}, "url": {} },
        "sampling": { "tools": {} },
        "roots": {},
    })
}

/// What is asked: the tool that asks it, the method, and raw params with odd spelling.
pub const KINDS: [(&str, &str, &str); 4] = [
    (
        "form",
        "elicitation/create",
        r#"{"message":"1.10 \u00e9","requestedSchema":{"type":"object","properties":{}}}"#,
    ),
    (
        "url",
        "elicitation/create",
        r#"{"mode":"url","elicitationId":"e-1","url":"https://example.com/","message":"open"}"#,
    ),
    (
        "sampling",
        "sampling/createMessage",
        r#"{"messages":[],"maxTokens":10,"temperature":1.0}"#,
    ),
    ("roots", "roots/list", r#"{"_meta":{"x.dev/n":1e2}}"#),
];

/// Raw answers of a client: agreement, two refusals of a person, and something unheard of.
pub const ANSWERS: [&str; 4] = [
    r#"{"action":"accept","content":{"n":1.50e2}}"#,
    r#"{"action":"decline"}"#,
    r#"{"action":"cancel"}"#,
    r#"{"roots":[ ],"x-vendor":0.10}"#,
];

pub fn question(method: &str, params: &str) -> Question {
    Question {
        method: method.to_owned(),
        params: params.to_owned(),
        over: Over::Call,
    }
}

/// A legacy server with a tool for each kind, and tools that ask more than once.
pub fn asking() -> Script {
    let form = |text: &str| question("elicitation/create", &format!(r#"{{"message":"{text}"}}"#));
    let two = || vec![form("one"), form("two")];
    let often = (0..12).map(|_| form("again")).collect();
    let mut tools: Vec<_> = KINDS
        .iter()
        .map(|(name, method, params)| Tool::new(name, Behaviour::Ask(question(method, params))))
        .collect();
    tools.push(Tool::new(
        "together",
        Behaviour::AskMany(Order::Together, two()),
    ));
    tools.push(Tool::new(
        "in-turn",
        Behaviour::AskMany(Order::InTurn, two()),
    ));
    tools.push(Tool::new("often", Behaviour::AskMany(Order::InTurn, often)));
    Script::legacy().with_tools(tools)
}

/// A modern server whose tools answer `input_required` with these maps, one after the other.
pub fn needing(tools: &[(&str, &[&str])]) -> Script {
    let tools = tools.iter().map(|(name, rounds)| {
        let rounds = rounds.iter().map(|&map| map.to_owned()).collect();
        Tool::new(name, Behaviour::Rounds(rounds))
    });
    Script::modern().with_tools(tools.collect())
}

/// A gateway over one backend by the name `s`.
pub async fn gateway(backend: &Backend) -> Result<Local> {
    let local = Local::start(&[("s", backend.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    Ok(local)
}

/// A modern call.
pub async fn call(local: &Local, capabilities: &Value, params: Value) -> Result<Value> {
    talk::modern(local.gateway.listen, params, capabilities)
        .await?
        .json()
}

pub async fn legacy_client(local: &Local, capabilities: &Value) -> Result<Client> {
    Client::open(local.gateway.listen, capabilities).await
}

/// The text of a result: what the backend got.
pub fn got(answer: &Value) -> Result<Value> {
    let text = answer["result"]["content"][0]["text"].as_str();
    let text = text.with_context(|| format!("no result: {answer}"))?;
    Ok(serde_json::from_str(text)?)
}

/// The one key and request of an `input_required` answer, and its state.
pub fn asked(answer: &Value) -> Result<(String, Value, String)> {
    let result = &answer["result"];
    ensure!(result["resultType"] == "input_required", "{answer}");
    let requests = result["inputRequests"].as_object().context("no map")?;
    let state = result["requestState"].as_str().context("no state")?;
    match requests.iter().next() {
        Some((key, request)) => Ok((key.clone(), request.clone(), state.to_owned())),
        None => bail!("nothing asked: {answer}"),
    }
}

/// Whether the backend has been POSTed these bytes.
pub fn received(backend: &Backend, bytes: &str) -> bool {
    backend
        .log()
        .iter()
        .any(|request| String::from_utf8_lossy(&request.body).contains(bytes))
}
