//! What a check says: each trouble by its own name, and gone with its cause.

use std::time::{Duration, Instant};

use anyhow::Result;

use vmcp::backend::probe::Want;
use vmcp_core::health::{Listed, Outcome, ProbeReason, Step};
use vmcp_tests::backend::{Backend, Fault, Script};

use crate::checks::ERAS;
use crate::kit::{Prober, all_closed, endpoint, failure, tool_names};

/// R2.2: the exceptions. Nothing listens, or 401: the verdict stands without a new handshake.
#[tokio::test]
async fn a_refusal_and_a_401_settle_the_cycle_at_once() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut prober = Prober::new(&backend.url());
    prober.cycle(Want::Liveness).await;

    backend.set(Fault::unauthorized()).await?;
    backend.clear_log();
    let report = prober.cycle(Want::Liveness).await;
    assert!(
        matches!(report.outcome, Outcome::AuthRequired(_)),
        "{:?}",
        report.outcome
    );
    assert_eq!(backend.log().len(), 1, "no new handshake after 401");

    backend.set(Fault::Refuse).await?;
    let report = prober.cycle(Want::Liveness).await;
    assert_eq!(failure(&report.outcome).reason, ProbeReason::ConnectRefused);
    assert_eq!(failure(&report.outcome).step, Step::Connect);
    Ok(())
}

/// status, and is gone with its cause.
#[tokio::test]
async fn an_error_verdict_lasts_exactly_as_long_as_its_cause() -> Result<()> {
    for era in ERAS {
        let backend = Backend::start(Script::new(era)).await?;
        let mut prober = Prober::new(&backend.url());
        for status in [500, 404, 503] {
            backend.set(Fault::http_status(status)).await?;
            let report = prober.cycle(Want::Liveness).await;
            let failure = failure(&report.outcome);
            assert_eq!(failure.reason, ProbeReason::HttpStatus, "{era:?}");
            assert_eq!(failure.http_status, Some(status), "{era:?}");
            assert!(
                failure.message.contains(&format!("HTTP {status}")),
                "{}",
                failure.message
            );
            let step = failure.step.as_str();
            assert!(
                ["server/discover", "initialize"].contains(&step),
                "{era:?}: {step}"
            );
        }

        backend.heal().await?;
        let report = prober.cycle(Want::Catalogue).await;
        assert!(
            matches!(report.outcome, Outcome::Healthy { .. }),
            "{era:?}: {:?}",
            report.outcome
        );
        prober.end().await;
    }
    Ok(())
}

/// R1.14, R0.4: whatever hangs, the check ends with its deadline and says where it hung.
#[tokio::test]
async fn a_hanging_backend_cannot_hang_the_check() -> Result<()> {
    let faults = [
        (Fault::AcceptAndHang, Step::Discover),
        (
            Fault::on_all(&["initialize"], Fault::StallMidBody),
            Step::Initialize,
        ),
        (Fault::on("ping", Fault::AcceptAndHang), Step::Ping),
    ];
    for (fault, step) in faults {
        let backend = Backend::start(Script::legacy()).await?;
        backend.set(fault.clone()).await?;
        let mut prober = Prober::new(&backend.url());

        let started = Instant::now();
        let report = prober
            .cycle_within(Want::Liveness, Duration::from_millis(600))
            .await;

        assert!(
            started.elapsed() < Duration::from_millis(1500),
            "{fault:?}: {:?}",
            started.elapsed()
        );
        let failure = failure(&report.outcome);
        assert_eq!(
            (failure.reason, failure.step),
            (ProbeReason::HandshakeTimeout, step),
            "{fault:?}"
        );
        all_closed(&backend).await?;
    }
    Ok(())
}

