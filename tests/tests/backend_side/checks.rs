//! The health check: fresh sockets, honest verdicts, nothing left behind.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use vmcp::backend::probe::Want;
use vmcp_core::health::{Listed, Outcome};
use vmcp_tests::backend::{
    Backend, Behaviour, Era, Fault, ReplyFormat, Script, Tool, UnknownSession,
};

use crate::kit::{Prober, all_closed, dialect, sessions, tool_names};

pub const ERAS: [Era; 5] = [
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

/// R2.3, R0.1, R0.6, R2.1: an error is formed again from nothing in each cycle, names step and
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
