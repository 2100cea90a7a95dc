//! Every method of both eras through a real gateway process, for every pair of eras.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Fault, Logging, Script, Shelf};
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::Local;

/// A gateway over one legacy and one modern backend with a shelf each.
struct Both {
    legacy: Backend,
    modern: Backend,
    local: Local,
    client: LegacyClient,
}

impl Both {
    async fn start() -> Result<Self> {
        let shelf = |script: Script, scheme: &str| script.with_shelf(Shelf::small(scheme));
        let legacy = Backend::start(shelf(Script::legacy(), "old")).await?;
        let modern = Backend::start(shelf(Script::modern(), "new")).await?;
        let backends = [("old", legacy.url()), ("new", modern.url())];
        let local = Local::start(&backends, json!({})).await?;
        let client = local.ready_client().await?;
        Ok(Self {
            legacy,
            modern,
            local,
            client,
        })
    }

    /// The same request of a client of each era.
    async fn ask(&self, method: &str, params: Value) -> Result<[Value; 2]> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let legacy = self.client.post(&body).await?.json()?;
        let modern = http::modern(self.local.gateway.listen, method, params).await?;
        Ok([legacy, modern.json()?])
    }

    fn backend(&self, name: &str) -> &Backend {
        if name == "old" {
            &self.legacy
        } else {
            &self.modern
        }
    }
}

/// Result members that only the modern era has.
fn is_modern_page(result: &Value) -> Result<bool> {
    let typed = result["resultType"] == json!("complete");
    let fresh = result["ttlMs"].is_u64() && result["cacheScope"].is_string();
    ensure!(typed == fresh, "half an era: {result}");
    Ok(typed)
}

/// Names are prefixed, URIs are not, and each client gets the members of its era.
#[tokio::test]
async fn every_list_has_the_entries_of_all_backends() -> Result<()> {
    let both = Both::start().await?;
    let lists = [
        (
            "prompts/list",
            "prompts",
            "name",
            ["new_greet", "old_greet"],
        ),
        (
            "resources/list",
            "resources",
            "uri",
            ["new://one", "old://one"],
        ),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            ["new://items/{id}", "old://items/{id}"],
        ),
    ];

    for (method, member, key, expected) in lists {
        for (answer, modern) in both.ask(method, json!({})).await?.iter().zip([false, true]) {
            let result = &answer["result"];
            let entries = result[member].as_array().context(answer.to_string())?;
            let mut keys: Vec<_> = entries.iter().filter_map(|one| one[key].as_str()).collect();
            keys.sort_unstable();
            ensure!(keys == expected, "{method}: {answer}");
            ensure!(is_modern_page(result)? == modern, "{method}: {answer}");
        }
    }
    Ok(())
}

/// All four pairs: `prompts/get` by its own name there, with `Mcp-Name` to match; `resources/read`
/// of an entry and of what a template describes, the URI as it was.
#[tokio::test]
async fn prompts_and_resources_are_read_where_they_are() -> Result<()> {
    let both = Both::start().await?;

    for name in ["old", "new"] {
        let backend = both.backend(name);
        let params = json!({ "name": format!("{name}_greet"), "arguments": { "a": "1" } });
        for (answer, modern) in both
            .ask("prompts/get", params)
            .await?
            .iter()
            .zip([false, true])
        {
            let text = &answer["result"]["messages"][0]["content"]["text"];
            ensure!(*text == json!("hello"), "{name}: {answer}");
            let typed = answer["result"]["resultType"] == json!("complete");
            ensure!(typed == modern, "{name}: {answer}");
        }
        for sent in backend.requests("prompts/get") {
            ensure!(sent.json()["params"]["name"] == json!("greet"));
            ensure!(name == "old" || sent.header("mcp-name") == "greet");
        }

        for (uri, text) in [("one", "one"), ("items/7", "from a template")] {
            let uri = format!("{name}://{uri}");
            let read = both.ask("resources/read", json!({ "uri": uri })).await?;
            for (answer, modern) in read.iter().zip([false, true]) {
                let contents = &answer["result"]["contents"][0];
                ensure!(contents["text"] == json!(text), "{uri}: {answer}");
                ensure!(contents["uri"] == json!(uri), "{uri}: {answer}");
                let typed = answer["result"]["resultType"] == json!("complete");
                ensure!(typed == modern, "{uri}: {answer}");
            }
            let fresh = &read[1]["result"];
            let uncached = fresh["ttlMs"] == json!(0) && fresh["cacheScope"] == json!("private");
            ensure!(name == "new" || uncached, "{uri}: {fresh}");
        }
        for sent in backend.requests("resources/read") {
            let uri = sent.json()["params"]["uri"].clone();
            ensure!(name == "old" || json!(sent.header("mcp-name")) == uri);
        }
    }
    Ok(())
}

