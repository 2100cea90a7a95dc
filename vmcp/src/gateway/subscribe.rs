//! Subscriptions to resources, and the streams of modern listeners.
//!
//! Owns `resources/subscribe` and `resources/unsubscribe` of legacy clients and
//! `subscriptions/listen` of modern ones. A listener is acknowledged at once with what we serve
//! ourselves; only resources wait for their backend, bounded, and those that it does not take are
//! left out. Never lets one client's subscription reach another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use vmcp_core::id::BackendName;
use vmcp_core::jsonrpc::{Request, RequestId, RpcError, raw};
use vmcp_core::limits;
use vmcp_core::mcp::subscription::{self, SubscriptionFilter};
use vmcp_core::mcp::{Era, method};

use super::Gateway;
use super::aim::{self, invalid};
use super::failure::{error_code, target, to_rpc};
use super::forward::{Asked, Caller, Forward};
use super::held_stream::{self, Before, HeldStream, Stood};
use super::live::{Live, NOT_RELAYED};
use super::message::{Accepts, Answer};
use super::modern::invalid_request;
use super::port::EVENT_BUFFER;
use super::sink::Sink;
use super::tasks::check_declared;
use super::watch::{Changes, Interest, Served};
use super::wish::{Ear, Level, State, Wish};
use crate::near::Spread;
use crate::snapshot::Snapshot;

/// What one backend is asked to tell.
type ByBackend = BTreeMap<BackendName, BTreeSet<Arc<str>>>;

/// A stream that stands for a listener.
struct Heard {
    backend: BackendName,
    resources: BTreeSet<Arc<str>>,
    stood: Stood,
}

impl Gateway {
    /// `resources/subscribe` and `resources/unsubscribe` of a legacy client.
    pub(super) async fn subscribe(
        &self,
        caller: Caller,
        live: &Arc<Live>,
        request: &Request<'_>,
        started: Instant,
    ) -> Answer {
        let answer = self.subscription(caller, live, request, started).await;
        self.others_know(live).await;
        answer
    }

    async fn subscription(
        &self,
        caller: Caller,
        live: &Arc<Live>,
        request: &Request<'_>,
        started: Instant,
    ) -> Answer {
        let asked = Asked::read(request, started);
        let uri: Arc<str> = match aim::subject(&asked.params) {
            Ok(uri) => uri.into(),
            Err(error) => return Answer::error(200, &request.id, &error),
        };
        if request.method == method::RESOURCES_UNSUBSCRIBE {
            return self.unsubscribe(caller, live, &asked, &uri).await;
        }
        let forward = match self.route(caller, &asked) {
            Ok(forward) => forward,
            Err(answer) => return answer,
        };
        let known = live.standing.subscriptions().contains(&uri);
        let Some(wished) = self.want(live, &forward.view.id.name, &uri) else {
            forward.finish("rpc_other");
            let text = format!("more than {} subscriptions", limits::SUBSCRIPTIONS);
            return Answer::error(200, &request.id, &invalid(text));
        };
        let settled = wished.settled().await;
        match (forward.backend_era, settled) {
            // Whatever became of the stream, the backend itself says whether it is subscribed.
            (Era::Legacy, _) => {
                let answer = self.reply(forward).await;
                if answer.is_error() && !known {
                    self.want_no_more(live, &uri);
                }
                answer
            }
            (Era::Modern, Ok(refused)) if !refused.contains(&uri) => done(&forward),
            (Era::Modern, Ok(_)) => {
                self.want_no_more(live, &uri);
                forward.finish("rpc_other");
                let error = refused(&forward.view.id.name, &uri);
                Answer::error(200, &request.id, &error)
            }
            (Era::Modern, Err(error)) => {
                self.want_no_more(live, &uri);
                forward.finish(error_code(&error));
                let error = to_rpc(Era::Legacy, forward.method, &forward.view, &error);
                Answer::error(200, &request.id, &error)
            }
        }
    }

    async fn unsubscribe(
        &self,
        caller: Caller,
        live: &Arc<Live>,
        asked: &Asked<'_>,
        uri: &str,
    ) -> Answer {
        let forgotten = self.want_no_more(live, uri);
        match self.route(caller, asked) {
            Ok(forward) if forward.backend_era == Era::Legacy => self.reply(forward).await,
            Ok(forward) => done(&forward),
            // Its backend is gone, and the subscription with it.
            Err(_) if forgotten => Answer::result(asked.id, "{}"),
            Err(answer) => answer,
        }
    }

