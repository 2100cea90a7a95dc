//! Which era a server speaks, and never from an outage.

use anyhow::Result;

use vmcp::backend::probe::Want;
use vmcp::snapshot::{ProtocolChoice, Transport};
use vmcp_core::health::{Outcome, ProbeReason, SessionMode, Wire};
use vmcp_core::mcp::Era;
use vmcp_tests::backend::{self, Backend, Fault, Script};

use crate::kit::{Prober, dialect, endpoint, failure, sessions, tool_names};

/// Every kind of server is recognised from nothing but its URL.
#[tokio::test]
async fn each_era_and_transport_is_detected() -> Result<()> {
    let expected = [
        (
            backend::Era::ModernOnly,
            Era::Modern,
            Wire::StreamableHttp,
            SessionMode::Stateless,
        ),
        (
            backend::Era::Dual,
            Era::Modern,
            Wire::StreamableHttp,
            SessionMode::Stateless,
        ),
        (
            backend::Era::LegacyStateful,
            Era::Legacy,
            Wire::StreamableHttp,
            SessionMode::Stateful,
        ),
        (
            backend::Era::LegacyStateless,
            Era::Legacy,
            Wire::StreamableHttp,
            SessionMode::Stateless,
        ),
        (
            backend::Era::Sse2024,
            Era::Legacy,
            Wire::Sse,
            SessionMode::Stateful,
        ),
    ];
    for (kind, era, wire, mode) in expected {
        let backend = Backend::start(Script::new(kind)).await?;
        let mut prober = Prober::new(&backend.url());

        for _ in 0..2 {
            let report = prober.cycle(Want::Catalogue).await;
            let found = dialect(&report.outcome);
            assert_eq!(
                (found.era, found.wire, found.sessions),
                (era, wire, mode),
                "{kind:?}"
            );
            assert_eq!(tool_names(&report).len(), 4, "{kind:?}");
        }
        prober.end().await;
    }
    Ok(())
}

/// An outage says nothing about the era: the server that comes back is detected from nothing.
#[tokio::test]
async fn an_outage_concludes_no_era() -> Result<()> {
    let outages = [
        Fault::http_status(500),
        Fault::http_status(503),
        Fault::http_status(408),
        Fault::unauthorized(),
        Fault::http_status(403),
        Fault::RateLimited { retry_after: None },
        Fault::Reset,
        Fault::TruncatedBody,
    ];
    for outage in outages {
        let backend = Backend::start(Script::dual()).await?;
        backend
            .set(Fault::on("server/discover", outage.clone()))
            .await?;
        let mut prober = Prober::new(&backend.url());

        let report = prober.cycle(Want::Liveness).await;
        assert!(
            !matches!(report.outcome, Outcome::Healthy { .. }),
            "{outage:?}: {:?}",
            report.outcome
        );
        assert!(report.memory.dialect().is_none());
        assert!(
            backend.requests("initialize").is_empty(),
            "{outage:?} made us try another era"
        );

        backend.heal().await?;
        let report = prober.cycle(Want::Liveness).await;
        assert_eq!(dialect(&report.outcome).era, Era::Modern, "{outage:?}");
    }
    Ok(())
}

/// A legacy server's various refusals of a method that it does not know lead to `initialize`.
#[tokio::test]
async fn a_refused_discovery_leads_to_initialize() -> Result<()> {
    let refusals = [
        Fault::http_status(400),
        Fault::http_status(404),
        Fault::http_status(405),
        Fault::JsonRpcError {
            code: -32_600,
            http_status: 400,
        },
        Fault::JsonRpcError {
            code: -32_601,
            http_status: 404,
        },
        Fault::json_rpc_error(-32_601),
        Fault::NonJson200,
        Fault::UnsupportedVersion(vec!["2025-06-18".to_owned()]),
    ];
    for refusal in refusals {
        let backend = Backend::start(Script::legacy()).await?;
        backend
            .set(Fault::on("server/discover", refusal.clone()))
            .await?;

        let report = Prober::new(&backend.url()).cycle(Want::Catalogue).await;

        assert_eq!(dialect(&report.outcome).era, Era::Legacy, "{refusal:?}");
    }
    Ok(())
}