/// `completion/complete`: `ref.name` loses its prefix, `ref.uri` finds its backend and stays.
#[tokio::test]
async fn a_completion_goes_where_its_reference_is() -> Result<()> {
    let both = Both::start().await?;

    for name in ["old", "new"] {
        let argument = json!({ "name": "id", "value": "x" });
        let references = [
            (
                json!({ "type": "ref/prompt", "name": format!("{name}_greet"), "title": "t" }),
                json!({ "type": "ref/prompt", "name": "greet", "title": "t" }),
            ),
            (
                json!({ "type": "ref/resource", "uri": format!("{name}://items/{{id}}") }),
                json!({ "type": "ref/resource", "uri": format!("{name}://items/{{id}}") }),
            ),
        ];
        for (asked, seen) in references {
            let params = json!({ "ref": asked, "argument": argument });
            for answer in both.ask("completion/complete", params).await? {
                let value = answer["result"]["completion"]["values"][0].as_str();
                let value: Value = serde_json::from_str(value.context(answer.to_string())?)?;
                ensure!(value == seen, "{name}: {answer}");
            }
        }
    }
    let params = json!({ "ref": { "type": "ref/tool" }, "argument": {} });
    for answer in both.ask("completion/complete", params).await? {
        ensure!(answer["error"]["code"] == json!(-32602), "{answer}");
    }
    Ok(())
}

/// Who is not there has the code of the client's era, whether we or the backend say so: a resource
/// is -32002 for a legacy client and -32602 for a modern one, all else is -32602.
#[tokio::test]
async fn what_is_not_there_is_told_in_the_code_of_the_era() -> Result<()> {
    let both = Both::start().await?;

    let nowhere = json!({ "uri": "nobody://x" });
    let [legacy, modern] = both.ask("resources/read", nowhere).await?;
    for (answer, code) in [(&legacy, -32002), (&modern, -32602)] {
        ensure!(answer["error"]["code"] == json!(code), "{answer}");
        let reason = &answer["error"]["data"]["reason"];
        ensure!(*reason == json!("UnroutableUri"), "{answer}");
    }
    // Routed by the entry, gone at the backend.
    for backend in [&both.legacy, &both.modern] {
        backend.update(|script| script.shelf = Shelf::default());
    }
    for uri in ["old://one", "new://one"] {
        let [legacy, modern] = both.ask("resources/read", json!({ "uri": uri })).await?;
        ensure!(legacy["error"]["code"] == json!(-32002), "{uri}: {legacy}");
        ensure!(modern["error"]["code"] == json!(-32602), "{uri}: {modern}");
    }
    for (method, params) in [
        ("prompts/get", json!({ "name": "nobody" })),
        ("prompts/get", json!({ "name": "old_greet" })),
    ] {
        for answer in both.ask(method, params).await? {
            ensure!(
                answer["error"]["code"] == json!(-32602),
                "{method}: {answer}"
            );
        }
    }
    Ok(())
}

/// R3: a time-out of a resource is not "not found": legacy -32603, modern -31002.
#[tokio::test]
async fn a_resource_that_takes_too_long_is_no_missing_one() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_shelf(Shelf::small("old"))).await?;
    let mut object = vmcp_tests::stack::remote("old", &backend.url());
    object["spec"]["timeouts"] = json!({ "connectSeconds": 1, "callSeconds": 1 });
    let objects = [
        vmcp_tests::stack::virtual_server("local", json!({})),
        object,
    ];
    let local = Local::of(&objects).await?;
    let client = local.ready_client().await?;
    backend
        .set(Fault::on("resources/read", Fault::AcceptAndHang))
        .await?;

    let params = json!({ "uri": "old://one" });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params });
    let legacy = client.post(&body).await?.json()?;
    ensure!(legacy["error"]["code"] == json!(-32603), "{legacy}");
    ensure!(legacy["error"]["data"]["reason"] == json!("CallTimeout"));
    let modern = http::modern(local.gateway.listen, "resources/read", params).await?;
    let modern = modern.json()?;
    ensure!(modern["error"]["code"] == json!(-31002), "{modern}");
    Ok(())
}

