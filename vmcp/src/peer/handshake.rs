//! Proof that both ends of a connection are replicas of the same gateway.
//!
//! Owns the keys of the peer port, derived from the session keys, and the three frames that open a
//! connection. The proofs cover both nonces and both names, so neither can be used again, elsewhere
//! or in the other direction. Compared in constant time. Never says why it refuses.
//!
//! ```text
//! caller    {key, nonce, owner}            which key, 32 fresh bytes, who I am
//! answerer  {nonce, owner, proof}          32 fresh bytes, who I am, HMAC("answerer" | both)
//! caller    {proof}                        HMAC("caller" | both)
//! ```

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hkdf, hmac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use vmcp_core::session::Owner;

/// Changes with the frames.
const PURPOSE: &[u8] = b"vmcp peer port 1";
const NONCE: usize = 32;
/// Names of pods are 253 characters at most.
const MAX_FRAME: usize = 1_024;

/// Who we are and how we prove it.
pub struct Identity {
    pub own: Owner,
    /// The newest first; an answerer takes all of them. A caller tries one after the other, because
    /// a replica that leaves may hold the oldest alone.
    keys: Vec<Key>,
}

struct Key {
    /// Names the key without telling it.
    id: Box<str>,
    mac: hmac::Key,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("peer connection: {0}")]
    Io(#[from] io::Error),
    #[error("peer sent no handshake")]
    Malformed,
    #[error("peer holds none of our session keys")]
    Refused,
    #[error("no random numbers from the operating system")]
    Random,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    key: Box<str>,
    nonce: String,
    owner: Owner,
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    nonce: String,
    owner: Owner,
    proof: String,
}

#[derive(Serialize, Deserialize)]
struct Proof {
    proof: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("own", &self.own).finish()
    }
}

impl Identity {
    /// From the session keys, the one that seals first.
    #[must_use]
    pub fn new(own: Owner, session_keys: &[[u8; 32]]) -> Self {
        let keys = session_keys.iter().filter_map(Key::derive).collect();
        Self { own, keys }
    }

    /// How many keys there are to prove ourselves with.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Proves ourselves to the replica at the other end, and it to us, with the key at this place.
    ///
    /// # Errors
    /// When it is none, or does not hold that key, or the connection breaks. The caller sets the
    /// deadline.
    pub async fn call<S>(&self, stream: &mut S, key: usize) -> Result<Owner, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let key = self.keys.get(key).ok_or(HandshakeError::Refused)?;
        let hello = Hello {
            key: key.id.clone(),
            nonce: nonce()?,
            owner: self.own.clone(),
        };
        write(stream, &hello).await?;
        let welcome: Welcome = read(stream).await?;
        let said = transcript(&hello, &welcome.nonce, &welcome.owner);
        key.check(b"answerer", &said, &welcome.proof)?;
        let proof = key.prove(b"caller", &said);
        write(stream, &Proof { proof }).await?;
        Ok(welcome.owner)
    }

    /// The same from the other end.
    ///
    /// # Errors
    /// When the caller is no replica of ours, or the connection breaks. The caller sets the deadline.
    pub async fn answer<S>(&self, stream: &mut S) -> Result<Owner, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello: Hello = read(stream).await?;
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.id == hello.key);
        let key = key.ok_or(HandshakeError::Refused)?;
        let nonce = nonce()?;
        let said = transcript(&hello, &nonce, &self.own);
        let welcome = Welcome {
            nonce,
            owner: self.own.clone(),
            proof: key.prove(b"answerer", &said),
        };
        write(stream, &welcome).await?;
        let proof: Proof = read(stream).await?;
        key.check(b"caller", &said, &proof.proof)?;
        Ok(hello.owner)
    }
}

impl Key {
    fn derive(session_key: &[u8; 32]) -> Option<Self> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
        let root = salt.extract(session_key);
        let purpose = [PURPOSE];
        let derived = root.expand(&purpose, hmac::HMAC_SHA256).ok()?;
        let mac = hmac::Key::from(derived);
        let id = hmac::sign(&mac, b"key id");
        let id = STANDARD_NO_PAD.encode(id.as_ref().get(..8)?);
        Some(Self { id: id.into(), mac })
    }

    fn prove(&self, role: &[u8], said: &digest::Digest) -> String {
        STANDARD_NO_PAD.encode(self.sign(role, said))
    }

    fn sign(&self, role: &[u8], said: &digest::Digest) -> hmac::Tag {
        hmac::sign(&self.mac, &[role, said.as_ref()].concat())
    }

    /// In constant time.
    fn check(&self, role: &[u8], said: &digest::Digest, proof: &str) -> Result<(), HandshakeError> {
        let proof = STANDARD_NO_PAD.decode(proof);
        let proof = proof.map_err(|_| HandshakeError::Malformed)?;
        let message = [role, said.as_ref()].concat();
        hmac::verify(&self.mac, &message, &proof).map_err(|_| HandshakeError::Refused)
    }
}

/// Everything that both sides have said, in a form that cannot be read in two ways.
fn transcript(hello: &Hello, nonce: &str, answerer: &Owner) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    let caller = &hello.owner;
    let parts: [&str; 7] = [
        &hello.key,
        &hello.nonce,
        &caller.pod,
        &caller.boot,
        nonce,
        &answerer.pod,
        &answerer.boot,
    ];
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish()
}

