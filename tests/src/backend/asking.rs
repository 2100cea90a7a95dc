//! A call during which the server asks its client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::call::{Call, Rpc};
use super::engine::{Engine, STREAM_QUEUE};
use super::framing::{self, Piece};
use super::reply::{Message, Reply};
use super::script::{Era, Script};
use super::tool::{Behaviour, Order, Over, Question};

/// Questions that wait for an answer, by raw id.
#[derive(Debug, Default)]
pub(super) struct Asked {
    waiting: Mutex<HashMap<String, oneshot::Sender<String>>>,
    /// What goes on after an event, by its id.
    later: Mutex<HashMap<String, String>>,
}

impl Asked {
    fn ask(&self) -> (String, oneshot::Receiver<String>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("\"ask-{}\"", NEXT.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = oneshot::channel();
        let mut asked = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(id.clone(), sender);
        (id, answer)
    }

    /// A stream that names an event and ends; the answer is for whoever goes on after it.
    fn break_off(&self, rpc: &Rpc, text: &str) -> Reply {
        let event = format!("event-{}", rpc.id_raw());
        let members = super::tool::text(text);
        let id = rpc.id_raw();
        let answer = framing::event(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members}}}}}"#
        ));
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.insert(event.clone(), answer);
        stream(format!("id: {event}\nretry: 20\ndata:\n\n"))
    }

    /// The rest of a stream, for whoever goes on after an event of it.
    pub(super) fn go_on(&self, after: &str) -> Option<Reply> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.remove(after).map(stream)
    }

    /// Takes a message of the client's that may be an answer.
    pub(super) fn answered(&self, call: &Call, rpc: &Rpc) {
        let mut asked = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = rpc.id.as_ref().and_then(|id| asked.remove(id)) {
            let body = String::from_utf8_lossy(&call.body).into_owned();
            let _gone = waiting.send(body);
        }
    }
}

/// A stream of one piece.
fn stream(piece: String) -> Reply {
    let (sender, pieces) = mpsc::channel(1);
    // The queue is new and holds one.
    let _room = sender.try_send(Piece::Data(piece));
    Reply::Stream {
        pieces,
        guard: None,
    }
}

/// The reply to a request of what asks; `None` for any other.
pub(super) async fn reply(
    engine: &Arc<Engine>,
    script: &Script,
    call: &Call,
    rpc: &Rpc,
) -> Option<Reply> {
    if rpc.method.is_none() {
        engine.asked().answered(call, rpc);
        return None;
    }
    let behaviour = match call.tool_name() {
        Some(name) => {
            let tool = script.tools.iter().find(|tool| tool.name == name)?;
            &tool.behaviour
        }
        None => script.shelf.behaviour(rpc)?,
    };
    let question = match behaviour {
        Behaviour::Ask(question) => question,
        Behaviour::Resumed(text) => return Some(engine.asked().break_off(rpc, text)),
        Behaviour::AskMany(order, questions) => {
            return Some(many(engine, *order, questions.clone(), Request::of(rpc)));
        }
        _ => return None,
    };
    let (id, answer) = engine.asked().ask();
    let asks = text(&id, question);
    let (sender, pieces) = mpsc::channel(STREAM_QUEUE);
    if script.era == Era::Sse2024 {
        let stream = engine.sessions().stream(call.session()?)?;
        let request = Request::of(rpc);
        tokio::spawn(async move {
            let _sent = stream.send(Piece::Data(framing::event(&asks))).await;
            let _sent = stream
                .send(Piece::Data(request.answered(answer).await))
                .await;
        });
        return Some(super::reply::Plain::text(202, "Accepted").into());
    }
    match question.over {
        Over::Call => {
            let request = Request::of(rpc);
            tokio::spawn(async move {
                let _sent = sender.send(Piece::Data(framing::event(&asks))).await;
                let _sent = sender
                    .send(Piece::Data(request.answered(answer).await))
                    .await;
            });
            Some(Reply::Stream {
                pieces,
                guard: None,
            })
        }
        Over::Session => {
            engine.say(call.session()?, &asks);
            let members = super::tool::saying(rpc, &answer.await.unwrap_or_default());
            Some(Message::result(rpc, format!("{{{members}}}")).into())
        }
    }
}

/// Asks on the stream of the call, and answers with all answers.
fn many(engine: &Arc<Engine>, order: Order, questions: Vec<Question>, request: Request) -> Reply {
    let (sender, pieces) = mpsc::channel(STREAM_QUEUE);
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        let mut waiting = Vec::new();
        let mut heard = Vec::new();
        for question in &questions {
            let (id, answer) = engine.asked().ask();
            let asks = framing::event(&text(&id, question));
            let _sent = sender.send(Piece::Data(asks)).await;
            match order {
                Order::Together => waiting.push(answer),
                Order::InTurn => heard.push(answer.await.unwrap_or_default()),
            }
        }
        for answer in waiting {
            heard.push(answer.await.unwrap_or_default());
        }
        let end = request.end(&format!("[{}]", heard.join(",")));
        let _sent = sender.send(Piece::Data(end)).await;
    });
    Reply::Stream {
        pieces,
        guard: None,
    }
}

fn text(id: &str, question: &Question) -> String {
    let (method, params) = (Value::from(question.method.as_str()), &question.params);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#)
}

struct Request {
    rpc: Rpc,
}

impl Request {
    fn of(rpc: &Rpc) -> Self {
        Self { rpc: rpc.clone() }
    }

    /// The event that ends the call.
    async fn answered(self, answer: oneshot::Receiver<String>) -> String {
        self.end(&answer.await.unwrap_or_default())
    }

    fn end(self, heard: &str) -> String {
        let members = super::tool::saying(&self.rpc, heard);
        let id = self.rpc.id_raw();
        framing::event(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members}}}}}"#
        ))
    }
}