/// No version in common is a matter of configuration and says which versions there are.
#[tokio::test]
async fn no_common_version_is_its_own_reason() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    backend
        .set(Fault::UnsupportedVersion(vec!["2031-01-01".to_owned()]))
        .await?;

    let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;

    let failure = failure(&report.outcome);
    assert_eq!(failure.reason, ProbeReason::UnsupportedVersion);
    assert!(
        failure.message.contains("2031-01-01"),
        "{}",
        failure.message
    );
    Ok(())
}

/// R2.3: a server that is replaced by one of another era is understood in the first cycle that
/// meets it, without anybody telling.
#[tokio::test]
async fn a_server_of_another_era_is_understood_at_once() -> Result<()> {
    use backend::Era::{Dual, LegacyStateful, LegacyStateless, ModernOnly};
    let changes = [
        (LegacyStateful, ModernOnly, Era::Modern),
        (ModernOnly, LegacyStateful, Era::Legacy),
        (LegacyStateless, ModernOnly, Era::Modern),
        (LegacyStateless, LegacyStateful, Era::Legacy),
        (LegacyStateful, LegacyStateless, Era::Legacy),
        (Dual, LegacyStateless, Era::Legacy),
    ];
    for (before, after, expected) in changes {
        let backend = Backend::start(Script::new(before)).await?;
        let mut prober = Prober::new(&backend.url());
        prober.cycle(Want::Catalogue).await;

        backend.update(|script| script.era = after);
        backend.restart().await?;
        let report = prober.cycle(Want::Catalogue).await;

        assert_eq!(
            dialect(&report.outcome).era,
            expected,
            "{before:?} to {after:?}"
        );
        assert_eq!(tool_names(&report).len(), 4);
        prober.end().await;
        sessions(&backend, 0).await?;
    }
    Ok(())
}

/// `spec.protocol` skips the question: a server that chokes on unknown methods never gets one.
#[tokio::test]
async fn a_named_protocol_is_not_asked_for() -> Result<()> {
    let backend = Backend::start(Script::dual()).await?;
    let mut legacy = endpoint(&backend.url());
    legacy.protocol = ProtocolChoice::Legacy;
    let report = Prober::at(legacy).cycle(Want::Liveness).await;
    assert_eq!(dialect(&report.outcome).era, Era::Legacy);
    assert!(backend.requests("server/discover").is_empty());

    let backend = Backend::start(Script::legacy()).await?;
    let mut modern = endpoint(&backend.url());
    modern.protocol = ProtocolChoice::Modern;
    let report = Prober::at(modern).cycle(Want::Liveness).await;
    assert!(
        matches!(report.outcome, Outcome::Failed(_)),
        "{:?}",
        report.outcome
    );
    assert!(backend.requests("initialize").is_empty());
    Ok(())
}

/// With `transport: sse` nothing is posted before the stream names its endpoint.
#[tokio::test]
async fn a_named_sse_transport_begins_with_get() -> Result<()> {
    let backend = Backend::start(Script::sse()).await?;
    let mut sse = endpoint(&backend.url());
    sse.transport = Transport::Sse;

    let report = Prober::at(sse).cycle(Want::Catalogue).await;

    assert_eq!(dialect(&report.outcome).wire, Wire::Sse);
    assert_eq!(backend.log()[0].http_method, "GET");
    Ok(())
}

/// An unknown path: neither transport answers, and the message names both attempts.
#[tokio::test]
async fn neither_transport_is_said_of_both() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::http_status(404)).await?;

    let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;

    let message = &failure(&report.outcome).message;
    assert!(
        message.contains("initialize answered HTTP 404"),
        "{message}"
    );
    assert!(message.contains("GET"), "{message}");
    Ok(())
}
