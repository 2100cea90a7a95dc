//! What a gateway process lists of all four kinds, in both eras, and where what it lists leads.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Fault, Item, Script, Shelf, Tool, contents};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// A backend in trouble is told of within a check or three.
const TOLD: Duration = Duration::from_secs(40);

fn shelf(host: &str) -> Shelf {
    let prompt = |name: &str| Item::new("name", name, r#"{"messages":[]}"#);
    let resource = |uri: &str| Item::new("uri", uri, &contents(uri, host));
    let template = format!("file:///{host}/by/{{id}}");
    Shelf {
        prompts: vec![prompt("greet"), prompt("part")],
        resources: vec![
            resource(&format!("file:///{host}/one")),
            resource("file:///shared"),
            resource(&format!("{host}://only")),
        ],
        templates: vec![Item::new("uriTemplate", &template, "{}")],
        ..Shelf::default()
    }
}

fn keys(result: &Value, member: &str, key: &str) -> Vec<String> {
    let entries = result[member].as_array().map_or(&[][..], Vec::as_slice);
    entries
        .iter()
        .filter_map(|entry| Some(entry[key].as_str()?.to_owned()))
        .collect()
}

async fn modern(local: &Local, method: &str) -> Result<Value> {
    let answer = http::modern(local.gateway.listen, method, json!({})).await?;
    Ok(answer.json()?["result"].take())
}

/// T21, R4.8: the lists of every kind are read to their end, joined under the same rules, and the
/// same in both eras; URIs are never rewritten and a shared one is the first backend's.
#[tokio::test]
async fn all_four_kinds_are_listed_in_both_eras() -> Result<()> {
    let one = Backend::start(Script::legacy().with_shelf(shelf("one")).with_page_size(1)).await?;
    let two = Backend::start(Script::modern().with_shelf(shelf("two")).with_page_size(2)).await?;
    let local = Local::start(&[("one", one.url()), ("two", two.url())], json!({})).await?;
    let client = local.ready_client().await?;

    let expected = [
        (
            "prompts/list",
            "prompts",
            "name",
            vec!["one_greet", "one_part", "two_greet", "two_part"],
        ),
        (
            "resources/list",
            "resources",
            "uri",
            vec![
                "file:///one/one",
                "file:///shared",
                "one://only",
                "file:///two/one",
                "two://only",
            ],
        ),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            vec!["file:///one/by/{id}", "file:///two/by/{id}"],
        ),
    ];
    for (method, member, key, expected) in expected {
        let legacy = client.result(method, json!({})).await?;
        let modern = modern(&local, method).await?;
        ensure!(keys(&legacy, member, key) == expected, "{method}: {legacy}");
        ensure!(modern[member] == legacy[member], "{method}: {modern}");
        ensure!(modern["resultType"] == "complete", "{modern}");
        ensure!(
            modern["ttlMs"] == 60_000 && modern["cacheScope"] == "public",
            "{modern}"
        );
        ensure!(
            legacy.get("ttlMs").is_none() && legacy.get("_meta").is_none(),
            "{legacy}"
        );
    }
    Ok(())
}

/// Routing of URIs: exact, template, prefix, only scheme; what fits nowhere is asked of nobody.
#[tokio::test]
async fn a_uri_is_read_from_the_one_backend_that_it_leads_to() -> Result<()> {
    let one = Backend::start(Script::legacy().with_shelf(shelf("one"))).await?;
    let two = Backend::start(Script::legacy().with_shelf(shelf("two"))).await?;
    let mut claimed = remote("two", &two.url());
    claimed["spec"]["resourceUriPrefixes"] = json!(["file:///claimed/"]);
    let objects = [
        virtual_server("local", json!({})),
        remote("one", &one.url()),
        claimed,
    ];
    let local = Local::of(&objects).await?;
    let client = local.ready_client().await?;
    let (uris_of_one, uris_of_two) = (
        [
            "file:///one/one",
            "file:///shared",
            "file:///one/by/7",
            "one://any",
        ],
        [
            "file:///two/one",
            "file:///two/by/x",
            "file:///claimed/x/y",
            "two://only",
        ],
    );

    for uri in uris_of_one.iter().chain(&uris_of_two) {
        // Not everything that leads to a backend is there; who was asked is what counts.
        let _ = client.result("resources/read", json!({ "uri": uri })).await;
    }
    let asked = |backend: &Backend| -> Vec<String> {
        let reads = backend.requests("resources/read");
        reads
            .iter()
            .filter_map(|seen| Some(seen.json()["params"]["uri"].as_str()?.to_owned()))
            .collect()
    };
    ensure!(asked(&one) == uris_of_one, "{:?}", asked(&one));
    ensure!(asked(&two) == uris_of_two, "{:?}", asked(&two));

    let lost = client
        .result("resources/read", json!({"uri": "file:///nowhere/x"}))
        .await;
    let lost = format!("{:?}", lost.err().context("an answer from nowhere")?);
    ensure!(
        lost.contains("-32002") && lost.contains("UnroutableUri"),
        "{lost}"
    );
    let prompt = client
        .result("prompts/get", json!({"name": "two_greet"}))
        .await?;
    ensure!(prompt["messages"].is_array(), "{prompt}");
    ensure!(one.requests("prompts/get").is_empty() && two.requests("prompts/get").len() == 1);
    Ok(())
}

