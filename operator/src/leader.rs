//! Leader election among the operator's replicas by the Lease `operator.vmcp.dev`.
//!
//! Our role may touch that one Lease by name, and a POST has no name to check: so it is
//! made by apply. The first apply of each candidate is its own field manager's and not
//! forced: of two that make it at once, one is refused. Every later one is forced and
//! carries the version that it saw. Others are judged on our own clock, as gateways are.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vmcp_crds::labels::FIELD_MANAGER_OPERATOR;

use crate::client::{CallError, patiently};
use crate::limits::{LEADER_GIVE_UP, LEADER_LEASE, LEADER_RENEW};

/// Name of the Lease: none that a gateway can have, which is `vmcp-<name>`.
pub const NAME: &str = "operator.vmcp.dev";

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
    /// From the moment of asking: the server may note the renewal right then.
    asked: Instant,
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
        let mut renewed = held.asked;
        let mut next = Instant::now() + LEADER_RENEW;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ending::Stopped(held),
                () = tokio::time::sleep_until(next.min(renewed + LEADER_GIVE_UP)) => {}
            }
            next = Instant::now() + LEADER_RENEW;
            let spec = self.spec(
                held.spec.lease_transitions.unwrap_or_default(),
                held.spec.acquire_time.clone(),
            );
            let round = self.renew(&held, spec);
            match tokio::time::timeout_at(renewed + LEADER_GIVE_UP, round).await {
                Ok(Ok(Some(again))) => {
                    renewed = again.asked;
                    held = again;
                }
                Ok(Ok(None)) => return Ending::Lost,
                Ok(Err(error)) => tracing::warn!(%error, "leader lease not renewed"),
                Err(_) => return Ending::Lost,
            }
        }
    }

    /// One renewal. `None`: somebody else has it.
    ///
    /// A version that is not ours may yet be our own doing: a write that landed and whose
    /// answer was lost.
    async fn renew(&self, held: &Held, spec: LeaseSpec) -> Result<Option<Held>, CallError> {
        let asked = held.asked;
        match self.write(held.version.clone(), spec).await {
            Err(error) if error.is_race() => {}
            written => return written.map(Some),
        }
        let found = patiently(|| self.api.get_opt(NAME)).await?;
        let ours = found.and_then(|lease| {
            let spec = lease.spec.unwrap_or_default();
            let same = spec.holder_identity.as_deref() == Some(&self.identity);
            same.then_some((lease.metadata.resource_version, spec))
        });
        // When it landed is not known: the last known renewal stays what counts.
        Ok(ours.map(|(version, spec)| Held {
            version,
            spec,
            asked,
        }))
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
        let asked = Instant::now();
        let written = patiently(|| self.api.patch(NAME, &params, &patch)).await?;
        Ok(Held {
            version: written.metadata.resource_version,
            spec: written.spec.unwrap_or_default(),
            asked,
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
    use std::time::Duration;

    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Method, Request, Response};
    use hyper_util::rt::TokioIo;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use kube::{Client, Config};
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::{Candidate, Held, NAME};

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

    /// An API server that answers every PATCH with 409 and every GET with this Lease.
    async fn server_with(holder: &'static str) -> hyper::Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move |request: Request<Incoming>| async move {
            let (code, body) = match *request.method() {
                Method::PATCH => (
                    409,
                    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                        "reason": "Conflict", "message": "modified", "code": 409 }),
                ),
                _ => (
                    200,
                    json!({ "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
                        "metadata": { "name": NAME, "resourceVersion": "7" },
                        "spec": { "holderIdentity": holder } }),
                ),
            };
            Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body.to_string())))
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(serving);
            }
        });
        format!("http://{address}").parse().unwrap()
    }

    async fn renewed(holder: &'static str) -> Option<(Option<String>, bool)> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::new(server_with(holder).await);
        let client = Client::try_from(config).unwrap();
        let candidate = Candidate::new(client, "vmcp-system", "me".to_owned());
        let held = Held {
            version: Some("5".to_owned()),
            spec: spec("me", 1),
            asked: Instant::now(),
        };
        let again = candidate.renew(&held, spec("me", 1)).await.unwrap();
        again.map(|again| (again.version, again.asked == held.asked))
    }

    /// Build 4, leader election: a renewal whose answer was lost is no lost Lease. It counts
    /// from the last one that is known.
    #[tokio::test]
    async fn a_conflict_with_our_own_renewal_is_read_and_not_taken_for_a_rival() {
        assert_eq!(renewed("me").await, Some((Some("7".to_owned()), true)));
    }

    /// Build 4, leader election: whoever finds a rival in the Lease stops.
    #[tokio::test]
    async fn a_conflict_with_a_rival_is_a_lost_lease() {
        assert_eq!(renewed("rival").await, None);
    }

    fn http_uri() -> hyper::Uri {
        hyper::Uri::from_static("https://127.0.0.1:1")
    }
}
