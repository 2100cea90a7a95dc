//! The Lease `vmcp-<name>`: one replica writes the status at a time.
//!
//! Owns acquiring, renewing and releasing. Never touches a Lease that another object owns. Expiry is
//! judged on our own monotonic clock by whether the Lease moved, because clocks of nodes differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use vmcp_core::time::Tick;
use vmcp_crds::{GROUP, VERSION, VirtualMCPServer, labels, names};

use super::{ApiError, StatusWriter, api};
use crate::clock::Clock;

/// A holder that has not renewed for this long is gone.
const DURATION: Duration = Duration::from_secs(10);

/// Three chances to renew within the duration.
const RENEW: Duration = Duration::from_secs(3);

/// We stop writing this long before others may start.
const MARGIN: Duration = Duration::from_secs(2);

/// Makes the empty object. A manager of its own: its apply can never take the holder away.
const CREATOR: &str = "vmcp-lease";

/// Our side of the Lease.
pub(super) struct Lease {
    api: Api<LeaseObject>,
    name: String,
    owner_name: String,
    holder: String,
    clock: Clock,
    live: watch::Receiver<Option<Arc<VirtualMCPServer>>>,
    leader: Arc<AtomicBool>,
    /// The Lease as seen last, and when it was first seen so.
    seen: Option<(LeaseSpec, Tick)>,
    /// When we renewed last.
    renewed: Option<Tick>,
}

/// Whose the Lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ours,
    Free,
    Taken,
}

/// Do we hold the Lease?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// We renewed recently enough to be sure.
    Sure,
    No,
}

/// Says whether we hold the Lease.
struct Teller {
    lease: String,
    leader: Arc<AtomicBool>,
    held: watch::Sender<bool>,
}

impl Teller {
    fn tell(&self, hold: Hold) {
        let holds = hold == Hold::Sure;
        self.leader.store(holds, Ordering::Relaxed);
        let changed = self
            .held
            .send_if_modified(|old| std::mem::replace(old, holds) != holds);
        if changed {
            tracing::info!(lease = self.lease, holds, "lease changed hands");
        }
    }

    /// Finishes `work`, and says meanwhile when the Lease lapses: an API server that hangs must not
    /// make us hold it for longer.
    async fn until<T>(&self, lapse: Option<Instant>, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Some(lapse) = lapse {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep_until(lapse) => self.tell(Hold::No),
            }
        }
        work.await
    }
}

impl Lease {
    pub(super) fn new(writer: &StatusWriter) -> Self {
        let identity = &writer.identity;
        Self {
            api: Api::namespaced(writer.client.clone(), &identity.namespace),
            name: names::owned_by_virtual_mcp_server(&identity.name),
            owner_name: identity.name.clone(),
            holder: writer.holder.clone(),
            clock: writer.clock,
            live: writer.live.clone(),
            leader: Arc::clone(&writer.leader),
            seen: None,
            renewed: None,
        }
    }

    /// Competes until cancelled, then releases what it holds.
    pub(super) async fn run(mut self, held: watch::Sender<bool>, cancel: CancellationToken) {
        let teller = Teller {
            lease: self.name.clone(),
            leader: Arc::clone(&self.leader),
            held,
        };
        loop {
            let lapse = self.lapse();
            if let Err(error) = teller.until(lapse, self.round()).await {
                tracing::debug!(%error, "lease round failed");
            }
            teller.tell(self.hold());
            let pause = teller.until(self.lapse(), tokio::time::sleep(RENEW));
            tokio::select! {
                () = cancel.cancelled() => break,
                () = pause => {}
            }
        }
        let at_end = self.hold();
        self.renewed = None;
        teller.tell(Hold::No);
        if at_end == Hold::Sure
            && let Err(error) = self.release().await
        {
            tracing::warn!(%error, "lease not released");
        }
    }

    /// When we must stop writing unless we renew before.
    fn lapse(&self) -> Option<Instant> {
        let renewed = self.renewed?;
        Some(self.clock.instant(renewed.after(DURATION - MARGIN)))
    }

    fn hold(&self) -> Hold {
        match self.renewed {
            Some(at) if self.clock.now().since(at) < DURATION - MARGIN => Hold::Sure,
            _ => Hold::No,
        }
    }

