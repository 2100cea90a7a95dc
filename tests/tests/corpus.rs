//! Byte-exact passage (T22): a corpus of odd results and definitions through a real gateway
//! process, for every pair of eras.
//!
//! The corpus is a table of fragments and shapes, multiplied out in code. What may differ is exactly
//! the closed list of the specification of this gateway: `resultType`, `ttlMs` and `cacheScope` at
//! the end of a result, and the `name` of a definition. Everything is compared as bytes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Item, Script, Shelf, Tool};
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::Local;

/// Values that a typed reader would change, each as raw JSON.
const VALUES: &[(&str, &str)] = &[
    ("trailing_zero", "1.10"),
    ("overflow", "1e400"),
    ("underflow", "1E-400"),
    ("plus_exponent", "1.0e+2"),
    ("minus_zero", "-0"),
    ("minus_zero_point", "-0.0"),
    ("big_integer", "123456789012345678901234567890"),
    ("above_safe", "9007199254740993"),
    (
        "long_fraction",
        "0.1000000000000000055511151231257827021181583404541015625",
    ),
    ("null", "null"),
    ("spaced", "[ 1 ,\t2 ,\r\n 3 ]"),
    ("escaped_slash", r#""a\/b""#),
    ("escaped_letter", r#""\u0061\u0062""#),
    ("escaped_upper_lower", r#""\u00E9\u00e9é""#),
    ("surrogate_pair", r#""\ud83d\ude00 😀""#),
    ("lone_surrogate", r#""\ud800""#),
    ("reversed_surrogates", r#""\ude00\ud83d""#),
    ("nul_and_controls", r#""\u0000\u001f\u007f\b\f\n\r\t""#),
    ("line_separators", "\"\u{2028}\u{2029}\u{feff}\""),
    ("quotes", r#""\"\\\"{}[]:,""#),
    ("braces_in_text", r#""}]}\"resultType\":\"x\"""#),
    ("empty", r#""""#),
    ("empty_key", r#"{"":{"":null}}"#),
    ("null_id", r#"{"id":null,"jsonrpc":"2.0"}"#),
    (
        "looks_like_answer",
        r#"{"jsonrpc":"2.0","id":7,"result":{"isError":false}}"#,
    ),
    ("twin_keys", r#"{"a":1,"a":2,"A":3}"#),
    ("twins_by_escape", r#"{"b":1,"\u0062":2}"#),
    ("key_order", r#"{"z":1,"a":2,"m":3,"0":4}"#),
    ("unicode_key", r#"{"ключ":"値","🔑":[]}"#),
    (
        "inner_result_type",
        r#"{"resultType":"input_required","ttlMs":5,"cacheScope":"public"}"#,
    ),
    ("inner_name", r#"{"name":"echo","uri":"a:b"}"#),
    (
        "vendor",
        r#"{"x-vendor/thing":{"$ref":"a/nowhere"},"_meta":{"vendor.example/a":1.0}}"#,
    ),
    ("mixed", r#"[true,false,null,"",0,{},[],{"a":[{}]}]"#),
];

/// A case: a result or a definition as raw JSON.
struct Case {
    name: String,
    raw: String,
}

/// Everything in [`VALUES`] and what is too long to be spelled there.
fn values() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = VALUES
        .iter()
        .map(|(name, raw)| ((*name).to_owned(), (*raw).to_owned()))
        .collect();
    let nested = |depth: usize| format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
    all.push(("deep".to_owned(), nested(56)));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(50), "}".repeat(50));
    all.push(("deep_objects".to_owned(), objects));
    let many: Vec<_> = (0..500).map(|at| format!(r#""k{at}":{at}.0"#)).collect();
    all.push(("wide".to_owned(), format!("{{{}}}", many.join(","))));
    all
}

fn cases(shapes: &[(&str, &str)]) -> Vec<Case> {
    let values = values();
    let shaped = shapes.iter().flat_map(|(shape, template)| {
        values.iter().map(move |(value, raw)| Case {
            name: format!("{shape}-{value}"),
            raw: template.replace("$V", raw),
        })
    });
    shaped.collect()
}

/// One text of a million bytes, with escapes at every hundredth.
fn megabyte() -> String {
    let piece = format!("{}\\u00e9\\n", "x".repeat(92));
    piece.repeat(10_000)
}

fn call_results() -> Vec<Case> {
    let mut all = cases(&[
        (
            "member",
            r#"{"content":[{"type":"text","text":"t"}],"x-odd":$V}"#,
        ),
        (
            "structured",
            r#"{ "structuredContent" : {"v":$V} ,"content":[]}"#,
        ),
        (
            "first",
            r#"{"_meta":{"example.com/v":$V},"content":[{"type":"text","text":"","v":$V}]}"#,
        ),
    ]);
    all.push(Case {
        name: "megabyte".to_owned(),
        raw: format!(
            r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#,
            megabyte()
        ),
    });
    all
}

fn prompt_results() -> Vec<Case> {
    let mut all = cases(&[(
        "message",
        r#"{"description":"d","messages":[{"role":"user","content":{"type":"text","text":"t","v":$V}}],"x":$V}"#,
    )]);
    all.push(Case {
        name: "megabyte".to_owned(),
        raw: format!(
            r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":"{}"}}}}]}}"#,
            megabyte()
        ),
    });
    all
}

fn read_results() -> Vec<Case> {
    let mut all = cases(&[(
        "contents",
        r#"{"contents":[{"uri":"odd:x","text":"t","_meta":{"v":$V}}],"x":$V}"#,
    )]);
    all.push(Case {
        name: "megabyte".to_owned(),
        raw: format!(
            r#"{{"contents":[{{"uri":"odd:x","text":"{}"}}]}}"#,
            megabyte()
        ),
    });
    all
}

/// Definitions; `$K` is the key of the entry.
fn definitions(member: &str) -> Vec<Case> {
    let schema = match member {
        "name" => r#""inputSchema":{"type":"object","properties":{"p":{"default":$V}}},"#,
        _ => "",
    };
    let whole = format!(
        r#"{{"title":"T","{member}":"$K",{schema}"annotations":{{"x":$V}},"_meta":{{"v":$V}},"x-odd":$V}}"#
    );
    cases(&[("definition", whole.as_str())])
}

/// The era of the client and of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    Legacy,
    Modern,
}

const TYPE: &str = r#","resultType":"complete""#;
const UNCACHED: &str = r#","ttlMs":0,"cacheScope":"private""#;

/// The object with further raw members at its end.
fn with(raw: &str, members: &str) -> String {
    let head = raw.strip_suffix('}').unwrap_or(raw);
    format!("{head}{members}}}")
}

/// What the backend answers with: in its own era.
fn served(backend: Era, raw: &str) -> String {
    match backend {
        Era::Legacy => raw.to_owned(),
        Era::Modern => with(raw, TYPE),
    }
}

/// What the client must get for it.
fn expected(client: Era, backend: Era, method: &str, raw: &str) -> String {
    match (client, backend) {
        (Era::Legacy, _) => raw.to_owned(),
        (Era::Modern, Era::Legacy) if method == "resources/read" => {
            with(raw, &format!("{TYPE}{UNCACHED}"))
        }
        (Era::Modern, _) => with(raw, TYPE),
    }
}

/// A gateway over one backend with the whole corpus.
struct Corpus {
    local: Local,
    client: LegacyClient,
    backend: Era,
    _running: Backend,
}

impl Corpus {
    async fn start(backend: Era) -> Result<Self> {
        let tool = |at: usize, case: &Case| {
            let result = served(backend, &case.raw);
            Tool::new(&format!("call{at}"), Behaviour::Raw(result))
        };
        let mut tools: Vec<_> = call_results()
            .iter()
            .enumerate()
            .map(|(at, case)| tool(at, case))
            .collect();
        for (at, case) in definitions("name").iter().enumerate() {
            let name = format!("tool{at}");
            tools.push(Tool::raw(
                &name,
                &case.raw.replace("$K", &name),
                Behaviour::Echo,
            ));
        }
        let mut shelf = Shelf::default();
        for (at, case) in prompt_results().iter().enumerate() {
            shelf
                .prompts
                .push(Item::new("name", &format!("get{at}"), &case.raw));
        }
        for (at, case) in read_results().iter().enumerate() {
            shelf
                .resources
                .push(Item::new("uri", &format!("odd:{at}"), &case.raw));
        }
        shelf.prompts.extend(defined("name", "prompt"));
        shelf.resources.extend(defined("uri", "def:"));
        let script = match backend {
            Era::Legacy => Script::legacy(),
            Era::Modern => Script::modern(),
        };
        let running = Backend::start(script.with_tools(tools).with_shelf(shelf)).await?;
        let local = Local::start(&[("odd", running.url())], json!({})).await?;
        let client = local.ready_client().await?;
        Ok(Self {
            local,
            client,
            backend,
            _running: running,
        })
    }

    /// The raw `result` of a request of this client, without its envelope.
    async fn ask(&self, client: Era, method: &str, params: Value) -> Result<String> {
        let answer = match client {
            Era::Legacy => {
                let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
                self.client.post(&body).await?
            }
            Era::Modern => http::modern(self.local.gateway.listen, method, params).await?,
        };
        let text = answer.text();
        let result = text.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#);
        let result = result.and_then(|rest| rest.strip_suffix('}'));
        Ok(result.with_context(|| shortened(&text))?.to_owned())
    }

    async fn compare(
        &self,
        method: &str,
        cases: &[Case],
        params: impl Fn(usize) -> Value,
    ) -> Result<usize> {
        for client in [Era::Legacy, Era::Modern] {
            for (at, case) in cases.iter().enumerate() {
                let got = self.ask(client, method, params(at)).await?;
                let wanted = expected(client, self.backend, method, &case.raw);
                ensure!(
                    got == wanted,
                    "{} of {:?} to {client:?}: {} instead of {}",
                    case.name,
                    self.backend,
                    shortened(&got),
                    shortened(&wanted)
                );
            }
        }
        Ok(cases.len())
    }

    /// All definitions of a list, as one text.
    async fn listed(&self, client: Era, method: &str) -> Result<String> {
        let mut pages = String::new();
        let mut params = json!({});
        loop {
            let page = self.ask(client, method, params).await?;
            pages.push_str(&page);
            let Some((_, rest)) = page.rsplit_once(r#""nextCursor":""#) else {
                return Ok(pages);
            };
            let cursor = rest.split('"').next().unwrap_or_default();
            params = json!({ "cursor": cursor });
        }
    }

    async fn compare_definitions(
        &self,
        method: &str,
        member: &str,
        key: impl Fn(usize) -> String,
    ) -> Result<usize> {
        let cases = definitions(member);
        for client in [Era::Legacy, Era::Modern] {
            let listed = self.listed(client, method).await?;
            for (at, case) in cases.iter().enumerate() {
                let wanted = case.raw.replace("$K", &key(at));
                ensure!(
                    listed.contains(&wanted),
                    "{method} to {client:?} has no {}: {wanted}",
                    case.name
                );
            }
        }
        Ok(cases.len())
    }
}

fn defined(member: &str, prefix: &str) -> Vec<Item> {
    let item = |(at, case): (usize, &Case)| {
        let key = format!("{prefix}{at}");
        Item {
            definition: case.raw.replace("$K", &key),
            result: "{}".to_owned(),
            key,
        }
    };
    definitions(member).iter().enumerate().map(item).collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(600).collect()
}

async fn whole_corpus(backend: Era) -> Result<()> {
    let corpus = Corpus::start(backend).await?;
    let name = |prefix: &'static str| move |at: usize| json!({ "name": format!("odd_{prefix}{at}"), "arguments": {} });
    let mut compared = 0;

    compared += corpus
        .compare("tools/call", &call_results(), name("call"))
        .await?;
    compared += corpus
        .compare("prompts/get", &prompt_results(), name("get"))
        .await?;
    let uri = |at: usize| json!({ "uri": format!("odd:{at}") });
    compared += corpus
        .compare("resources/read", &read_results(), uri)
        .await?;
    let named = |kind: &'static str| move |at: usize| format!("odd_{kind}{at}");
    compared += corpus
        .compare_definitions("tools/list", "name", named("tool"))
        .await?;
    compared += corpus
        .compare_definitions("prompts/list", "name", named("prompt"))
        .await?;
    let same = |at: usize| format!("def:{at}");
    compared += corpus
        .compare_definitions("resources/list", "uri", same)
        .await?;

    ensure!(compared >= 200, "only {compared} cases");
    Ok(())
}

/// T22: both kinds of client get every byte of a legacy backend.
#[tokio::test]
async fn every_byte_of_a_legacy_backend_arrives() -> Result<()> {
    whole_corpus(Era::Legacy).await
}

/// T22: both kinds of client get every byte of a modern backend.
#[tokio::test]
async fn every_byte_of_a_modern_backend_arrives() -> Result<()> {
    whole_corpus(Era::Modern).await
}
