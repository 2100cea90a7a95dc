//! What leaves this process sealed and comes back through a client.
//!
//! Owns the keys of session ids and of the state of parked calls. The newest key seals, all of them
//! open, so that a key can be replaced without losing a session. What was sealed for one purpose
//! does not open for another. Never says why something does not open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of an AES-256-GCM key.
pub const KEY_LEN: usize = 32;

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `Mcp-Session-Id`.
    Session,
    /// `requestState`.
    State,
    /// `taskId`.
    Task,
}

impl Purpose {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Session => b"session",
            Self::State => b"state",
            Self::Task => b"task",
        }
    }
}

/// Nothing can be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("no random numbers from the operating system")]
    Random,
    #[error("there is no key to seal with")]
    NoKey,
}

/// Seals and opens.
pub struct Sealer {
    /// The first seals.
    keys: Vec<LessSafeKey>,
    random: SystemRandom,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// With these keys, the one to seal with first.
    ///
    /// # Errors
    /// Without any key.
    pub fn new(keys: &[[u8; KEY_LEN]]) -> Result<Self, SealError> {
        let key = |bytes| UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new);
        let keys: Vec<_> = keys
            .iter()
            .map(|bytes| key(bytes).map_err(|_| SealError::NoKey))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(SealError::NoKey);
        }
        Ok(Self {
            keys,
            random: SystemRandom::new(),
        })
    }

    /// With a key of its own, which dies with the process.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0_u8; KEY_LEN];
        let random = SystemRandom::new();
        random.fill(&mut bytes).map_err(|_| SealError::Random)?;
        Self::new(&[bytes])
    }

    /// 64 random bits as text: tells this process from any before it.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn boot_nonce() -> Result<Box<str>, SealError> {
        let mut bytes = [0_u8; 8];
        let random = SystemRandom::new();
        random.fill(&mut bytes).map_err(|_| SealError::Random)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// # Errors
    /// When the operating system has no random numbers.
    pub fn seal(&self, purpose: Purpose, plain: &[u8]) -> Result<String, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        let mut nonce = [0_u8; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .map_err(|_| SealError::Random)?;
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(purpose.bytes()), &mut sealed)
            .map_err(|_| SealError::NoKey)?;
        let mut token = nonce.to_vec();
        token.append(&mut sealed);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// `None` for what was not sealed here for this purpose. The caller bounds the length.
    #[must_use]
    pub fn open(&self, purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
        let token = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = token.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut copy = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let plain = key
                .open_in_place(nonce, Aad::from(purpose.bytes()), &mut copy)
                .ok()?;
            Some(plain.to_vec())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_its_purpose_alone() {
        let sealer = Sealer::random().unwrap();
        let sealed = sealer.seal(Purpose::Session, b"abc").unwrap();

        assert_eq!(sealer.open(Purpose::Session, &sealed).unwrap(), b"abc");
        assert!(sealer.open(Purpose::State, &sealed).is_none());
        assert!(
            Sealer::random()
                .unwrap()
                .open(Purpose::Session, &sealed)
                .is_none()
        );
    }

    #[test]
    fn an_older_key_still_opens() {
        let old = Sealer::new(&[[1; KEY_LEN]]).unwrap();
        let both = Sealer::new(&[[2; KEY_LEN], [1; KEY_LEN]]).unwrap();

        let before = old.seal(Purpose::State, b"x").unwrap();
        let after = both.seal(Purpose::State, b"x").unwrap();

        assert!(both.open(Purpose::State, &before).is_some());
        assert!(old.open(Purpose::State, &after).is_none());
    }
}
