//! Tools and the prompt that ask the client before they answer.
//!
//! Pure: [`step`] says what to ask next or the result, from what was answered so far. Both eras
//! run the same steps: a modern client gets the questions as `inputRequests`, a legacy client as
//! requests on the stream of its call (see [`super::handler`]).

use serde_json::{Map, Value, json};

use super::results::text;

/// What the client declared that it can answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Can {
    pub elicit: bool,
    pub sample: bool,
    pub list_roots: bool,
}

/// Where a call stands.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub arguments: Map<String, Value>,
    /// Objects alone: what is no object is no answer.
    pub responses: Map<String, Value>,
    /// What the step before wanted kept.
    pub state: Option<Value>,
    pub can: Can,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Ask {
        /// `{method, params}` by name.
        requests: Map<String, Value>,
        state: Option<Value>,
    },
    Done(Value),
    /// The name of the capability that the client lacks.
    Lacks(&'static str),
}

/// The next step of a tool or prompt; `None` where `name` is none of those that ask.
#[must_use]
pub fn step(name: &str, call: &Call) -> Option<Step> {
    Some(match name {
        "test_missing_capability" if call.can.sample => Step::Done(text("sampling is declared")),
        "test_missing_capability" => Step::Lacks("sampling"),
        "test_sampling" => sampling(call),
        "test_elicitation" => elicitation(call),
        "test_elicitation_sep1034_defaults" => form(call, "Please review", defaults()),
        "test_elicitation_sep1330_enums" => form(call, "Please choose", enums()),
        "test_elicitation_url" => url(call),
        "test_streaming_elicitation"
        | "test_progress_after_question"
        | "test_input_required_result_elicitation" => greeting(call),
        "test_input_required_result_sampling" => capital(call),
        "test_list_roots" | "test_input_required_result_list_roots" => roots(call),
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => confirmed(call),
        "test_input_required_result_multiple_inputs" => three(call),
        "test_input_required_result_multi_round" => two_rounds(call),
        "test_input_required_result_capabilities" => whatever_it_can(call),
        "test_input_required_result_prompt" => prompt(call),
        _ => return None,
    })
}

fn sampling(call: &Call) -> Step {
    if !call.can.sample {
        return Step::Lacks("sampling");
    }
    match call.responses.get("sample") {
        Some(answer) => Step::Done(text(&format!("LLM response: {}", said(answer)))),
        None => ask("sample", sample(argument(call, "prompt"), 100)),
    }
}

fn elicitation(call: &Call) -> Step {
    let describe = |text: &str| json!({"type": "string", "description": text});
    let schema = json!({
        "type": "object",
        "properties": {
            "username": describe("User's response"),
            "email": describe("User's email address"),
        },
        "required": ["username", "email"],
    });
    if !call.can.elicit {
        return Step::Lacks("elicitation");
    }
    match call.responses.get("answer") {
        Some(answer) => Step::Done(text(&format!("User response: {}", outcome(answer)))),
        None => ask("answer", elicit(argument(call, "message"), schema)),
    }
}

/// One form whose whole outcome is the answer.
fn form(call: &Call, message: &str, properties: Value) -> Step {
    if !call.can.elicit {
        return Step::Lacks("elicitation");
    }
    let schema = json!({"type": "object", "properties": properties, "required": []});
    match call.responses.get("form") {
        Some(answer) => Step::Done(text(&format!("Elicitation completed: {}", outcome(answer)))),
        None => ask("form", elicit(message, schema)),
    }
}

fn url(call: &Call) -> Step {
    let request = json!({"method": "elicitation/create", "params": {
        "mode": "url",
        "message": "Please sign in",
        "url": "https://signin.example/start",
        "elicitationId": "sign-in-1",
    }});
    if !call.can.elicit {
        return Step::Lacks("elicitation");
    }
    match call.responses.get("visit") {
        Some(answer) => Step::Done(text(&format!("Visited: {}", outcome(answer)))),
        None => ask("visit", request),
    }
}

fn greeting(call: &Call) -> Step {
    match content(call, "user_name", "name") {
        Some(name) => Step::Done(text(&format!("Hello, {name}!"))),
        None => ask("user_name", name_form("What is your name?")),
    }
}

fn capital(call: &Call) -> Step {
    match call.responses.get("capital_question") {
        Some(answer) => Step::Done(text(&said(answer))),
        None => ask(
            "capital_question",
            sample("What is the capital of France?", 100),
        ),
    }
}

fn roots(call: &Call) -> Step {
    if !call.can.list_roots {
        return Step::Lacks("roots");
    }
    match call.responses.get("client_roots") {
        Some(answer) => Step::Done(text(&format!("Roots: {}", answer["roots"]))),
        None => ask(
            "client_roots",
            json!({"method": "roots/list", "params": {}}),
        ),
    }
}

