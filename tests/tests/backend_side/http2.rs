//! HTTP/2 towards backends: many calls on a connection, and what its ends mean for them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

use vmcp::backend::probe::Want;
use vmcp::gateway::port::UpstreamError;
use vmcp::pods::{Http, PodList, Pods};
use vmcp::snapshot::Endpoint;
use vmcp_core::health::ProbeReason;
use vmcp_tests::backend::{Backend, Script};

use crate::kit::{Ask, Caller, Prober, dialect, endpoint};

/// Calls of one client while connections come and go.
const CALLS: usize = 100;
const CLIENTS: usize = 16;

/// An address that says `appProtocol: kubernetes.io/h2c`.
fn h2c(url: &str) -> Endpoint {
    Endpoint {
        pods: Pods::of(PodList {
            http: Http::Two,
            ..PodList::default()
        }),
        ..endpoint(url)
    }
}

/// A caller that speaks HTTP/2 to `url`, where a server like `backend` is.
async fn caller(backend: &Backend, url: &str) -> Caller {
    let known = Caller::new(backend).await;
    Caller::with(h2c(url).into(), known.target.dialect)
}

fn connections(backend: &Backend, method: &str) -> Vec<usize> {
    let requests = backend.requests(method).into_iter();
    let mut connections: Vec<_> = requests.map(|request| request.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    connections
}

/// Calls that run at the same time share one connection; what each says and gets is its own.
#[tokio::test]
async fn many_calls_share_one_connection() -> Result<()> {
    for script in [Script::modern(), Script::stateless(), Script::legacy()] {
        let backend = Backend::start(script).await?;
        let caller = Arc::new(caller(&backend, &backend.url()).await);
        caller.result(&Ask::echo()).await;

        let mut calls = JoinSet::new();
        for number in 0..40 {
            let caller = Arc::clone(&caller);
            calls.spawn(async move {
                let slow = Ask::tool("slow", r#"{"ms":200}"#);
                caller.result(&slow.by("client-a")).await;
                let text = format!(r#"{{"text":"t{number}"}}"#);
                let result = caller.result(&Ask::tool("echo", &text)).await;
                assert!(result.contains(&format!("\"t{number}\"")), "{result}");
            });
        }
        while let Some(done) = calls.join_next().await {
            done?;
        }

        assert_eq!(connections(&backend, "tools/call").len(), 1);
        assert_eq!(backend.requests("tools/call").len(), 81);
        for request in backend.log() {
            assert_eq!(request.version, Version::HTTP_2, "{request:?}");
            assert_eq!(request.header("connection"), "");
        }
        caller.upstream.shutdown(Duration::ZERO).await;
        crate::kit::all_closed(&backend).await?;
    }
    Ok(())
}

/// R2.2: a check over HTTP/2 has a connection of its own, new in each cycle and closed after it.
#[tokio::test]
async fn a_check_over_http2_shares_no_connection() -> Result<()> {
    for script in [Script::modern(), Script::legacy()] {
        let backend = Backend::start(script).await?;
        let caller = caller(&backend, &backend.url()).await;
        caller.result(&Ask::echo()).await;
        let of_calls = connections(&backend, "tools/call");
        let mut prober = Prober::at(h2c(&backend.url()));

        for _ in 0..2 {
            backend.clear_log();
            dialect(&prober.cycle(Want::Liveness).await.outcome);
            let log = backend.log();
            assert!(log.iter().all(|one| one.version == Version::HTTP_2));
            assert!(log.iter().all(|one| !of_calls.contains(&one.connection)));
        }
        prober.end().await;
        caller.upstream.shutdown(Duration::ZERO).await;
        crate::kit::all_closed(&backend).await?;
    }
    Ok(())
}

/// T19: a server that sends its clients away again and again (GOAWAY) loses no call and runs none
/// twice, although none of them may be repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_in_mid_traffic_costs_no_call() -> Result<()> {
    for script in [Script::modern(), Script::legacy()] {
        let backend = Arc::new(Backend::start(script).await?);
        let caller = Arc::new(caller(&backend, &backend.url()).await);
        let leaving = Arc::clone(&backend);
        let goes_away = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                leaving.leave_connections().await;
            }
        });

        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let caller = Arc::clone(&caller);
            clients.spawn(async move {
                for number in 0..CALLS {
                    let text = format!(r#"{{"text":"{client}/{number}"}}"#);
                    let name = format!("client-{client}");
                    let ask = Ask::tool("echo", &text).by(&name);
                    let (_, result) = caller.call(&ask).await?;
                    ensure!(
                        result.contains(&format!("\"{client}/{number}\"")),
                        "{result}"
                    );
                }
                Ok(())
            });
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        goes_away.abort();

        let mut executed: HashMap<String, usize> = HashMap::new();
        for call in backend.requests("tools/call") {
            ensure!(call.version == Version::HTTP_2);
            let text = call.json()["params"]["arguments"]["text"].to_string();
            *executed.entry(text).or_default() += 1;
        }
        ensure!(executed.len() == CLIENTS * CALLS, "{}", executed.len());
        let twice: Vec<_> = executed.iter().filter(|(_, times)| **times > 1).collect();
        ensure!(twice.is_empty(), "{twice:?}");
        let used = connections(&backend, "tools/call").len();
        ensure!(
            used > 5,
            "it never went away in mid-traffic: {used} connections"
        );
    }
    Ok(())
}

