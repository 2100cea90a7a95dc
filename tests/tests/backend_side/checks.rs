//! The health check: fresh sockets, honest verdicts, nothing left behind.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use vmcp::backend::probe::Want;
use vmcp_core::health::{Listed, Outcome, ProbeReason, Step};
use vmcp_tests::backend::{
    Backend, Behaviour, Era, Fault, ReplyFormat, Script, Tool, UnknownSession,
};

use crate::kit::{Prober, all_closed, dialect, endpoint, failure, sessions, tool_names};

const ERAS: [Era; 5] = [
    Era::LegacyStateful,
    Era::LegacyStateless,
    Era::ModernOnly,
    Era::Dual,
    Era::Sse2024,
];

/// R2.2, R2.6: read off at the socket. Every cycle comes from source ports that no earlier cycle
/// had, and has closed them all when it ends.
#[tokio::test]
async fn every_cycle_connects_anew_and_closes_what_it_opened() -> Result<()> {
    for era in ERAS {
        let backend = Backend::start(Script::new(era)).await?;
        let mut prober = Prober::new(&backend.url());
        let mut seen = HashSet::new();
        let mut known = 0;

        for cycle in 0..6 {
            let want = if cycle % 3 == 0 {
                Want::Catalogue
            } else {
                Want::Liveness
            };
            let report = prober.cycle(want).await;
            assert!(
                matches!(report.outcome, Outcome::Healthy { .. }),
                "{era:?}: {:?}",
                report.outcome
            );

            all_closed(&backend).await?;
            let all = backend.connections();
            let new = &all[known..];
            assert!(
                !new.is_empty(),
                "{era:?}: cycle {cycle} opened no connection"
            );
            for connection in new {
                assert!(
                    seen.insert(connection.peer_port),
                    "{era:?}: a source port came twice"
                );
            }
            known = all.len();
        }
        prober.end().await;
        sessions(&backend, 0).await?;
    }
    Ok(())
}

/// T7, T8: one session serves all cycles, and is ended with the prober.
#[tokio::test]
async fn a_stateful_server_sees_one_session_and_its_end() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut prober = Prober::new(&backend.url());

    for _ in 0..5 {
        prober.cycle(Want::Catalogue).await;
    }

    assert_eq!(backend.sessions().len(), 1);
    assert_eq!(backend.sessions_open(), 1);
    prober.end().await;
    assert_eq!(backend.sessions_open(), 0);
    Ok(())
}

/// T8, T18, R4.2: a session that the server forgot, told by 404 or by 400, costs no failed cycle.
#[tokio::test]
async fn a_forgotten_session_is_replaced_in_the_same_cycle() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let backend = Backend::start(Script::legacy().with_unknown_session(answer)).await?;
        let mut prober = Prober::new(&backend.url());
        prober.cycle(Want::Liveness).await;

        for _ in 0..3 {
            backend.forget_sessions();
            let report = prober.cycle(Want::Liveness).await;
            assert!(
                matches!(report.outcome, Outcome::Healthy { .. }),
                "{:?}",
                report.outcome
            );
            sessions(&backend, 1).await?;
        }
        prober.end().await;
        sessions(&backend, 0).await?;
    }
    Ok(())
}

/// R2.2: a remembered session on which the server hangs does not make it unhealthy: within the
/// same deadline a fresh session proves it alive, and the old one is ended.
#[tokio::test]
async fn a_hang_on_the_remembered_session_is_not_yet_a_verdict() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut prober = Prober::new(&backend.url());
    prober.cycle(Want::Liveness).await;
    // The backend counts the repeated ping of the fresh try as a cycle of its own.
    let hang = Fault::on("ping", Fault::AcceptAndHang);
    backend
        .set(Fault::first_cycles(backend.cycles() + 1, hang))
        .await?;

    let started = Instant::now();
    let report = prober
        .cycle_within(Want::Liveness, Duration::from_secs(2))
        .await;

    assert!(
        matches!(report.outcome, Outcome::Healthy { .. }),
        "{:?}",
        report.outcome
    );
    assert!(
        started.elapsed() >= Duration::from_millis(700),
        "40 % belong to the remembered session"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    sessions(&backend, 1).await?;
    Ok(())
}

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

/// R2.3, R0.1, R0.6, R2.1: an error is formed again from nothing in each cycle, names step and
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

