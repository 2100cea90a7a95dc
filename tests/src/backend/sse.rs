//! HTTP+SSE of 2024-11-05: GET opens a stream, POST feeds it.

use http::Method;
use tokio::sync::mpsc;

use super::call::Call;
use super::engine::{Engine, STREAM_QUEUE};
use super::fault::Fault;
use super::framing::{self, Piece, StreamGuard};
use super::legacy;
use super::reply::{Plain, Reply};
use super::script::{ReplyFormat, Script};

pub(super) async fn answer(engine: &Engine, script: &Script, call: &Call, fault: &Fault) -> Reply {
    match (call.http_method.clone(), call.path.as_str()) {
        (Method::GET, "/sse") => open(engine),
        (Method::POST, "/messages") => message(engine, script, call, fault).await,
        (_, "/sse") => Plain::text(405, "Method Not Allowed")
            .with("allow", "GET")
            .into(),
        _ => Plain::text(404, "not found").into(),
    }
}

fn open(engine: &Engine) -> Reply {
    let (sender, pieces) = mpsc::channel(STREAM_QUEUE);
    let session = engine.sessions().open(Some(sender.clone()));
    let endpoint = format!("event: endpoint\ndata: /messages?sessionId={session}\n\n");
    // The queue is new and holds more than one.
    let _room = sender.try_send(Piece::Data(endpoint));
    let guard = StreamGuard {
        engine_sessions: engine.sessions().clone(),
        session,
    };
    Reply::Stream {
        pieces,
        guard: Some(guard),
    }
}

async fn message(engine: &Engine, script: &Script, call: &Call, fault: &Fault) -> Reply {
    let known = call.session().filter(|id| engine.sessions().touch(id));
    let Some((session, stream)) = known.and_then(|id| Some((id, engine.sessions().stream(id)?)))
    else {
        return Plain::text(404, "Could not find session").into();
    };
    let Some(rpc) = &call.rpc else {
        return Plain::text(400, "Could not parse message").into();
    };
    let reply = match rpc.method() {
        "initialize" => {
            engine.sessions().introduce(session, &rpc.params);
            legacy::initialize(script, rpc).into()
        }
        "notifications/initialized" => {
            engine.sessions().initialized(session);
            return Plain::text(202, "Accepted").into();
        }
        _ => legacy::operate(script, rpc).await,
    };
    if let Reply::Message(mut message) = reply {
        message.spoil(fault);
        for piece in pieces(&message, script.reply, fault) {
            if stream.send(piece).await.is_err() {
                return Plain::text(404, "Could not find session").into();
            }
        }
    }
    Plain::text(202, "Accepted").into()
}

fn pieces(message: &super::reply::Message, format: ReplyFormat, fault: &Fault) -> Vec<Piece> {
    let text = framing::events(message, fault, format);
    let half = framing::half(&text).to_owned();
    match fault {
        Fault::TruncatedBody => vec![Piece::Data(half), Piece::Break],
        Fault::StallMidBody => vec![Piece::Data(half)],
        _ => vec![Piece::Data(text)],
    }
}