    async fn round(&mut self) -> Result<(), ApiError> {
        let Some(owner) = self.owner_uid() else {
            self.renewed = None;
            return Ok(());
        };
        let lease = match api(self.api.get_opt(&self.name)).await? {
            Some(lease) => lease,
            None => self.create(&owner).await?,
        };
        let ours = lease
            .owner_references()
            .iter()
            .any(|reference| reference.uid == owner);
        if !ours {
            tracing::warn!(
                lease = self.name,
                "lease belongs to another object and is left alone"
            );
            self.renewed = None;
            return Ok(());
        }
        let now = self.clock.now();
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(known, _)| *known != spec) {
            self.seen = Some((spec.clone(), now));
        }
        let unmoved = self
            .seen
            .as_ref()
            .map_or(Duration::ZERO, |(_, at)| now.since(*at));
        let standing = standing(&spec, &self.holder, unmoved);
        if standing == Standing::Taken {
            self.renewed = None;
            return Ok(());
        }
        match self.take(&lease, &spec, standing).await {
            Ok(()) => self.renewed = Some(now),
            Err(error) if error.is_conflict() => self.renewed = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// UID of our VirtualMCPServer, while it exists: a Lease of a dead owner would be in the way of
    /// the next one of that name.
    fn owner_uid(&self) -> Option<String> {
        let live = self.live.borrow();
        live.as_ref().and_then(|object| object.metadata.uid.clone())
    }

    async fn create(&self, owner: &str) -> Result<LeaseObject, ApiError> {
        let body = self.object(
            json!({
                "labels": {
                    labels::PART_OF: labels::PART_OF_VMCP,
                    labels::VIRTUAL_MCP_SERVER: self.owner_name,
                },
                "ownerReferences": [{
                    "apiVersion": format!("{GROUP}/{VERSION}"),
                    "kind": "VirtualMCPServer",
                    "name": self.owner_name,
                    "uid": owner,
                }],
            }),
            json!({"leaseDurationSeconds": DURATION.as_secs()}),
        );
        let params = PatchParams::apply(CREATOR).force();
        api(self.api.patch(&self.name, &params, &Patch::Apply(&body))).await
    }

    async fn take(
        &self,
        lease: &LeaseObject,
        old: &LeaseSpec,
        standing: Standing,
    ) -> Result<(), ApiError> {
        let now = self.wall();
        let transitions = old.lease_transitions.unwrap_or_default();
        let (acquired, transitions) = match (standing, &old.acquire_time) {
            (Standing::Ours, Some(at)) => (at.clone(), transitions),
            _ => (now.clone(), transitions.saturating_add(1)),
        };
        let body = self.object(
            json!({"resourceVersion": lease.resource_version()}),
            json!({
                "holderIdentity": self.holder,
                "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": acquired,
                "renewTime": now,
                "leaseTransitions": transitions,
            }),
        );
        self.apply(&body).await
    }

    async fn release(&self) -> Result<(), ApiError> {
        let lease = api(self.api.get(&self.name)).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.holder.as_str()) {
            return Ok(());
        }
        let body = self.object(
            json!({"resourceVersion": lease.resource_version()}),
            json!({
                "leaseDurationSeconds": DURATION.as_secs(),
                "renewTime": self.wall(),
                "leaseTransitions": spec.lease_transitions.unwrap_or_default(),
            }),
        );
        self.apply(&body).await
    }

    async fn apply(&self, body: &Value) -> Result<(), ApiError> {
        let params = PatchParams::apply(labels::FIELD_MANAGER_STATUS).force();
        api(self.api.patch(&self.name, &params, &Patch::Apply(body)))
            .await
            .map(drop)
    }

    fn object(&self, mut metadata: Value, spec: Value) -> Value {
        metadata["name"] = json!(self.name);
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        })
    }

    fn wall(&self) -> MicroTime {
        let millis = self.clock.unix_ms(self.clock.now());
        MicroTime(Timestamp::from_millisecond(millis).unwrap_or_default())
    }
}

fn standing(spec: &LeaseSpec, us: &str, unmoved: Duration) -> Standing {
    let lasts = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok());
    match spec.holder_identity.as_deref() {
        None | Some("") => Standing::Free,
        Some(holder) if holder == us => Standing::Ours,
        Some(_) if unmoved >= lasts.map_or(DURATION, Duration::from_secs) => Standing::Free,
        Some(_) => Standing::Taken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: Option<&str>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(10),
            ..LeaseSpec::default()
        }
    }

    /// Decision 7: a round that hangs does not keep the Lease beyond its time, and is not cut short.
    #[tokio::test(start_paused = true)]
    async fn a_lease_lapses_while_the_api_server_hangs() {
        let (held, seen) = watch::channel(true);
        let leader = Arc::new(AtomicBool::new(true));
        let teller = Teller {
            lease: "vmcp-all".to_owned(),
            leader: Arc::clone(&leader),
            held,
        };
        let second = Duration::from_secs(1);
        let lapse = Instant::now() + 2 * second;
        let round = tokio::spawn(async move {
            teller
                .until(Some(lapse), tokio::time::sleep(10 * second))
                .await;
        });

        tokio::time::sleep(second).await;
        assert!(*seen.borrow(), "not yet");
        tokio::time::sleep(2 * second).await;

        assert!(!*seen.borrow() && !leader.load(Ordering::Relaxed));
        assert!(!round.is_finished(), "the round goes on");
        round.await.unwrap();
    }

    /// Decision 7: who writes depends on the Lease, judged on one's own clock.
    #[test]
    fn a_lease_is_free_when_nobody_holds_it_or_its_holder_stopped_moving_it() {
        let second = Duration::from_secs(1);

        assert_eq!(standing(&held_by(None), "a", second), Standing::Free);
        assert_eq!(standing(&held_by(Some("")), "a", second), Standing::Free);
        assert_eq!(
            standing(&held_by(Some("a")), "a", 99 * second),
            Standing::Ours
        );
        assert_eq!(
            standing(&held_by(Some("b")), "a", 9 * second),
            Standing::Taken
        );
        assert_eq!(
            standing(&held_by(Some("b")), "a", 10 * second),
            Standing::Free
        );
    }
}