/// R4.5, T11: while a backend is down its lists stay, every page says that they may be old, and
/// clients are told to keep none; a list that fails is no empty list.
#[tokio::test]
async fn a_list_with_a_backend_missing_says_so() -> Result<()> {
    let good = Backend::start(Script::modern()).await?;
    good.update(|script| script.ttl_ms = 30_000);
    let bad = Backend::start(Script::legacy().with_shelf(shelf("bad"))).await?;
    let never = Backend::start(Script::legacy()).await?;
    never.set(Fault::Refuse).await?;
    let backends = [
        ("bad", bad.url()),
        ("good", good.url()),
        ("never", never.url()),
    ];
    let local = Local::start(&backends, json!({})).await?;

    let gaps = |expected: Value| {
        let local = &local;
        eventually("the gaps are told", TOLD, move || {
            let expected = expected.clone();
            async move {
                for method in ["tools/list", "prompts/list"] {
                    let result = modern(local, method).await?;
                    let told = &result["_meta"]["vmcp.dev/partial"];
                    ensure!(*told == expected, "{method}: {told}");
                    let ttl = if expected.is_null() { 30_000 } else { 0 };
                    ensure!(result["ttlMs"] == ttl, "{method}: {}", result["ttlMs"]);
                }
                Ok(())
            }
        })
    };
    gaps(json!([{"backend": "never", "entries": "missing"}])).await?;
    never.heal().await?;
    gaps(Value::Null).await?;

    bad.update(|script| {
        script
            .shelf
            .failing
            .push(("prompts/list".to_owned(), -32603))
    });
    bad.set(Fault::Refuse).await?;
    gaps(json!([{"backend": "bad", "entries": "stale"}])).await?;
    let prompts = modern(&local, "prompts/list").await?;
    ensure!(
        keys(&prompts, "prompts", "name") == ["bad_greet", "bad_part"],
        "{prompts}"
    );

    bad.heal().await?;
    let failing = eventually("the failed list is a reason", TOLD, || async {
        let status = http::get(local.gateway.admin, "/status").await?.json()?;
        let text = status.to_string();
        ensure!(
            text.contains("ListFailed") && text.contains("prompts/list"),
            "{status}"
        );
        modern(&local, "prompts/list").await
    })
    .await?;
    ensure!(
        keys(&failing, "prompts", "name") == ["bad_greet", "bad_part"],
        "{failing}"
    );
    Ok(())
}

/// T22: filters hide and hidden tools cannot be called, overrides say what they name and no more,
/// and a rule that means nothing is a warning.
#[tokio::test]
async fn tools_are_filtered_and_overridden_by_the_specs() -> Result<()> {
    let definition =
        r#"{ "name":"t","inputSchema":{"type":"object"},"x":1.50,"description":"old"}"#;
    let tools = vec![
        Tool::raw("t", definition, Behaviour::Echo),
        Tool::new("secret", Behaviour::Echo),
        Tool::new("other", Behaviour::Echo),
    ];
    let backend = Backend::start(Script::legacy().with_tools(tools)).await?;
    let mut server = remote("a", &backend.url());
    server["spec"]["tools"] = json!({
        "exclude": ["sec*", "nothing"],
        "overrides": [{"name": "t", "rename": "best", "description": "new"}],
    });
    let aggregation = json!({"tools": {
        "exclude": ["a_other"], "overrides": [{"name": "a_best", "rename": "top"}],
    }});
    let objects = [
        virtual_server("local", json!({ "aggregation": aggregation })),
        server,
    ];
    let local = Local::of(&objects).await?;
    let client = local.ready_client().await?;

    ensure!(
        client.tools().await? == ["top"],
        "{:?}",
        client.tools().await?
    );
    let page = http::modern(local.gateway.listen, "tools/list", json!({}))
        .await?
        .text();
    let changed = definition.replace("\"t\"", "\"top\"").replace("old", "new");
    ensure!(page.contains(&changed), "{page}");
    let answer = client.call("top", json!({"text": "hello"})).await?;
    ensure!(
        answer["result"]["content"][0]["text"] == "hello",
        "{answer}"
    );
    for hidden in ["a_secret", "secret", "a_other", "a_best", "a_t", "t"] {
        let answer = client.call(hidden, json!({})).await?;
        ensure!(answer["error"]["code"] == -32602, "{hidden}: {answer}");
    }
    ensure!(backend.requests("tools/call").len() == 1);
    let status = http::get(local.gateway.admin, "/status").await?.json()?;
    let warnings = status["warnings"].to_string();
    ensure!(warnings.contains("spec.tools.exclude[1]"), "{warnings}");
    Ok(())
}

/// A tool whose `x-mcp-header` clients must refuse is not offered; a good one is. Legacy servers
/// know nothing of it.
#[tokio::test]
async fn a_modern_tool_with_a_bad_header_annotation_is_not_offered() -> Result<()> {
    let tool = |name: &str, header: &str| {
        let schema = json!({"type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": header}}});
        let definition = json!({"name": name, "inputSchema": schema}).to_string();
        Tool::raw(name, &definition, Behaviour::Echo)
    };
    let tools = vec![tool("good", "Region"), tool("bad", "My Region")];
    let new = Backend::start(Script::modern().with_tools(tools.clone())).await?;
    let old = Backend::start(Script::legacy().with_tools(tools)).await?;
    let local = Local::start(&[("new", new.url()), ("old", old.url())], json!({})).await?;
    let client = local.ready_client().await?;

    let tools = client.tools().await?;

    ensure!(tools == ["new_good", "old_good", "old_bad"], "{tools:?}");
    local
        .gateway
        .program
        .wait_for_line("clients must refuse their annotations", SOON)
        .await?;
    Ok(())
}
