//! The client of the `rmcp` crate, in this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rmcp::model::{
    CallToolRequestParams, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, GetPromptRequestParams, ListRootsResult,
    ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData, RoleClient};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::features::{Plan, Verdicts};

/// One feature.
const DEADLINE: Duration = Duration::from_secs(30);

/// Somebody who answers every question, and notes the progress.
#[derive(Clone, Debug, Default)]
struct Alice {
    seen: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Alice {
    fn get_info(&self) -> ClientConfig {
        let config = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": {"form": {}}, "sampling": {}, "roots": {}},
            "clientInfo": {"name": "features", "version": "1.0.0"},
        });
        typed(config).unwrap_or_default()
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let asked = serde_json::to_value(&request).unwrap_or_default();
        let members = asked["requestedSchema"]["properties"].as_object();
        let content: serde_json::Map<String, Value> = members
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), example(schema)))
            .collect();
        typed(json!({"action": "accept", "content": content}))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let content = json!({"type": "text", "text": "Paris"});
        typed(json!({"role": "assistant", "model": "none", "content": content}))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        typed(json!({"roots": [{"uri": "file:///home/alice", "name": "home"}]}))
    }

    async fn on_progress(
        &self,
        step: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(step.progress);
    }
}

/// Tries every feature of `plan`; a client that is not modern does the handshake.
///
/// # Errors
/// It cannot connect.
#[expect(clippy::fn_params_excessive_bools, reason = "one of two eras")]
pub(super) async fn features(url: &str, plan: &Plan, modern: bool) -> Result<Verdicts> {
    let lifecycle = if modern {
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        }
    } else {
        ClientLifecycleMode::Initialize
    };
    let alice = Alice::default();
    let transport = StreamableHttpClientTransport::from_uri(url);
    let connect = alice.clone().serve_with_lifecycle(transport, lifecycle);
    let client = timeout(DEADLINE, connect).await.context("connecting")??;
    let mut verdicts = Verdicts::new();
    for (feature, what) in plan {
        let tried = timeout(DEADLINE, attempt(&client, &alice, feature, what)).await;
        let answer = what["answer"].as_str().unwrap_or_default();
        let verdict = match tried {
            Ok(Ok(result)) if result.contains(answer) => "ok".to_owned(),
            Ok(Ok(result)) => format!("no {answer} in {result}"),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_elapsed) => "took too long".to_owned(),
        };
        verdicts.insert(feature.clone(), verdict);
    }
    client.cancel().await.context("closing")?;
    Ok(verdicts)
}

async fn attempt(
    client: &RunningService<RoleClient, Alice>,
    alice: &Alice,
    feature: &str,
    what: &Value,
) -> Result<String> {
    let name = what["name"].as_str().unwrap_or_default();
    let uri = what["uri"].as_str().unwrap_or_default();
    let call = json!({"name": name, "arguments": what["arguments"]});
    match feature {
        "resources" => {
            let listed = client.list_all_resources().await?;
            ensure!(
                listed.iter().any(|one| one.uri == uri),
                "{uri} is not listed"
            );
            let request = ReadResourceRequestParams::new(uri);
            return Ok(serde_json::to_string(
                &client.read_resource(request).await?,
            )?);
        }
        "prompts" => {
            let listed = client.list_all_prompts().await?;
            ensure!(
                listed.iter().any(|one| one.name == name),
                "{name} is not listed"
            );
            let request: GetPromptRequestParams = typed(call)?;
            return Ok(serde_json::to_string(&client.get_prompt(request).await?)?);
        }
        "tools" => {
            let listed = client.list_all_tools().await?;
            ensure!(
                listed.iter().any(|one| one.name == name),
                "{name} is not listed"
            );
        }
        _ => {}
    }
    let request: CallToolRequestParams = typed(call)?;
    let result = serde_json::to_string(&client.call_tool(request).await?)?;
    if feature == "progress" {
        let seen = alice.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = what["steps"].as_u64().unwrap_or_default();
        if (seen.len() as u64) < steps || !seen.is_sorted() {
            bail!("progress was {seen:?}");
        }
    }
    Ok(result)
}

/// Something of the type that a schema names.
fn example(schema: &Value) -> Value {
    let given = [
        &schema["default"],
        &schema["enum"][0],
        &schema["oneOf"][0]["const"],
    ];
    if let Some(given) = given.into_iter().find(|value| !value.is_null()) {
        return given.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => json!(2),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        _ => json!("Alice"),
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}
