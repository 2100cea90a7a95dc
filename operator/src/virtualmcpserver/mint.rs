//! New session keys: the one place where the operator makes a Secret.
//!
//! A Secret is made by a plain POST under a name that nobody could know before, so that
//! nobody can plant a key: a name that exists is refused, and another one tried. It is
//! immutable and goes with its owner. The operator cannot read it again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use ring::rand::{SecureRandom, SystemRandom};

use super::keys::{Move, Rollout, SECRET_KEY, SessionKeys, wait};
use super::validate::ValidatedGateway;
use crate::client::CallError;
use crate::ensured::{Ensured, Hindrance};
use crate::world::World;

/// Bytes of an AES-256 key.
const KEY: usize = 32;
/// Letters of the random end of a name: 10 of 27 are 47 bits.
const SUFFIX: usize = 10;
/// Without vowels, and without digits that look like letters.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Names that are tried.
const TRIES: usize = 3;

/// What is to be mounted, and when to look again.
#[derive(Debug)]
pub struct Settled {
    pub keys: SessionKeys,
    pub look_again: Option<std::time::Duration>,
}

/// Brings the keys one step further. `Err(Ok)` is a hindrance.
///
/// # Errors
/// The API server cannot be reached, or makes no Secret.
pub async fn settle(
    world: &World,
    gateway: &ValidatedGateway,
    deployment: Option<&Deployment>,
) -> Result<Result<Settled, Hindrance>, CallError> {
    let recorded = SessionKeys::recorded(deployment);
    let rollout = deployment.map_or(Rollout::UnderWay, Rollout::of);
    let wanted = gateway.rotate_keys.as_deref();
    let now = Timestamp::now();
    let settled = |keys| Settled {
        keys,
        look_again: None,
    };
    Ok(Ok(match recorded.next(wanted, rollout, now) {
        Move::Stay { until } => Settled {
            keys: recorded,
            look_again: until.map(|until| wait(until, now)),
        },
        Move::Seal => settled(recorded.sealing(now)),
        Move::Drop => settled(recorded.settled()),
        Move::Mint => match minted(world, gateway, &recorded).await? {
            Ok(name) => settled(recorded.with(name, wanted)),
            Err(hindrance) => return Ok(Err(hindrance)),
        },
    }))
}

/// One that was made before and has not been recorded yet, or a new one.
async fn minted(
    world: &World,
    gateway: &ValidatedGateway,
    recorded: &SessionKeys,
) -> Result<Result<String, Hindrance>, CallError> {
    let owner = &gateway.owner;
    if let Some(name) = world.unrecorded_key(&owner.uid, &recorded.secrets) {
        return Ok(Ok(name));
    }
    let mut last = CallError::AlreadyExists;
    for _ in 0..TRIES {
        let Some(secret) = secret(gateway) else {
            break;
        };
        let name = secret.metadata.name.clone().unwrap_or_default();
        match world.writer.mint(&owner.namespace, &secret).await {
            Ok(()) => {
                world.note_key(&owner.uid, &name);
                return Ok(Ok(name));
            }
            Err(CallError::AlreadyExists) => last = CallError::AlreadyExists,
            Err(CallError::Refused { code, message }) => {
                let refused = Ensured::Refused { code, message };
                let hindrance = Hindrance::of("Secret", &owner.child_name(), &refused);
                return hindrance.map(Err).ok_or(CallError::AlreadyExists);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// `None` without random numbers.
fn secret(gateway: &ValidatedGateway) -> Option<Secret> {
    let random = SystemRandom::new();
    let (mut key, mut letters) = ([0_u8; KEY], [0_u8; SUFFIX]);
    random.fill(&mut key).ok()?;
    random.fill(&mut letters).ok()?;
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    let suffix: String = letters.iter().map(letter).collect();
    let mut metadata = gateway.owner.child_meta();
    metadata.name = Some(format!("{}-key-{suffix}", gateway.owner.child_name()));
    Some(Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        immutable: Some(true),
        data: Some(BTreeMap::from([(
            SECRET_KEY.to_owned(),
            ByteString(key.to_vec()),
        )])),
        ..Secret::default()
    })
}