/// What the gateway offers does not depend on what backends have; `ping` and `logging/setLevel` are
/// legacy alone, and a level that is none is refused.
#[tokio::test]
async fn the_handshake_offers_everything_and_each_era_its_own_methods() -> Result<()> {
    let backend = Backend::start(Script::stateless()).await?;
    let local = Local::start(&[("one", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    let offered = json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "completions": {},
        "logging": {},
    });

    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    let result = client.result("initialize", hello).await?;
    ensure!(result["capabilities"] == offered, "{result}");
    let discover = http::modern(local.gateway.listen, "server/discover", json!({})).await?;
    let discovered = discover.json()?;
    // Modern sides alone have extensions.
    let mut offered = offered;
    offered["extensions"] = json!({ "io.modelcontextprotocol/tasks": {} });
    ensure!(
        discovered["result"]["capabilities"] == offered,
        "{discovered}"
    );

    for (method, member) in [
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        let page = client.result(method, json!({})).await?;
        ensure!(page[member] == json!([]), "{page}");
        let cursor = json!({ "cursor": "nonsense" });
        let refused = http::modern(local.gateway.listen, method, cursor).await?;
        ensure!(refused.json()?["error"]["code"] == json!(-32602));
    }
    ensure!(client.result("ping", json!({})).await? == json!({}));
    let level = client.result("logging/setLevel", json!({ "level": "warning" }));
    ensure!(level.await? == json!({}));
    for params in [json!({ "level": "loud" }), json!({})] {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": params });
        let refused = client.post(&body).await?.json()?;
        ensure!(refused["error"]["code"] == json!(-32602), "{refused}");
    }
    for method in [
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "initialize",
    ] {
        let params = json!({ "level": "info", "uri": "a:b" });
        let answer = http::modern(local.gateway.listen, method, params).await?;
        ensure!(answer.status == 404, "{method}: {}", answer.status);
        ensure!(answer.json()?["error"]["code"] == json!(-32601), "{method}");
    }
    Ok(())
}

/// The level of a legacy client reaches a backend of either era, as that era says it.
#[tokio::test]
async fn the_log_level_is_told_to_backends_of_both_eras() -> Result<()> {
    let mut script = Script::legacy();
    script.logging = Logging::Offered;
    let legacy = Backend::start(script).await?;
    let modern = Backend::start(Script::modern()).await?;
    let backends = [("old", legacy.url()), ("new", modern.url())];
    let local = Local::start(&backends, json!({})).await?;
    let client = local.ready_client().await?;

    client
        .result("logging/setLevel", json!({ "level": "error" }))
        .await?;
    for tool in ["old_echo", "new_echo"] {
        client.call(tool, json!({ "text": "x" })).await?;
    }

    let told = legacy.requests("logging/setLevel");
    ensure!(told.len() == 1, "{} times", told.len());
    ensure!(told[0].json()["params"]["level"] == json!("error"));
    let calls = modern.requests("tools/call");
    let meta = &calls[0].json()["params"]["_meta"];
    let level = &meta["io.modelcontextprotocol/logLevel"];
    ensure!(*level == json!("error"), "{meta}");
    Ok(())
}

/// R1: list, read and the rest are counted under their own kind and method.
#[tokio::test]
async fn requests_are_counted_by_method_and_kind() -> Result<()> {
    let both = Both::start().await?;
    both.ask("resources/read", json!({ "uri": "old://one" }))
        .await?;
    both.ask("prompts/list", json!({})).await?;

    let metrics = http::get(both.local.gateway.admin, "/metrics")
        .await?
        .text();
    for wanted in [
        r#"vmcp_requests_total{method="resources/read",backend="old",code="ok"} 2"#,
        r#"vmcp_request_duration_seconds_count{kind="read",backend="old"} 2"#,
        r#"vmcp_requests_total{method="prompts/list",backend="none",code="ok"} 2"#,
    ] {
        ensure!(metrics.contains(wanted), "no {wanted} in {metrics}");
    }
    Ok(())
}
