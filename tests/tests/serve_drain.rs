//! What a caller sees of a gateway that stops before its call is done.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{GatewayProcess, SOON, remote, virtual_server};

/// Far longer than the drain.
const CALL_MS: u64 = 20_000;

/// The drain, the closing of backends and a busy machine.
const STOPPED: Duration = Duration::from_secs(12);

/// T7, shared/api.md "Stop": a call that outlives the drain ends with an error in the shape of the
/// client's era, not with a connection that is cut.
#[tokio::test]
async fn a_call_that_outlives_the_drain_ends_with_an_error() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let dir = tempfile::tempdir()?;
    let objects = dir.path().join("objects");
    std::fs::create_dir(&objects)?;
    let manifests = [
        virtual_server("local", json!({})),
        remote("a", &backend.url()),
    ];
    for (at, manifest) in manifests.iter().enumerate() {
        std::fs::write(objects.join(format!("{at}.json")), manifest.to_string())?;
    }
    let drain = ["--drain-seconds", "2"];
    let gateway = GatewayProcess::from_files(&objects, &drain, dir.path()).await?;
    eventually("ready", SOON, || async {
        let answer = http::get(gateway.admin, "/readyz").await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    })
    .await?;
    let client = LegacyClient::open(gateway.listen).await?;

    let arguments = json!({ "ms": CALL_MS });
    let params = json!({ "name": "a_slow", "arguments": arguments });
    let stop = async {
        eventually("both calls run", SOON, || async {
            let calls = backend.requests("tools/call").len();
            ensure!(calls == 2, "{calls} calls");
            Ok(())
        })
        .await?;
        gateway.program.terminate(STOPPED).await
    };
    let (legacy, modern, exit) = tokio::join!(
        client.call("a_slow", arguments.clone()),
        http::modern(gateway.listen, "tools/call", params),
        stop,
    );

    let (legacy, modern) = (legacy?, modern?.json()?);
    ensure!(legacy["error"]["code"] == json!(-32001), "{legacy}");
    ensure!(modern["error"]["code"] == json!(-31001), "{modern}");
    let exit = exit?;
    ensure!(exit.code() == Some(0), "{exit}");
    Ok(())
}