/// How a connection ends for the first request on it.
#[derive(Clone, Copy, Debug)]
enum End {
    /// GOAWAY, with this as the last stream that was processed.
    GoAway(u32),
    Refused,
}

impl End {
    fn frame(self, stream: u32) -> Vec<u8> {
        const NO_ERROR: u32 = 0;
        const REFUSED_STREAM: u32 = 7;
        let mut frame = match self {
            Self::GoAway(_) => vec![0, 0, 8, 7, 0, 0, 0, 0, 0],
            Self::Refused => [&[0, 0, 4, 3, 0][..], &stream.to_be_bytes()].concat(),
        };
        match self {
            Self::GoAway(last) => {
                frame.extend(last.to_be_bytes());
                frame.extend(NO_ERROR.to_be_bytes());
            }
            Self::Refused => frame.extend(REFUSED_STREAM.to_be_bytes()),
        }
        frame
    }
}

/// In front of `target`; the first connection takes one whole request and ends as told.
async fn ends_first(end: End, target: SocketAddr) -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                tokio::spawn(take_one(stream, end));
            } else {
                tokio::spawn(async move {
                    let mut target = TcpStream::connect(target).await?;
                    copy_bidirectional(&mut stream, &mut target).await
                });
            }
        }
    });
    Ok((url, accepted))
}

/// Reads frames until a request has ended, and ends it.
async fn take_one(mut stream: TcpStream, end: End) -> Result<()> {
    const PREFACE: usize = 24;
    const END_STREAM: u8 = 1;
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(head[5..9].try_into().context("an id")?);
        if matches!(head[3], HEADERS | DATA) && head[4] & END_STREAM != 0 {
            stream.write_all(&end.frame(id)).await?;
            if let End::GoAway(_) = end {
                return Ok(());
            }
        }
    }
}

/// T19: GOAWAY below its stream and REFUSED_STREAM say that a call was never processed: it is sent
/// again, whatever it does. GOAWAY above it says nothing of the kind: it is lost, and sent once.
#[tokio::test]
async fn a_call_that_was_never_processed_is_sent_again_and_no_other() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let target = SocketAddr::from(([127, 0, 0, 1], backend.port()));
    for end in [End::GoAway(0), End::Refused] {
        backend.clear_log();
        let (url, accepted) = ends_first(end, target).await?;
        let caller = caller(&backend, &url).await;

        let result = caller.result(&Ask::echo()).await;

        assert!(result.contains("hi"), "{end:?}: {result}");
        assert_eq!(backend.requests("tools/call").len(), 1, "{end:?}");
        assert_eq!(accepted.load(Ordering::SeqCst), 2, "{end:?}");
    }

    backend.clear_log();
    let (url, accepted) = ends_first(End::GoAway(1), target).await?;
    let caller = caller(&backend, &url).await;
    let error = caller.error(&Ask::echo()).await;
    let UpstreamError::Unavailable(failure) = &error else {
        anyhow::bail!("{error:?}");
    };
    assert_eq!(failure.reason, ProbeReason::ConnectionLost);
    assert!(backend.requests("tools/call").is_empty());
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    Ok(())
}
