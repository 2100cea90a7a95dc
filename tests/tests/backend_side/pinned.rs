//! Sessions that live in one pod of several (architecture 8, T12, T18).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use vmcp::backend::probe::Want;
use vmcp::gateway::port::{BackendPort, UpstreamError, UpstreamRequest};
use vmcp::pods::{PodList, Pods};
use vmcp::snapshot::{Endpoint, SessionLoss, Transport};
use vmcp_tests::backend::{Backend, Era, Script, UnknownSession};

use crate::kit::{Ask, Caller, Prober, dialect, endpoint, sessions};

const CLIENTS: usize = 6;

/// Two pods of one server, each with sessions of its own, and the Service that names them.
struct Twins {
    pods: [Backend; 2],
    service: Pods,
    caller: Caller,
}

fn address(backend: &Backend) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], backend.port()))
}

fn listed(ready: &[&Backend], known: &[&Backend]) -> PodList {
    PodList {
        ready: ready.iter().map(|pod| address(pod)).collect(),
        known: known.iter().map(|pod| address(pod)).collect(),
        ..PodList::default()
    }
}

impl Twins {
    async fn start(script: Script) -> Result<Self> {
        Self::losing(script, SessionLoss::Reinitialize).await
    }

    async fn losing(script: Script, session_loss: SessionLoss) -> Result<Self> {
        let transport = match script.era {
            Era::Sse2024 => Transport::Sse,
            _ => Transport::StreamableHttp,
        };
        let pods = [
            Backend::start(script.clone()).await?,
            Backend::start(script).await?,
        ];
        let service = Pods::of(listed(&[&pods[0], &pods[1]], &[&pods[0], &pods[1]]));
        // Through the Service's own address every connection leads to the second; the
        // first session is opened in the first.
        let endpoint = Endpoint {
            transport,
            session_loss,
            pods: service.clone(),
            ..endpoint(&pods[1].url())
        };
        let mut prober = Prober::at(endpoint.clone());
        let found = dialect(&prober.cycle(Want::Liveness).await.outcome);
        prober.end().await;
        pods.iter().for_each(Backend::clear_log);
        let caller = Caller::with(endpoint.into(), Some(found));
        Ok(Self {
            pods,
            service,
            caller,
        })
    }

    /// The pod that has the client's session, and the other.
    fn home(&self) -> Result<(&Backend, &Backend)> {
        let [one, two] = &self.pods;
        match (
            one.requests("initialize").len(),
            two.requests("initialize").len(),
        ) {
            (1, 0) => Ok((one, two)),
            (0, 1) => Ok((two, one)),
            other => anyhow::bail!("{other:?} sessions"),
        }
    }
}

fn is_marked(result: &str) -> bool {
    let result: Value = serde_json::from_str(result).unwrap_or_default();
    result["_meta"]["vmcp.dev/sessionRestarted"] == true
}