/// T7, R2.2: a backend that fails for ever after `initialize` costs no session per cycle.
#[tokio::test]
async fn failing_cycles_do_not_pile_up_sessions() -> Result<()> {
    let faults = [
        Fault::on("ping", Fault::http_status(500)),
        Fault::on("ping", Fault::AcceptAndHang),
        Fault::on("tools/list", Fault::StallMidBody),
        Fault::ListFails,
    ];
    for fault in faults {
        let backend = Backend::start(Script::legacy()).await?;
        backend.set(fault.clone()).await?;
        let mut prober = Prober::new(&backend.url());

        for _ in 0..4 {
            prober
                .cycle_within(Want::Catalogue, Duration::from_millis(800))
                .await;
        }

        assert!(
            backend.sessions_open() <= 1,
            "{fault:?}: {} open",
            backend.sessions_open()
        );
        prober.end().await;
        sessions(&backend, 0).await?;
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

/// T21: all pages of all eras, in order, and each entry byte for byte (T22).
#[tokio::test]
async fn every_page_of_the_list_is_read() -> Result<()> {
    let odd =
        r#"{"inputSchema" : {"type":"object"},"x-vendor":1.50,"name":"odd","title":"\u00e9"}"#;
    for era in ERAS {
        for reply in [ReplyFormat::Json, ReplyFormat::SsePrimed] {
            let mut tools: Vec<Tool> = (0..6)
                .map(|number| Tool::new(&format!("t{number}"), Behaviour::Echo))
                .collect();
            tools.push(Tool::raw("odd", odd, Behaviour::Echo));
            let script = Script::new(era)
                .with_tools(tools)
                .with_page_size(2)
                .with_reply(reply);
            let backend = Backend::start(script).await?;
            let mut prober = Prober::new(&backend.url());

            let report = prober.cycle(Want::Catalogue).await;

            assert_eq!(
                tool_names(&report),
                ["t0", "t1", "t2", "t3", "t4", "t5", "odd"],
                "{era:?}"
            );
            let catalog = report.catalog.expect("a catalogue");
            assert_eq!(&*catalog.tools[6].raw, odd, "{era:?}");
            assert!(matches!(
                report.outcome,
                Outcome::Healthy {
                    listed: Listed::Yes,
                    ..
                }
            ));
            prober.end().await;
        }
    }
    Ok(())
}

/// T2: GET is 405 at most servers, and a check does not even ask.
#[tokio::test]
async fn no_check_opens_the_get_stream() -> Result<()> {
    for era in [
        Era::LegacyStateful,
        Era::LegacyStateless,
        Era::ModernOnly,
        Era::Dual,
    ] {
        let backend = Backend::start(Script::new(era)).await?;
        let mut prober = Prober::new(&backend.url());

        let first = prober.cycle(Want::Catalogue).await;
        let second = prober.cycle(Want::Liveness).await;

        dialect(&first.outcome);
        dialect(&second.outcome);
        assert!(backend.requests("GET").is_empty(), "{era:?}");
    }
    Ok(())
}

/// T1: a server that refuses whatever has no session stays healthy and keeps its tools.
#[tokio::test]
async fn a_strict_server_keeps_its_tools() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::RejectProbesWithoutSession).await?;
    let mut prober = Prober::new(&backend.url());

    for _ in 0..3 {
        let report = prober.cycle(Want::Catalogue).await;
        assert_eq!(tool_names(&report).len(), 4, "{:?}", report.outcome);
    }
    Ok(())
}

/// T3: credentials, the server's own Host check and a wrong path are three different things, and
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

/// A check says who it is, and speaks the headers of each era.
#[tokio::test]
async fn a_check_introduces_itself() -> Result<()> {
    let modern = Backend::start(Script::modern()).await?;
    Prober::new(&modern.url()).cycle(Want::Catalogue).await;
    let legacy = Backend::start(Script::legacy()).await?;
    Prober::new(&legacy.url()).cycle(Want::Catalogue).await;

    let discover = &modern.requests("server/discover")[0];
    assert_eq!(discover.header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(discover.header("mcp-method"), "server/discover");
    assert_eq!(
        discover.header("accept"),
        "application/json, text/event-stream"
    );
    assert_eq!(discover.header("accept-encoding"), "identity");
    let info = &discover.json()["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"];
    assert_eq!(info, "vmcp-healthcheck");
    let initialize = &legacy.requests("initialize")[0];
    assert_eq!(
        initialize.json()["params"]["clientInfo"]["name"],
        "vmcp-healthcheck"
    );
    assert!(initialize.session.is_none());
    let list = &legacy.requests("tools/list")[0];
    assert_eq!(list.header("mcp-protocol-version"), "2025-11-25");
    assert!(list.session.is_some());
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
