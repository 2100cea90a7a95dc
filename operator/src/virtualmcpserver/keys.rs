//! The session keys of a gateway: which it mounts, in which order, and when that changes.
//! Pure: a function of what the Deployment records, what is wanted, and the time.
//!
//! All replicas share the keys: the first seals session ids, all of them open. A rotation
//! takes two rolls: first every replica learns to open the new key, then they seal with
//! it. The old one leaves the mounts after the longest session. The record stands on the
//! Deployment, so that it changes in the same write as the mounts.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeProjection,
};

use crate::limits::KEY_LEAVES;

/// Where the keys stand in a pod.
pub const MOUNT: &str = "/etc/vmcp/keys";
/// Name of the volume.
pub const VOLUME: &str = "session-keys";
/// The key inside each Secret.
pub const SECRET_KEY: &str = "key";

/// On the Deployment: the value of the annotation that the last rotation was begun for.
const ROTATED: &str = "vmcp.dev/sessionKeysRotated";
/// On the Deployment, during the second roll and until the old key leaves: when it began.
const SEALED_SINCE: &str = "vmcp.dev/sessionKeysSealedSince";

/// What is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionKeys {
    /// Names of Secrets, the one that seals first.
    pub secrets: Vec<String>,
    pub rotated: Option<String>,
    pub sealed_since: Option<Timestamp>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// As it is; look again at this time.
    Stay { until: Option<Timestamp> },
    /// A new key is to be made and recorded.
    Mint,
    /// Every replica opens the new key: they may seal with it.
    Seal,
    /// No session of the old key is left.
    Drop,
}

/// Whether all pods are of the Deployment's newest template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    Complete,
    UnderWay,
}

impl Rollout {
    /// By the rules of `kubectl rollout status`.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Self {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let Some(status) = &deployment.status else {
            return Self::UnderWay;
        };
        let seen = status.observed_generation >= deployment.metadata.generation;
        let updated = status.updated_replicas.unwrap_or_default();
        let complete = seen
            && updated == wanted.unwrap_or(1)
            && status.replicas.unwrap_or_default() == updated
            && status.available_replicas.unwrap_or_default() == updated;
        if complete {
            Self::Complete
        } else {
            Self::UnderWay
        }
    }
}

impl SessionKeys {
    /// What the Deployment records; nothing where there is none.
    #[must_use]
    pub fn recorded(deployment: Option<&Deployment>) -> Self {
        let Some(deployment) = deployment else {
            return Self::default();
        };
        let note = |key: &str| {
            let notes = deployment.metadata.annotations.as_ref();
            notes.and_then(|notes| notes.get(key)).cloned()
        };
        Self {
            secrets: mounted(deployment),
            rotated: note(ROTATED),
            sealed_since: note(SEALED_SINCE).and_then(|time| time.parse().ok()),
        }
    }

    /// What is to be done, if `wanted` is the value of the annotation that asks for a rotation.
    #[must_use]
    pub fn next(&self, wanted: Option<&str>, rollout: Rollout, now: Timestamp) -> Move {
        let asked = wanted.is_some() && wanted != self.rotated.as_deref();
        match (self.secrets.len(), self.sealed_since) {
            (0, _) => Move::Mint,
            (1, _) if asked => Move::Mint,
            (1, _) => Move::Stay { until: None },
            (_, None) if rollout == Rollout::Complete => Move::Seal,
            (_, None) => Move::Stay { until: None },
            (_, Some(since)) => match since.checked_add(KEY_LEAVES) {
                Ok(until) if until > now => Move::Stay { until: Some(until) },
                _ => Move::Drop,
            },
        }
    }

    /// With a new key: the only one, or one that is to be learnt.
    #[must_use]
    pub fn with(mut self, secret: String, wanted: Option<&str>) -> Self {
        self.secrets.truncate(1);
        self.secrets.push(secret);
        self.rotated = wanted.map(str::to_owned);
        self.sealed_since = None;
        self
    }

    /// Sealing with the key that was learnt.
    #[must_use]
    pub fn sealing(mut self, now: Timestamp) -> Self {
        self.secrets.reverse();
        self.sealed_since = Timestamp::from_second(now.as_second()).ok();
        self
    }