/// Every message of a session goes to the pod that opened it, whatever the transport; sessions are
/// spread over the pods.
#[tokio::test]
async fn a_session_stays_in_the_pod_that_opened_it() -> Result<()> {
    let listening = Script::legacy().with_get_stream().with_logging();
    for script in [Script::legacy(), listening, Script::sse()] {
        let era = script.era;
        let twins = Twins::start(script).await?;
        for _ in 0..4 {
            for client in 0..CLIENTS {
                let name = format!("client-{client}");
                let request = UpstreamRequest {
                    client_capabilities: Some(r#"{"roots":{}}"#.into()),
                    log_level: Some(r#""debug""#.into()),
                    ..twins.caller.request(&Ask::echo().by(&name))
                };
                let mut events = twins.caller.upstream.send(Arc::new(request)).await?;
                events.recv().await.context("a result")??;
            }
        }

        let mut opened = 0;
        for pod in &twins.pods {
            let of_clients = pod.requests("initialize").len();
            ensure!(
                of_clients == CLIENTS / 2,
                "{era:?}: {of_clients} of {CLIENTS}"
            );
            opened += of_clients;
            let own: BTreeSet<_> = pod.sessions().into_iter().map(|one| one.id).collect();
            for request in pod.log() {
                let known = request.session.as_ref().is_none_or(|id| own.contains(id));
                ensure!(known, "{era:?}: a stranger's session: {request:?}");
            }
        }
        ensure!(opened == CLIENTS);
        for client in 0..CLIENTS {
            let name = format!("client-{client}");
            twins.caller.upstream.end_session(name.into()).await;
        }
        for pod in &twins.pods {
            sessions(pod, 0).await?;
        }
    }
    Ok(())
}

/// Leases of modern clients are sessions, too.
#[tokio::test]
async fn a_lease_stays_in_its_pod() -> Result<()> {
    let twins = Twins::start(Script::legacy()).await?;
    for _ in 0..5 {
        twins.caller.result(&Ask::echo().leased()).await;
    }

    let (home, other) = twins.home()?;
    assert_eq!(home.requests("tools/call").len(), 5);
    assert!(other.log().is_empty());
    Ok(())
}

/// T18: when the pod has left its Service the session is over although the process still answers;
/// the next call begins another in a pod that is there, and says so.
#[tokio::test]
async fn a_session_ends_with_its_pod() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let script = Script::legacy().with_unknown_session(answer);
        let twins = Twins::start(script.clone()).await?;
        twins.caller.result(&Ask::echo()).await;
        let (home, other) = twins.home()?;
        twins.service.publish(Some(listed(&[other], &[other])));

        assert!(is_marked(&twins.caller.result(&Ask::echo()).await));
        assert!(!is_marked(&twins.caller.result(&Ask::echo()).await));
        assert_eq!(home.requests("tools/call").len(), 1);
        assert_eq!(other.requests("tools/call").len(), 2);

        let twins = Twins::losing(script, SessionLoss::Fail).await?;
        twins.caller.result(&Ask::echo()).await;
        let (_, other) = twins.home()?;
        twins.service.publish(Some(listed(&[other], &[other])));
        let error = twins.caller.error(&Ask::echo()).await;
        ensure!(matches!(error, UpstreamError::SessionLost), "{error:?}");
        assert!(other.log().is_empty());
    }
    Ok(())
}

/// A pod that refuses connections has forgotten what it knew, whatever the Service says yet.
#[tokio::test]
async fn a_session_ends_with_the_process_of_its_pod() -> Result<()> {
    let twins = Twins::start(Script::legacy()).await?;
    twins.caller.result(&Ask::echo()).await;
    let (home, other) = twins.home()?;
    home.stop().await;

    let result = twins.caller.result(&Ask::echo()).await;

    assert!(is_marked(&result), "{result}");
    assert_eq!(other.requests("tools/call").len(), 1);
    Ok(())
}

/// A pod that is not ready gets no new sessions and keeps those that it has.
#[tokio::test]
async fn an_unready_pod_keeps_its_sessions() -> Result<()> {
    let twins = Twins::start(Script::legacy()).await?;
    twins.caller.result(&Ask::echo()).await;
    let (home, other) = twins.home()?;
    twins
        .service
        .publish(Some(listed(&[other], &[home, other])));

    for client in ["client-b", "client-c", "client-d"] {
        twins.caller.result(&Ask::echo().by(client)).await;
    }
    assert!(!is_marked(&twins.caller.result(&Ask::echo()).await));

    assert_eq!(home.requests("initialize").len(), 1);
    assert_eq!(home.requests("tools/call").len(), 2);
    assert_eq!(other.requests("initialize").len(), 3);
    Ok(())
}

/// Another replica goes on in the same pod.
#[tokio::test]
async fn a_session_that_is_handed_over_stays_in_its_pod() -> Result<()> {
    let twins = Twins::start(Script::legacy()).await?;
    let old = &twins.caller;
    old.result(&Ask::echo()).await;
    let handed = old.upstream.export_sessions("client-a");
    let written = serde_json::to_string(&handed)?;
    old.upstream.shutdown(Duration::ZERO).await;
    let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
    let read = serde_json::from_str(&written)?;
    ensure!(new.upstream.import_sessions("client-a".into(), read));

    for _ in 0..3 {
        assert!(!is_marked(&new.result(&Ask::echo()).await));
    }

    let (home, other) = twins.home()?;
    assert_eq!(home.requests("tools/call").len(), 4);
    assert!(other.log().is_empty());
    Ok(())
}