fn nonce() -> Result<String, HandshakeError> {
    let mut bytes = [0_u8; NONCE];
    let random = SystemRandom::new();
    random
        .fill(&mut bytes)
        .map_err(|_| HandshakeError::Random)?;
    Ok(STANDARD_NO_PAD.encode(bytes))
}

/// Frames have their length before them, so that not one byte of what follows is read.
async fn write<S, T>(stream: &mut S, frame: &T) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
    T: Serialize + Sync,
{
    let body = serde_json::to_vec(frame).map_err(|_| HandshakeError::Malformed)?;
    let length = u16::try_from(body.len()).map_err(|_| HandshakeError::Malformed)?;
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    stream.write_all(&out).await?;
    Ok(stream.flush().await?)
}

async fn read<S, T>(stream: &mut S) -> Result<T, HandshakeError>
where
    S: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_FRAME {
        return Err(HandshakeError::Malformed);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map_err(|_| HandshakeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pod: &str, keys: &[[u8; 32]]) -> Identity {
        let own = Owner {
            pod: pod.into(),
            boot: "boot".into(),
        };
        Identity::new(own, keys)
    }

    async fn meet(
        caller: &Identity,
        answerer: &Identity,
    ) -> (Result<Owner, HandshakeError>, Result<Owner, HandshakeError>) {
        let (mut near, mut far) = tokio::io::duplex(4_096);
        let answer = async {
            let answer = answerer.answer(&mut far).await;
            drop(far);
            answer
        };
        let call = async {
            let call = caller.call(&mut near, 0).await;
            drop(near);
            call
        };
        tokio::join!(call, answer)
    }

    #[tokio::test]
    async fn replicas_with_a_common_key_learn_each_others_names() {
        // The second roll of a rotation: one seals with the new key already, the other does not.
        let old = identity("a", &[[1; 32], [2; 32]]);
        let new = identity("b", &[[2; 32], [1; 32]]);

        let (called, answered) = meet(&old, &new).await;
        assert_eq!(&*called.unwrap().pod, "b");
        assert_eq!(&*answered.unwrap().pod, "a");
        let (called, answered) = meet(&new, &old).await;
        assert!(called.is_ok() && answered.is_ok());
    }

    #[tokio::test]
    async fn a_stranger_is_refused_by_either_side() {
        let ours = identity("a", &[[1; 32]]);
        let stranger = identity("a", &[[9; 32]]);

        for (caller, answerer) in [(&ours, &stranger), (&stranger, &ours)] {
            let (called, answered) = meet(caller, answerer).await;
            assert!(called.is_err() && answered.is_err());
        }
    }

    /// What was heard on one connection opens no other: the answerer's nonce is new.
    #[tokio::test]
    async fn a_recorded_handshake_opens_nothing() {
        let (caller, answerer) = (identity("a", &[[1; 32]]), identity("b", &[[1; 32]]));
        let (mut near, mut wire) = tokio::io::duplex(4_096);
        let (mut wire_far, mut far) = tokio::io::duplex(4_096);
        let record = async {
            let mut heard = Vec::new();
            for turn in 0..3 {
                let mut buffer = [0; 1_024];
                if turn == 1 {
                    let n = wire_far.read(&mut buffer).await.unwrap();
                    wire.write_all(&buffer[..n]).await.unwrap();
                } else {
                    let n = wire.read(&mut buffer).await.unwrap();
                    wire_far.write_all(&buffer[..n]).await.unwrap();
                    heard.extend_from_slice(&buffer[..n]);
                }
            }
            heard
        };
        let (called, answered, heard) =
            tokio::join!(caller.call(&mut near, 0), answerer.answer(&mut far), record);
        assert!(called.is_ok() && answered.is_ok());

        let (mut replayed, mut far) = tokio::io::duplex(4_096);
        replayed.write_all(&heard).await.unwrap();

        let again = answerer.answer(&mut far).await;
        assert!(matches!(again, Err(HandshakeError::Refused)), "{again:?}");
    }

    /// A proof of one side is none of the other: a connection cannot be turned back on itself.
    #[tokio::test]
    async fn a_proof_is_good_in_its_own_direction_only() {
        let ours = identity("a", &[[1; 32]]);
        let key = &ours.keys[0];
        let hello = Hello {
            key: key.id.clone(),
            nonce: nonce().unwrap(),
            owner: ours.own.clone(),
        };
        let said = transcript(&hello, "n", &ours.own);

        assert!(
            key.check(b"caller", &said, &key.prove(b"caller", &said))
                .is_ok()
        );
        assert!(
            key.check(b"answerer", &said, &key.prove(b"caller", &said))
                .is_err()
        );
    }

    #[tokio::test]
    async fn garbage_is_refused() {
        let ours = identity("a", &[[1; 32]]);
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0, 2, b'{', b'}'],
            &[255; 64],
        ] {
            let (mut near, mut far) = tokio::io::duplex(4_096);
            near.write_all(garbage).await.unwrap();
            drop(near);

            assert!(ours.answer(&mut far).await.is_err());
        }
    }
}
