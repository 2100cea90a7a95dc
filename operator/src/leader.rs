//! Leader election among the operator's replicas by the Lease `vmcp-operator`.
//!
//! Our role may touch that one Lease by name, and a POST has no name to check: so it is
//! made by apply. The first apply of each candidate is its own field manager's and not
//! forced: of two that make it at once, one is refused. Every later one is forced and
//! carries the version that it saw. Others are judged on our own clock, as gateways are.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use vmcp_crds::labels::FIELD_MANAGER_OPERATOR;

use crate::client::{CallError, patiently};
use crate::limits::{LEADER_GIVE_UP, LEADER_LEASE, LEADER_RENEW};

/// Name of the Lease.
const NAME: &str = "vmcp-operator";

/// One candidate.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    /// Of another holder: what it last wrote and when we first saw that.
    rival: Option<(LeaseSpec, Instant)>,
}

/// A Lease that is ours, as the server answered.
#[derive(Debug)]
pub struct Held {
    version: Option<String>,
    spec: LeaseSpec,
}

impl Candidate {
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity,
            rival: None,
        }
    }

    /// Waits until this candidate leads. `None`: it was told to stop before.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> Option<Held> {
        loop {
            match self.try_acquire().await {
                Ok(Some(held)) => return Some(held),
                Ok(None) => {}
                Err(error) if error.is_race() => {}
                Err(error) => tracing::warn!(%error, "leader election failed, trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(LEADER_RENEW) => {}
            }
        }
    }

    async fn try_acquire(&mut self) -> Result<Option<Held>, CallError> {
        let found = patiently(|| self.api.get_opt(NAME)).await?;
        let Some(lease) = found else {
            return self.write(None, self.spec(0, None)).await.map(Some);
        };
        let spec = lease.spec.unwrap_or_default();
        if !self.is_free(&spec, Instant::now()) {
            return Ok(None);
        }
        let transitions = spec.lease_transitions.unwrap_or_default();
        let next = self.spec(transitions.saturating_add(1), None);
        self.write(lease.metadata.resource_version, next)
            .await
            .map(Some)
    }

    /// Whether nobody else holds it, or somebody who stopped renewing it.
    fn is_free(&mut self, spec: &LeaseSpec, now: Instant) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let since = match &self.rival {
            Some((known, since)) if known == spec => *since,
            _ => {
                self.rival = Some((spec.clone(), now));
                now
            }
        };
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let announced = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        now.saturating_duration_since(since) >= announced.min(LEADER_LEASE * 4)
    }

    /// Renews until told to stop or until the Lease is lost; says which.
    pub async fn hold(&self, mut held: Held, stop: &CancellationToken) -> Ending {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ending::Stopped(held),
                () = tokio::time::sleep(LEADER_RENEW) => {}
            }
            let spec = self.spec(
                held.spec.lease_transitions.unwrap_or_default(),
                held.spec.acquire_time.clone(),
            );
            // From the moment of asking: the server may note the renewal right then.
            let asked = Instant::now();
            let left = LEADER_GIVE_UP.saturating_sub(renewed.elapsed());
            let write = self.write(held.version.clone(), spec);
            match tokio::time::timeout(left, write).await {
                Ok(Ok(next)) => {
                    held = next;
                    renewed = asked;
                }
                Ok(Err(error)) if error.is_race() => return Ending::Lost,
                Ok(Err(error)) => tracing::warn!(%error, "leader lease not renewed"),
                Err(_) => return Ending::Lost,
            }
        }
    }

    /// Lets go, so that the next one need not wait.
    ///
    /// # Errors
    /// The API server cannot be reached; the Lease then runs out.
    pub async fn release(&self, held: Held) -> Result<(), CallError> {
        let free = LeaseSpec {
            holder_identity: Some(String::new()),
            ..held.spec
        };
        self.write(held.version, free).await.map(drop)
    }

    fn spec(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEADER_LEASE.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    async fn write(&self, version: Option<String>, spec: LeaseSpec) -> Result<Held, CallError> {
        let params = match version {
            Some(_) => PatchParams::apply(FIELD_MANAGER_OPERATOR).force(),
            None => PatchParams::apply(&format!("{FIELD_MANAGER_OPERATOR}-{}", self.identity)),
        };
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let patch = Patch::Apply(&lease);
        let written = patiently(|| self.api.patch(NAME, &params, &patch)).await?;
        Ok(Held {
            version: written.metadata.resource_version,
            spec: written.spec.unwrap_or_default(),
        })
    }
}

/// How leading ended.
#[derive(Debug)]
pub enum Ending {
    /// Told to stop, and still the leader.
    Stopped(Held),
    /// Somebody else may lead by now.
    Lost,
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use kube::{Client, Config};

    use super::Candidate;

    fn spec(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Build 4, leader election: a rival that renews keeps the Lease, one that stopped loses
    /// it after its duration on our clock.
    #[tokio::test]
    async fn a_rivals_lease_is_free_only_after_it_stopped_moving() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(Config::new(http_uri())).unwrap();
        let mut candidate = Candidate::new(client, "vmcp-system", "me".to_owned());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);

        assert!(candidate.is_free(&spec("", 1), start));
        assert!(candidate.is_free(&spec("me", 1), start));
        assert!(!candidate.is_free(&spec("rival", 1), start));
        assert!(!candidate.is_free(&spec("rival", 2), at(14)));
        assert!(!candidate.is_free(&spec("rival", 2), at(28)));
        assert!(candidate.is_free(&spec("rival", 2), at(29)));
    }

    fn http_uri() -> hyper::Uri {
        hyper::Uri::from_static("https://127.0.0.1:1")
    }
}
