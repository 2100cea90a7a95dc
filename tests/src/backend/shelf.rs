//! Prompts, resources and templates: definitions and results as raw JSON, sent byte for byte.

use serde_json::Value;

use super::answers::round;
use super::call::Rpc;
use super::reply::Message;
use super::script::Script;
use super::tool::Behaviour;

/// One entry of a list, and what asking for it gives.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name, URI or URI template.
    pub key: String,
    /// Raw JSON, listed as it is.
    pub definition: String,
    /// Raw JSON object, the `result` of reading it; a template has none.
    pub result: String,
}

/// Everything beside tools that a server has.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    pub prompts: Vec<Item>,
    pub resources: Vec<Item>,
    pub templates: Vec<Item>,
    /// Methods that fail, with the code.
    pub failing: Vec<(String, i64)>,
    /// By name or URI: entries that ask the client first, as the tool of such behaviour does.
    pub asking: Vec<(String, Behaviour)>,
    /// URIs that nobody can subscribe to.
    pub mute: Vec<String>,
}

impl Item {
    /// With a small definition made from `key`, which is its member `member`.
    #[must_use]
    pub fn new(member: &str, key: &str, result: &str) -> Self {
        let definition = format!(
            r#"{{"{member}":{},"description":"of the shelf"{}}}"#,
            Value::from(key),
            if member == "name" {
                ""
            } else {
                r#","name":"an item""#
            }
        );
        Self {
            key: key.to_owned(),
            definition,
            result: result.to_owned(),
        }
    }
}

impl Shelf {
    /// One of each: the prompt `greet`, the resource `{scheme}://one`, the template
    /// `{scheme}://items/{id}`.
    #[must_use]
    pub fn small(scheme: &str) -> Self {
        let uri = format!("{scheme}://one");
        let template = format!("{scheme}://items/{{id}}");
        Self {
            prompts: vec![Item::new(
                "name",
                "greet",
                r#"{"messages":[{"role":"user","content":{"type":"text","text":"hello"}}]}"#,
            )],
            resources: vec![Item::new("uri", &uri, &contents(&uri, "one"))],
            templates: vec![Item::new("uriTemplate", &template, "{}")],
            failing: Vec::new(),
            asking: Vec::new(),
            mute: Vec::new(),
        }
    }

    /// What getting or reading an entry does instead of giving its result.
    pub(super) fn behaviour(&self, rpc: &Rpc) -> Option<&Behaviour> {
        let key = match rpc.method() {
            "prompts/get" => &rpc.params["name"],
            "resources/read" => &rpc.params["uri"],
            _ => return None,
        };
        let mut asking = self.asking.iter();
        let found = asking.find(|(name, _)| key.as_str() == Some(name));
        found.map(|(_, behaviour)| behaviour)
    }

    pub(super) fn is_mute(&self, uri: &Value) -> bool {
        self.mute.iter().any(|mute| uri.as_str() == Some(mute))
    }

    /// Does it have anything at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty() && self.resources.is_empty() && self.templates.is_empty()
    }
}

/// A `resources/read` result with one text.
#[must_use]
pub fn contents(uri: &str, text: &str) -> String {
    format!(
        r#"{{"contents":[{{"uri":{},"text":{}}}]}}"#,
        Value::from(uri),
        Value::from(text)
    )
}

/// Adds what the shelf offers to raw capabilities.
pub(super) fn declare(script: &Script, capabilities: &mut Value) {
    if script.shelf.is_empty() {
        return;
    }
    let changes = script.get_stream == super::GetStream::Offered;
    capabilities["prompts"] = serde_json::json!({"listChanged": changes});
    capabilities["resources"] = serde_json::json!({"listChanged": changes, "subscribe": changes});
    capabilities["completions"] = serde_json::json!({});
}

/// Answers what is about the shelf. `own` and `listed` are raw members that the era adds to results
/// and to lists, with a leading comma, or empty. A missing resource has the code `missing`.
pub(super) fn answer(script: &Script, rpc: &Rpc, own: &str, missing: i64) -> Option<Message> {
    let shelf = &script.shelf;
    let mut failing = shelf.failing.iter();
    if let Some((_, code)) = failing.find(|(method, _)| method == rpc.method()) {
        let message = Message::error(rpc.id_raw(), 200, *code, "refused on purpose");
        return Some(message);
    }
    if let Some(Behaviour::Rounds(rounds)) = shelf.behaviour(rpc) {
        return Some(Message::result(rpc, round(rounds, rpc, own)));
    }
    let message = match rpc.method() {
        "prompts/list" => list(script, rpc, ("prompts", &shelf.prompts), own),
        "resources/list" => list(script, rpc, ("resources", &shelf.resources), own),
        "resources/templates/list" => {
            list(script, rpc, ("resourceTemplates", &shelf.templates), own)
        }
        "prompts/get" => read(rpc, &shelf.prompts, &rpc.params["name"], (own, -32602)),
        "resources/read" => match templated(shelf, &rpc.params["uri"]) {
            Some(result) => Message::result(rpc, result_of(&result, own)),
            None => read(rpc, &shelf.resources, &rpc.params["uri"], (own, missing)),
        },
        "completion/complete" => {
            let asked = rpc.params["ref"].to_string();
            let completion = format!(
                r#"{{"completion":{{"values":[{}],"total":1}}}}"#,
                Value::from(asked)
            );
            Message::result(rpc, result_of(&completion, own))
        }
        _ => return None,
    };
    Some(message)
}

fn list(script: &Script, rpc: &Rpc, (member, items): (&str, &[Item]), own: &str) -> Message {
    let all: Vec<_> = items.iter().map(|item| item.definition.as_str()).collect();
    let Some((page, next)) = script.page(&all, rpc.cursor()) else {
        return Message::error(rpc.id_raw(), 200, -32602, "Invalid cursor");
    };
    let cursor = next
        .map(|next| format!(r#","nextCursor":"{next}""#))
        .unwrap_or_default();
    let caching = if own.is_empty() {
        ""
    } else {
        r#","ttlMs":60000,"cacheScope":"public""#
    };
    let listed = page.join(",");
    Message::result(
        rpc,
        format!(r#"{{"{member}":[{listed}]{cursor}{own}{caching}}}"#),
    )
}

fn read(rpc: &Rpc, items: &[Item], key: &Value, (own, missing): (&str, i64)) -> Message {
    let found = items.iter().find(|item| key.as_str() == Some(&item.key));
    match found {
        Some(item) => Message::result(rpc, result_of(&item.result, own)),
        None => Message::error(rpc.id_raw(), 200, missing, "not on the shelf"),
    }
}

/// What is inside a template's part before the first variable.
fn templated(shelf: &Shelf, uri: &Value) -> Option<String> {
    let uri = uri.as_str()?;
    let inside = |item: &&Item| {
        let fixed = item.key.split('{').next().unwrap_or_default();
        uri.len() > fixed.len() && uri.starts_with(fixed)
    };
    shelf.templates.iter().find(inside)?;
    Some(contents(uri, "from a template"))
}

/// The result with the members of the era at its end.
fn result_of(raw: &str, own: &str) -> String {
    let (head, tail) = raw.rsplit_once('}').unwrap_or((raw, ""));
    let own = if head.trim_end().ends_with('{') {
        own.trim_start_matches(',')
    } else {
        own
    };
    format!("{head}{own}}}{tail}")
}
