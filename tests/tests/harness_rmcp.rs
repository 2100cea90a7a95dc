//! The scriptable backend is a server that an independent client takes for a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientLifecycleMode, ClientServiceExt};
use serde_json::json;
use vmcp_tests::backend::{Backend, ReplyFormat, Script};
use vmcp_tests::eventually::eventually;

/// An independent client finds a server of the era that the script names, and leaves no session.
#[tokio::test]
async fn rmcp_lists_and_calls_in_both_eras_and_in_every_framing() {
    let modern = || ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let formats = [
        ReplyFormat::Json,
        ReplyFormat::Sse,
        ReplyFormat::SseMultiLine,
    ];
    for (script, lifecycle) in [
        (Script::legacy(), ClientLifecycleMode::Initialize),
        (Script::stateless(), ClientLifecycleMode::Initialize),
        (Script::modern(), modern()),
        (Script::dual(), modern()),
    ] {
        for format in formats {
            let script = script.clone().with_reply(format).with_page_size(1);
            let backend = Backend::start(script).await.unwrap();
            let transport = StreamableHttpClientTransport::from_uri(backend.url());
            let client = ().serve_with_lifecycle(transport, lifecycle.clone()).await.unwrap();

            let tools = client.list_all_tools().await.unwrap();
            let arguments = json!({"a": 2, "b": 40}).as_object().cloned().unwrap();
            let call = CallToolRequestParams::new("add").with_arguments(arguments);
            let sum = client.call_tool(call).await.unwrap();
            client.cancel().await.unwrap();

            assert_eq!(tools.len(), 4);
            assert_eq!(serde_json::to_value(&sum.content[0]).unwrap()["text"], "42");
            until(|| backend.sessions_open() == 0).await;
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    let ask = || async {
        condition()
            .then_some(())
            .ok_or_else(|| anyhow::anyhow!("not yet"))
    };
    eventually("the condition", Duration::from_secs(5), ask)
        .await
        .unwrap();
}