    /// `subscriptions/listen` of a modern client.
    pub(super) async fn listen(&self, caller: &Caller, request: &Request<'_>) -> Answer {
        if caller.accepts == Accepts::JsonOnly {
            let error = invalid_request("header Accept must allow text/event-stream");
            return Answer::error(406, &request.id, &error);
        }
        let params = request.params.map_or("{}", RawValue::get);
        let asked = match SubscriptionFilter::parse(params) {
            Ok(asked) => asked,
            Err(text) => return Answer::error(200, &request.id, &invalid(text)),
        };
        if asked.task_ids.is_some()
            && let Err((status, error)) = check_declared(caller.capabilities.as_deref())
        {
            return Answer::error(status, &request.id, &error);
        }
        if asked.resource_subscriptions.len() > limits::SUBSCRIPTIONS {
            let text = format!("more than {} subscriptions", limits::SUBSCRIPTIONS);
            return Answer::error(200, &request.id, &invalid(text));
        }
        // From here on, so that a change in the time that backends take is told.
        let interest = Interest {
            tools: asked.tools_list_changed,
            prompts: asked.prompts_list_changed,
            resources: asked.resources_list_changed,
        };
        let (cues, path) = (self.cues.clone(), caller.path.clone());
        let changes = Changes::new(cues, path, interest, Served::ByAny);
        let heard = self.hear(caller, &asked.resource_subscriptions).await;
        let honoured = SubscriptionFilter {
            resource_subscriptions: heard
                .iter()
                .flat_map(|heard| heard.resources.iter().cloned())
                .collect(),
            // Tasks are asked for, never announced.
            task_ids: None,
            ..asked
        };
        let id = &request.id;
        let first = Bytes::from(honoured.acknowledgement(id));
        let said = self.follow(caller, id, heard);
        let news = stream::select(told(changes, id.clone()), said);
        let stopping = self.stopping.clone();
        let news = news.take_until(Box::pin(stopping.cancelled_owned()));
        let last = Bytes::from(subscription::ended(id));
        let all = stream::iter([first])
            .chain(news)
            .chain(stream::iter([last]));
        Answer::Events(Box::pin(all.map(Into::into)))
    }

    /// Opens a stream at each backend that has one of these resources, all at once.
    async fn hear(&self, caller: &Caller, resources: &BTreeSet<Arc<str>>) -> Vec<Heard> {
        let snapshot = self.snapshots.load();
        let ear = ear(caller);
        let opening = by_backend(&snapshot, caller, resources).into_iter();
        let opening = opening.map(|(backend, resources)| {
            let view = snapshot.backend(&backend).map(Spread::near);
            let ear = ear.clone();
            async move {
                let view = view?;
                let target = target(&view).ok()?;
                let generation = target.generation;
                let era = view.dialect.map_or(Era::Legacy, |dialect| dialect.era);
                let wanted = resources.iter().cloned().collect();
                let stream = held_stream::open(&*self.port, target, &ear, wanted)
                    .await
                    .ok()?;
                // What the backend did not take is not ours to acknowledge.
                let resources = stream.taken.clone();
                let stood = Stood {
                    stream,
                    generation,
                    era,
                };
                Some(Heard {
                    backend,
                    resources,
                    stood,
                })
            }
        });
        let opened = futures::future::join_all(opening).await;
        opened.into_iter().flatten().collect()
    }

    /// What those streams say, for as long as it is read.
    fn follow(
        &self,
        caller: &Caller,
        id: &RequestId,
        heard: Vec<Heard>,
    ) -> impl Stream<Item = Bytes> + use<> {
        let (sender, receiver) = mpsc::channel(EVENT_BUFFER);
        let mut wishes = Vec::new();
        for Heard {
            backend,
            resources,
            stood,
        } in heard
        {
            let (wish, wished) = watch::channel(Wish {
                resources,
                revision: 0,
            });
            wishes.push(wish);
            let stream = HeldStream {
                port: Arc::clone(&self.port),
                snapshots: self.snapshots.clone(),
                backend,
                ear: ear(caller),
                wish: wished,
                state: watch::Sender::new(State::default()),
                sink: Sink::Listener {
                    id: id.clone(),
                    sender: sender.clone(),
                },
            };
            tokio::spawn(stream.run(Before::Stands(stood)));
        }
        stream::unfold((receiver, wishes), |(mut receiver, wishes)| async move {
            let message = receiver.recv().await?;
            Some((message, (receiver, wishes)))
        })
    }
}

fn ear(caller: &Caller) -> Ear {
    Ear {
        scope: caller.scope.clone(),
        // Nothing of an extension is said on a standing stream.
        capabilities: caller.capabilities.as_deref().map(without_extensions),
        info: caller.info.clone(),
        version: caller.version,
        level: Level::Asked(caller.log_level.clone()),
    }
}

fn without_extensions(capabilities: &str) -> Arc<str> {
    raw::without_members(capabilities, &NOT_RELAYED).into()
}

/// Resources that nobody serves are left out.
fn by_backend(snapshot: &Snapshot, caller: &Caller, resources: &BTreeSet<Arc<str>>) -> ByBackend {
    let mut found = ByBackend::new();
    let Some(lists) = snapshot.lists_of(&caller.path) else {
        return found;
    };
    for uri in resources {
        if let Some(route) = lists.routes.resource(uri) {
            let backend = route.backend.name.clone();
            found.entry(backend).or_default().insert(Arc::clone(uri));
        }
    }
    found
}

/// Our own news, as messages of the listener's stream.
fn told(changes: Changes, id: RequestId) -> impl Stream<Item = Bytes> {
    let news = stream::unfold(changes, |mut changes| async move {
        let methods = changes.next().await?;
        Some((stream::iter(methods), changes))
    });
    news.flatten()
        .map(move |method| subscription::tagged(method, &id).into())
}

/// The backend listens, but not to this.
fn refused(backend: &BackendName, uri: &str) -> RpcError {
    invalid(format!("{backend} takes no subscription to {uri}"))
        .with_data(&json!({ "reason": "SubscriptionRefused", "server": backend.0, "uri": uri }))
}

fn done(forward: &Forward) -> Answer {
    forward.finish("ok");
    Answer::result(&forward.id, "{}")
}