fn confirmed(call: &Call) -> Step {
    let schema = json!({
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
    });
    match (call.responses.get("confirm"), &call.state) {
        (Some(_), Some(_)) => Step::Done(text("state-ok")),
        _ => Step::Ask {
            requests: one("confirm", elicit("Please confirm", schema)),
            state: Some(json!({"step": 1})),
        },
    }
}

fn three(call: &Call) -> Step {
    let answered = |name: &str| call.responses.contains_key(name);
    if ["user_name", "greeting", "client_roots"]
        .iter()
        .all(|name| answered(name))
    {
        let name = content(call, "user_name", "name").unwrap_or_default();
        let greeting = said(&call.responses["greeting"]);
        let roots = &call.responses["client_roots"]["roots"];
        return Step::Done(text(&format!("{greeting} {name}, your roots: {roots}")));
    }
    let requests = [
        ("user_name", name_form("What is your name?")),
        ("greeting", sample("Generate a greeting", 50)),
        (
            "client_roots",
            json!({"method": "roots/list", "params": {}}),
        ),
    ];
    Step::Ask {
        requests: requests
            .into_iter()
            .map(|(name, request)| (name.to_owned(), request))
            .collect(),
        state: Some(json!({"asked": 3})),
    }
}

fn two_rounds(call: &Call) -> Step {
    let named = call.state.as_ref().and_then(|state| state["name"].as_str());
    if let Some(name) = named {
        return match content(call, "step2", "color") {
            Some(color) => Step::Done(text(&format!("{name} likes {color}."))),
            None => favourite(name),
        };
    }
    match content(call, "step1", "name") {
        Some(name) => favourite(&name),
        None => Step::Ask {
            requests: one("step1", name_form("Step 1: What is your name?")),
            state: Some(json!({"round": 1})),
        },
    }
}

fn favourite(name: &str) -> Step {
    let schema = json!({
        "type": "object",
        "properties": {"color": {"type": "string"}},
        "required": ["color"],
    });
    Step::Ask {
        requests: one(
            "step2",
            elicit("Step 2: What is your favorite color?", schema),
        ),
        state: Some(json!({"round": 2, "name": name})),
    }
}

fn whatever_it_can(call: &Call) -> Step {
    let mut requests = Map::new();
    if call.can.elicit {
        requests.insert("user_name".into(), name_form("What is your name?"));
    }
    if call.can.sample {
        requests.insert("greeting".into(), sample("Generate a greeting", 50));
    }
    requests.retain(|name, _| !call.responses.contains_key(name));
    if requests.is_empty() {
        return Step::Done(text("asked what you can answer"));
    }
    Step::Ask {
        requests,
        state: None,
    }
}

fn prompt(call: &Call) -> Step {
    let schema = json!({
        "type": "object",
        "properties": {"context": {"type": "string"}},
        "required": ["context"],
    });
    match content(call, "user_context", "context") {
        Some(context) => Step::Done(json!({"messages": [{
            "role": "user",
            "content": {"type": "text", "text": format!("Context: {context}")},
        }]})),
        None => ask(
            "user_context",
            elicit("What context should the prompt use?", schema),
        ),
    }
}

fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": true},
    })
}

fn enums() -> Value {
    let titled = |values: &[(&str, &str)]| -> Vec<Value> {
        values
            .iter()
            .map(|(value, title)| json!({"const": value, "title": title}))
            .collect()
    };
    let options = ["option1", "option2", "option3"];
    let first = [("value1", "First Option"), ("value2", "Second Option")];
    let choice = [("value1", "First Choice"), ("value2", "Second Choice")];
    json!({
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled(&first)},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled(&choice)}},
    })
}

fn ask(name: &str, request: Value) -> Step {
    Step::Ask {
        requests: one(name, request),
        state: None,
    }
}

fn one(name: &str, request: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), request)])
}

fn elicit(message: &str, schema: Value) -> Value {
    let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
    json!({"method": "elicitation/create", "params": params})
}

fn name_form(message: &str) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
    });
    elicit(message, schema)
}

fn sample(question: &str, tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": question}});
    let params = json!({"messages": [message], "maxTokens": tokens});
    json!({"method": "sampling/createMessage", "params": params})
}

fn argument<'a>(call: &'a Call, name: &str) -> &'a str {
    call.arguments
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A member of the content of an accepted form.
fn content(call: &Call, answer: &str, member: &str) -> Option<String> {
    let answer = call.responses.get(answer)?;
    let value = answer["content"].get(member)?.as_str()?;
    (answer["action"] == "accept").then(|| value.to_owned())
}

/// What the model said: its content is one block or several.
fn said(answer: &Value) -> String {
    let content = &answer["content"];
    let block = content.get(0).unwrap_or(content);
    block["text"].as_str().unwrap_or_default().to_owned()
}

fn outcome(answer: &Value) -> String {
    let action = answer["action"].as_str().unwrap_or_default();
    let content = answer.get("content").cloned().unwrap_or_else(|| json!({}));
    format!("action={action}, content={content}")
}
