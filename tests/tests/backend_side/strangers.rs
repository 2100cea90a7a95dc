//! Checks and calls of servers that nobody here wrote: the table "How real servers answer".

use std::time::Duration;

use anyhow::{Context, Result};

use vmcp::backend::probe::Want;
use vmcp_core::health::{SessionMode, Wire};
use vmcp_core::mcp::Era;
use vmcp_tests::peers::{self, Server};

use crate::kit::{Ask, Caller, Prober, dialect, tool_names};

/// A process per request at one of them: far slower than any server should be.
const SLOW: Duration = Duration::from_secs(20);

/// A server, how it speaks, and one call with a part of its answer.
type Case = (
    Server,
    (Era, Wire, SessionMode),
    &'static str,
    &'static str,
    &'static str,
);

fn cases() -> [Case; 7] {
    use Era::{Legacy, Modern};
    use SessionMode::{Stateful, Stateless};
    use Wire::{Sse, StreamableHttp};
    let message = r#"{"message":"ann"}"#;
    let numbers = r#"{"a":6,"b":7}"#;
    let text = r#"{"text":"ann"}"#;
    let times = r#"{"text":"ab","times":3}"#;
    let zone = r#"{"timezone":"UTC"}"#;
    [
        (
            Server::EverythingHttp,
            (Legacy, StreamableHttp, Stateful),
            "echo",
            message,
            "ann",
        ),
        (
            Server::EverythingSse,
            (Legacy, Sse, Stateful),
            "echo",
            message,
            "ann",
        ),
        (
            Server::ModernOnlyTs,
            (Modern, StreamableHttp, Stateless),
            "multiply",
            numbers,
            "42",
        ),
        (
            Server::Stateless,
            (Legacy, StreamableHttp, Stateless),
            "repeat",
            times,
            "ababab",
        ),
        (
            Server::SupergatewayStateless,
            (Legacy, StreamableHttp, Stateless),
            "echo",
            message,
            "ann",
        ),
        (
            Server::SsePy1,
            (Legacy, Sse, Stateful),
            "shout",
            text,
            "ANN",
        ),
        (
            Server::TimeAndGit,
            (Legacy, StreamableHttp, Stateful),
            "get_current_time",
            zone,
            "UTC",
        ),
    ]
}

/// Each is understood from its URL alone, cycle after cycle, and answers a call.
#[tokio::test]
async fn real_servers_are_understood_listed_and_called() -> Result<()> {
    let peers = peers::installed()?;
    for (kind, expected, tool, arguments, answer) in cases() {
        let server = peers.start(kind).await?;
        let mut prober = Prober::new(&server.url);

        for cycle in 0..3 {
            let report = prober.cycle_within(Want::Catalogue, SLOW).await;
            let found = dialect(&report.outcome);
            assert_eq!(
                (found.era, found.wire, found.sessions),
                expected,
                "{kind:?}, cycle {cycle}"
            );
            assert!(
                tool_names(&report).iter().any(|name| name == tool),
                "{kind:?}"
            );
        }
        let caller = Caller::with(prober.target.endpoint.clone(), prober.memory.dialect());
        for ask in [
            Ask::tool(tool, arguments),
            Ask::tool(tool, arguments).leased(),
        ] {
            let (_, result) = caller
                .call(&ask.within(SLOW))
                .await
                .with_context(|| format!("{kind:?}"))?;
            assert!(
                result.contains(answer) && !result.contains("isError\":true"),
                "{result}"
            );
        }
        caller.upstream.shutdown(Duration::ZERO).await;
        prober.end().await;
    }
    Ok(())
}
