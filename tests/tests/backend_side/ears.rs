//! The GET streams of sessions: whom a refusal concerns, and how often a server is asked.

use anyhow::{Result, ensure};
use std::sync::Arc;

use vmcp::gateway::port::{BackendPort, UpstreamRequest};
use vmcp_tests::backend::{Backend, Fault, Recorded, Script};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, LEAST_PAUSE, PATIENCE};

/// A call of a client that can be asked something, so that its session listens.
async fn call(caller: &Caller, client: &str) -> Result<()> {
    let request = UpstreamRequest {
        client_capabilities: Some(r#"{"roots":{}}"#.into()),
        ..caller.request(&Ask::echo().by(client))
    };
    let mut events = caller.upstream.send(Arc::new(request)).await?;
    ensure!(matches!(events.recv().await, Some(Ok(_))));
    Ok(())
}

fn listening(backend: &Backend) -> Vec<Recorded> {
    let mut asked = backend.requests("GET");
    asked.retain(|one| one.status == Some(200));
    asked
}

/// R2.3: a stream that is refused once, for its session or for the moment, is asked for by the next
/// session; where the refusal was the moment's, by the same one again.
#[tokio::test]
async fn a_refused_stream_is_no_verdict_on_all_sessions() -> Result<()> {
    for (status, passing) in [(404, false), (400, false), (401, true), (403, true)] {
        let backend = Backend::start(Script::legacy().with_get_stream()).await?;
        let caller = Caller::new(&backend).await;
        let refusal = Fault::http_status(status);
        backend.set(Fault::on("GET", refusal)).await?;
        call(&caller, "a").await?;
        eventually("the refusal", PATIENCE, || async {
            ensure!(!backend.requests("GET").is_empty());
            Ok(())
        })
        .await?;
        backend.heal().await?;

        call(&caller, "b").await?;

        let hear = 1 + usize::from(passing);
        eventually("the streams stand", PATIENCE, || async {
            let found = listening(&backend).len();
            ensure!(found == hear, "{status}: {found} streams stand");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A server that ends its streams at once and says `retry: 0` is asked ever more seldom.
#[tokio::test]
async fn a_server_cannot_make_us_knock_without_end() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_polled_stream()).await?;
    let caller = Caller::new(&backend).await;
    call(&caller, "a").await?;

    let asked = eventually("four streams", PATIENCE, || async {
        let asked = listening(&backend);
        ensure!(asked.len() >= 4, "{} streams", asked.len());
        Ok(asked)
    })
    .await?;

    for (n, pair) in asked.windows(2).take(3).enumerate() {
        let pause = pair[1].at - pair[0].at;
        ensure!(pause >= LEAST_PAUSE * (1 << n), "{n}: {pause:?}");
    }
    Ok(())
}
