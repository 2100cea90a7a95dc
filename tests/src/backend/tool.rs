//! Tools: a definition as raw JSON and what a call does.
//!
//! The definition is sent byte for byte, so that a test can prove that bytes survive (T22), and so
//! that invalid definitions can be served too.

use serde_json::{Value, json};

use super::call::Rpc;

/// One entry of `tools/list`.
#[derive(Clone, Debug)]
pub struct Tool {
    pub name: String,
    /// Raw JSON, sent as it is.
    pub definition: String,
    pub behaviour: Behaviour,
    /// Raw JSON-RPC messages (notifications, or requests of the server) that precede the result
    /// where the reply is an event stream. `$TOKEN` stands for the progress token of the call.
    pub notifications: Vec<String>,
}

/// What a call of the tool answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The argument `text` as text.
    Echo,
    /// The sum of the arguments `a` and `b` as text.
    Add,
    /// "slept" after the argument `ms` milliseconds.
    Slow,
    /// A result with `isError: true`.
    Fail,
    /// This raw JSON object as `result`, byte for byte.
    Raw(String),
    /// A JSON-RPC error.
    RpcError(i64),
    /// A JSON-RPC error with this raw `data`.
    RpcErrorWith(i64, String),
    /// Modern: `input_required` with each of these raw `inputRequests` in turn and the state
    /// `round-N`; then the last `inputResponses`, raw, as the text of the result.
    Rounds(Vec<String>),
    /// Modern: a task of that id, which `tasks/get` shows as done, for clients that know tasks; for
    /// others the text `at once`.
    Task(String),
    /// Asks the client first; the answer that came, raw, is the text of the result.
    Ask(Question),
    /// Names an event, ends the stream without an answer, and gives that text as the result to
    /// whoever goes on after the event by GET.
    Resumed(String),
    /// The same with several; the text is an array. On the stream of the call only.
    AskMany(Order, Vec<Question>),
}

/// When the next question of a call is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Together,
    /// After the answer to the one before.
    InTurn,
}

/// A request of the server's during a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub method: String,
    /// Raw JSON object.
    pub params: String,
    pub over: Over,
}

/// On which stream the server asks. With 2024-11-05 there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// That of the call.
    Call,
    /// The GET stream of the session; dropped where nobody listens. The reply to the call does not
    /// even begin before the answer.
    Session,
}

impl Tool {
    /// A tool with a small definition made from `name`.
    #[must_use]
    pub fn new(name: &str, behaviour: Behaviour) -> Self {
        let definition = json!({
            "name": name,
            "description": format!("{name} of the scripted backend"),
            "inputSchema": {"type": "object"},
        });
        Self::raw(name, &definition.to_string(), behaviour)
    }

    /// A tool whose definition is exactly `definition`.
    #[must_use]
    pub fn raw(name: &str, definition: &str, behaviour: Behaviour) -> Self {
        Self {
            name: name.to_owned(),
            definition: definition.to_owned(),
            behaviour,
            notifications: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_notification(mut self, raw: &str) -> Self {
        self.notifications.push(raw.to_owned());
        self
    }
}

impl Behaviour {
    /// Members of the result object, without the era's own.
    pub(super) async fn run(&self, arguments: &Value) -> Outcome {
        match self {
            Self::Echo => Outcome::Members(text(arguments["text"].as_str().unwrap_or_default())),
            Self::Add => {
                let sum =
                    arguments["a"].as_f64().unwrap_or(0.0) + arguments["b"].as_f64().unwrap_or(0.0);
                Outcome::Members(text(&sum.to_string()))
            }
            Self::Slow => {
                let pause = arguments["ms"].as_u64().unwrap_or(100);
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                Outcome::Members(text("slept"))
            }
            Self::Fail => Outcome::Members(failure("this tool always fails")),
            Self::Raw(raw) => Outcome::Raw(raw.clone()),
            Self::Task(_) => Outcome::Members(text("at once")),
            Self::RpcError(code) => Outcome::Error(*code, Value::Null),
            Self::RpcErrorWith(code, data) => {
                Outcome::Error(*code, serde_json::from_str(data).unwrap_or_default())
            }
            // Answered by `asking`; here no stream leads to the client.
            Self::Ask(_) | Self::AskMany(..) | Self::Rounds(_) | Self::Resumed(_) => {
                Outcome::Error(-32_603, Value::Null)
            }
        }
    }
}

/// What came of a call.
pub(super) enum Outcome {
    /// Members of the result, as raw JSON without the braces.
    Members(String),
    /// A whole result.
    Raw(String),
    /// Code and `data`.
    Error(i64, Value),
}

pub(super) fn text(text: &str) -> String {
    format!(
        r#""content":[{{"type":"text","text":{}}}]"#,
        Value::from(text)
    )
}

/// Members of the result of this request that say this text.
pub(super) fn saying(rpc: &Rpc, said: &str) -> String {
    let quoted = Value::from(said);
    match rpc.method() {
        "prompts/get" => {
            format!(r#""messages":[{{"role":"user","content":{{"type":"text","text":{quoted}}}}}]"#)
        }
        "resources/read" => {
            let uri = &rpc.params["uri"];
            format!(r#""contents":[{{"uri":{uri},"text":{quoted}}}]"#)
        }
        _ => text(said),
    }
}

pub(super) fn failure(message: &str) -> String {
    format!(r#"{},"isError":true"#, text(message))
}

pub(super) fn default_tools() -> Vec<Tool> {
    let object =
        |name: &str, title: &str, properties: Value, required: Value, behaviour: Behaviour| {
            let definition = json!({
                "name": name,
                "title": title,
                "description": format!("{title} of the scripted backend"),
                "inputSchema": {"type": "object", "properties": properties, "required": required},
            });
            Tool::raw(name, &definition.to_string(), behaviour)
        };
    vec![
        object(
            "echo",
            "Echo",
            json!({"text": {"type": "string"}}),
            json!(["text"]),
            Behaviour::Echo,
        ),
        object(
            "add",
            "Add",
            json!({"a": {"type": "number"}, "b": {"type": "number"}}),
            json!(["a", "b"]),
            Behaviour::Add,
        ),
        object(
            "slow",
            "Slow",
            json!({"ms": {"type": "integer"}}),
            json!([]),
            Behaviour::Slow,
        ),
        object("fail", "Fail", json!({}), json!([]), Behaviour::Fail),
    ]
}
