//! Events of `events.k8s.io`, written by the leader alone. They wait in a bounded queue
//! and are written one after the other: an API server that is slow to take them delays no
//! reconcile, and more of them than fit are dropped with a warning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use vmcp_crds::labels::FIELD_MANAGER_OPERATOR;
use vmcp_crds::reason::EventReason;
use vmcp_crds::{GROUP, VERSION};

use crate::limits::{EVENT_NOTE_MAX, EVENT_QUEUE, REQUEST_TIMEOUT};
use crate::owner::{Owner, OwnerKind};
use crate::transitions::{Happened, Weight};

/// One event about one object of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Emission {
    owner: Owner,
    happened: Happened,
}

impl Emission {
    #[must_use]
    pub const fn new(owner: Owner, happened: Happened) -> Self {
        Self { owner, happened }
    }

    /// A Deployment was made or changed.
    #[must_use]
    pub fn rollout_started(owner: &Owner, deployment: &str) -> Self {
        let happened = Happened {
            reason: EventReason::RolloutStarted,
            weight: Weight::Normal,
            note: format!("Deployment {deployment} was written"),
            action: EventReason::RolloutStarted.as_str().to_owned(),
            backend: None,
        };
        Self::new(owner.clone(), happened)
    }

    fn event(&self) -> Event {
        let happened = &self.happened;
        let related = happened.backend.as_ref();
        Event {
            type_: match happened.weight {
                Weight::Normal => EventType::Normal,
                Weight::Warning => EventType::Warning,
            },
            reason: happened.reason.as_str().to_owned(),
            note: Some(cut(&happened.note)),
            action: happened.action.clone(),
            secondary: related.map(|(name, uid)| {
                let namespace = &self.owner.namespace;
                reference(OwnerKind::McpServer, namespace, name, uid)
            }),
        }
    }

    fn regarding(&self) -> ObjectReference {
        let owner = &self.owner;
        reference(owner.kind, &owner.namespace, &owner.name, &owner.uid)
    }
}

fn reference(kind: OwnerKind, namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(kind.as_str().to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty()),
        ..ObjectReference::default()
    }
}

/// As much as the API server accepts, on a character boundary.
fn cut(note: &str) -> String {
    let mut end = note.len().min(EVENT_NOTE_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}

/// Where events are handed in.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<Emission>,
    leads: Arc<AtomicBool>,
}

impl Events {
    /// The two ends of the queue.
    #[must_use]
    pub fn new() -> (Self, Receiver<Emission>) {
        let (sender, receiver) = channel(EVENT_QUEUE);
        let events = Self {
            sender,
            leads: Arc::default(),
        };
        (events, receiver)
    }

    /// From now on events are written: before, another process did.
    pub fn lead(&self) {
        self.leads.store(true, Ordering::Release);
    }

    /// Hands an event in.
    pub fn emit(&self, emission: Emission) {
        if !self.leads.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.sender.try_send(emission) {
            tracing::warn!(%error, "event dropped");
        }
    }
}

/// Writes events until told to stop.
pub async fn publish(
    client: Client,
    instance: String,
    mut events: Receiver<Emission>,
    stop: CancellationToken,
) {
    let reporter = Reporter {
        controller: format!("{GROUP}/{FIELD_MANAGER_OPERATOR}"),
        instance: Some(instance),
    };
    let recorder = Recorder::new(client, reporter);
    loop {
        let emission = tokio::select! {
            () = stop.cancelled() => return,
            emission = events.recv() => emission,
        };
        let Some(emission) = emission else { return };
        let (event, regarding) = (emission.event(), emission.regarding());
        let written = tokio::time::timeout(REQUEST_TIMEOUT, recorder.publish(&event, &regarding));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "event not written"),
            Err(_) => tracing::warn!("event not written within the deadline"),
        }
    }
}

#[cfg(test)]
mod tests {
    use vmcp_crds::reason::EventReason;

    use super::{Emission, Events, cut};
    use crate::limits::{EVENT_NOTE_MAX, EVENT_QUEUE};
    use crate::owner::{Owner, OwnerKind};

    fn emission() -> Emission {
        let owner = Owner {
            kind: OwnerKind::McpServer,
            namespace: "team".to_owned(),
            name: "git".to_owned(),
            uid: "1".to_owned(),
        };
        Emission::rollout_started(&owner, "mcp-git")
    }

    /// API, events: only one of several operators speaks, and it never waits for a listener.
    #[test]
    fn events_are_taken_from_the_leader_only_and_never_more_than_fit() {
        let (events, mut receiver) = Events::new();
        events.emit(emission());
        assert!(receiver.try_recv().is_err());

        events.lead();
        for _ in 0..=EVENT_QUEUE {
            events.emit(emission());
        }

        let taken = std::iter::from_fn(|| receiver.try_recv().ok()).count();
        assert_eq!(taken, EVENT_QUEUE);
    }

    /// API, events: an event names its object; a note of any length is accepted.
    #[test]
    fn an_event_names_its_object_and_has_a_note_that_fits() {
        let emission = emission();

        let reason = emission.event().reason;
        assert_eq!(reason, EventReason::RolloutStarted.as_str());
        assert_eq!(emission.regarding().kind.as_deref(), Some("MCPServer"));
        assert_eq!(cut(&"ä".repeat(EVENT_NOTE_MAX)).len(), EVENT_NOTE_MAX);
        assert_eq!(cut("x"), "x");
    }
}