    /// Without the old key.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.secrets.truncate(1);
        self.sealed_since = None;
        self
    }

    /// The record for the Deployment.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let since = self.sealed_since.map(|since| since.to_string());
        let notes = [(ROTATED, self.rotated.clone()), (SEALED_SINCE, since)];
        notes
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }

    /// The files of the gateway: `0` seals.
    #[must_use]
    pub fn volume(&self) -> Volume {
        let source = |(at, secret): (usize, &String)| VolumeProjection {
            secret: Some(SecretProjection {
                name: secret.clone(),
                items: Some(vec![KeyToPath {
                    key: SECRET_KEY.to_owned(),
                    path: at.to_string(),
                    ..KeyToPath::default()
                }]),
                ..SecretProjection::default()
            }),
            ..VolumeProjection::default()
        };
        Volume {
            name: VOLUME.to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(self.secrets.iter().enumerate().map(source).collect()),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        }
    }
}

/// How long until that time.
#[must_use]
pub fn wait(until: Timestamp, now: Timestamp) -> std::time::Duration {
    let left = until.duration_since(now).max(SignedDuration::ZERO);
    left.unsigned_abs()
}

fn mounted(deployment: &Deployment) -> Vec<String> {
    let spec = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut volumes = spec.into_iter().flat_map(|spec| &spec.volumes).flatten();
    let volume = volumes.find(|volume| volume.name == VOLUME);
    let projected = volume.and_then(|volume| volume.projected.as_ref());
    let sources = projected.and_then(|projected| projected.sources.as_ref());
    sources
        .into_iter()
        .flatten()
        .filter_map(|source| source.secret.as_ref())
        .map(|secret| secret.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::{Move, Rollout, SessionKeys};
    use crate::limits::KEY_LEAVES;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn keys(secrets: &[&str]) -> SessionKeys {
        SessionKeys {
            secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
            ..SessionKeys::default()
        }
    }

    fn deployment(keys: &SessionKeys) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"annotations": keys.annotations()},
            "spec": {"selector": {}, "template": {"spec": {"containers": [],
                "volumes": [{"name": "other"}, keys.volume()]}}},
        }))
        .unwrap()
    }

    /// Decision 4: first every replica learns to open the new key, then they seal with it,
    /// and the old one leaves after the longest session. Each step follows from the record.
    #[test]
    fn a_rotation_takes_two_rolls_and_the_longest_session() {
        let (complete, under_way) = (Rollout::Complete, Rollout::UnderWay);
        let stay = Move::Stay { until: None };
        let first = SessionKeys::default();
        assert_eq!(first.next(None, under_way, NOW), Move::Mint);

        let steady = first.with("a".to_owned(), None);
        assert_eq!(steady.next(None, complete, NOW), stay);
        assert_eq!(steady.next(Some("1"), complete, NOW), Move::Mint);

        let learning = steady.with("b".to_owned(), Some("1"));
        assert_eq!(learning.secrets, ["a", "b"]);
        assert_eq!(learning.next(Some("1"), under_way, NOW), stay);
        assert_eq!(learning.next(Some("1"), complete, NOW), Move::Seal);

        let sealing = learning.sealing(NOW);
        assert_eq!(sealing.secrets, ["b", "a"]);
        let until = NOW.checked_add(KEY_LEAVES).unwrap();
        let waiting = Move::Stay { until: Some(until) };
        assert_eq!(sealing.next(Some("1"), complete, NOW), waiting);
        // Another wish waits until this one is done.
        assert_eq!(sealing.next(Some("2"), complete, NOW), waiting);
        assert_eq!(sealing.next(Some("1"), complete, until), Move::Drop);

        let settled = sealing.settled();
        assert_eq!(settled.secrets, ["b"]);
        assert_eq!(settled.next(Some("1"), complete, until), stay);
        assert_eq!(settled.next(Some("2"), complete, until), Move::Mint);
    }

    /// The Deployment is the only memory: what is read from it is what was written to it.
    #[test]
    fn the_record_is_read_as_it_was_written() {
        let steady = keys(&["a"]);
        let sealing = keys(&["a"]).with("b".to_owned(), Some("1")).sealing(NOW);

        for written in [steady, sealing, keys(&[])] {
            let found = deployment(&written);
            assert_eq!(SessionKeys::recorded(Some(&found)), written);
        }
        assert_eq!(SessionKeys::recorded(None), SessionKeys::default());
    }

    #[test]
    fn a_rollout_is_complete_when_only_new_pods_are_left_and_all_are_available() {
        let with = |status: serde_json::Value| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"generation": 3},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": status,
            }))
            .unwrap()
        };
        let good = json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2,
            "availableReplicas": 2});
        assert_eq!(Rollout::of(&with(good.clone())), Rollout::Complete);
        for (member, value) in [
            ("observedGeneration", 2),
            ("replicas", 3),
            ("updatedReplicas", 1),
            ("availableReplicas", 1),
        ] {
            let mut bad = good.clone();
            bad[member] = value.into();
            assert_eq!(Rollout::of(&with(bad)), Rollout::UnderWay, "{member}");
        }
    }
}
