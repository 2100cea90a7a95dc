//! TLS towards backends.
//!
//! Owns the client configuration: one provider named explicitly (ADR 11), the machine's trust
//! roots, HTTP/2 or HTTP/1.1 by ALPN. Session resumption is off: a ticket of an earlier connection would let
//! a check succeed on a state that no new client has (R2.2). The roots are configuration, not
//! connection state, so they are read once.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

/// What a backend connection can speak, the better first; the server chooses.
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// The roots of this machine. They are read with the first TLS connection: a backend behind
    /// plain HTTP does not pay for them.
    #[default]
    Machine,
    Only(Arc<ClientConfig>),
}

impl Trust {
    /// `roots` and nothing else.
    ///
    /// # Errors
    /// The provider lacks the default protocol versions.
    pub fn only(roots: RootCertStore) -> Result<Self, rustls::Error> {
        config(roots).map(Self::Only)
    }

    /// The configuration of a connection.
    ///
    /// # Errors
    /// As [`Self::only`].
    pub fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        static MACHINE: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();
        match self {
            Self::Machine => MACHINE.get_or_init(|| config(machine_roots())).clone(),
            Self::Only(config) => Ok(Arc::clone(config)),
        }
    }
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn machine_roots() -> RootCertStore {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(%error, "trust root unreadable");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(loaded.certs);
    tracing::debug!(added, ignored, "trust roots loaded");
    roots
}