/// R1.11, T1: the list fails, liveness does not; the outcome says both.
#[tokio::test]
async fn a_failing_list_is_told_from_a_dead_server() -> Result<()> {
    for era in ERAS {
        let backend = Backend::start(Script::new(era)).await?;
        backend.set(Fault::ListFails).await?;
        let mut prober = Prober::new(&backend.url());

        let report = prober.cycle(Want::Catalogue).await;
        let Outcome::ListFailed { failure, .. } = &report.outcome else {
            panic!("{era:?}: {:?}", report.outcome)
        };
        assert_eq!(failure.reason, ProbeReason::ListFailed);
        assert!(
            failure.message.contains("tools/list"),
            "{}",
            failure.message
        );
        assert!(report.catalog.is_none());

        let report = prober.cycle(Want::Liveness).await;
        assert!(matches!(
            report.outcome,
            Outcome::Healthy {
                listed: Listed::No,
                ..
            }
        ));
        prober.end().await;
    }
    Ok(())
}

/// none of them is "down".
#[tokio::test]
async fn refusals_are_told_apart() -> Result<()> {
    let forbidden = Fault::HttpStatus {
        status: 403,
        www_authenticate: Some("Bearer".to_owned()),
    };
    for fault in [Fault::unauthorized(), forbidden, Fault::http_status(401)] {
        let backend = Backend::start(Script::legacy()).await?;
        backend.set(fault).await?;
        let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;
        assert!(
            matches!(report.outcome, Outcome::AuthRequired(_)),
            "{:?}",
            report.outcome
        );
    }

    for status in [403, 421] {
        let backend = Backend::start(Script::legacy()).await?;
        backend.set(Fault::http_status(status)).await?;
        let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;
        let failure = failure(&report.outcome);
        assert_eq!(failure.reason, ProbeReason::HostRejected);
        assert!(
            failure.message.contains("hostHeader"),
            "{}",
            failure.message
        );
    }

    let backend = Backend::start(Script::legacy()).await?;
    backend
        .set(Fault::Http307 {
            location: "/elsewhere/mcp".to_owned(),
        })
        .await?;
    let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;
    let failure = failure(&report.outcome);
    assert_eq!(failure.reason, ProbeReason::Redirected);
    assert!(
        failure.message.contains("/elsewhere/mcp"),
        "{}",
        failure.message
    );
    Ok(())
}

/// T3: a redirect to another origin is never followed and never called a wrong path.
#[tokio::test]
async fn a_redirect_elsewhere_is_not_followed() -> Result<()> {
    let stranger = Backend::start(Script::legacy()).await?;
    let backend = Backend::start(Script::legacy()).await?;
    backend
        .set(Fault::Http307 {
            location: stranger.url(),
        })
        .await?;

    let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;

    assert_eq!(failure(&report.outcome).reason, ProbeReason::HttpStatus);
    assert!(stranger.connections().is_empty());
    Ok(())
}

/// T3: with the Host that it insists on, the server is healthy.
#[tokio::test]
async fn a_host_header_satisfies_a_server_that_insists_on_one() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend
        .set(Fault::HostCheck {
            allowed: vec!["tools.example".to_owned()],
        })
        .await?;
    let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;
    assert_eq!(failure(&report.outcome).reason, ProbeReason::HostRejected);

    let mut insisting = endpoint(&backend.url());
    insisting.host_header = Some("tools.example".into());
    let report = Prober::at(insisting).cycle(Want::Catalogue).await;

    assert_eq!(tool_names(&report).len(), 4);
    Ok(())
}

/// R2.6: 429 is no verdict, its Retry-After is reported, and it is not answered with more requests.
#[tokio::test]
async fn a_rate_limit_is_no_verdict() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut prober = Prober::new(&backend.url());
    prober.cycle(Want::Liveness).await;
    backend
        .set(Fault::RateLimited {
            retry_after: Some(17),
        })
        .await?;
    backend.clear_log();

    let report = prober.cycle(Want::Liveness).await;

    let retry_after = Some(Duration::from_secs(17));
    assert_eq!(report.outcome, Outcome::RateLimited { retry_after });
    assert_eq!(backend.log().len(), 1);
    Ok(())
}

/// R3.4, R2.3: a failing name and a closed port are told by step, within the deadline.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    let report = Prober::new("http://no-such-host.invalid:1/mcp")
        .cycle(Want::Liveness)
        .await;

    let failure = failure(&report.outcome);
    assert_eq!(
        (failure.reason, failure.step),
        (ProbeReason::DnsFailed, Step::Dns)
    );
    assert!(
        failure.message.contains("no-such-host.invalid"),
        "{}",
        failure.message
    );
}
