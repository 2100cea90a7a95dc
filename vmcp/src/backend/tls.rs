//! TLS towards backends.
//!
//! Owns the client configuration: one provider named explicitly (ADR 11), the machine's trust
//! roots, HTTP/1.1 by ALPN. Session resumption is off: a ticket of an earlier connection would let
//! a check succeed on a state that no new client has (R2.2). The roots are configuration, not
//! connection state, so they are read once.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

/// The only protocol that a backend connection speaks today.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The configuration with the machine's trust roots.
#[must_use]
pub fn machine_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| config(machine_roots())))
}

/// A configuration that trusts `roots` and nothing else.
#[must_use]
pub fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        match ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
            Ok(builder) => builder,
            // The ring provider supports the default versions by construction; should that ever
            // change, every handshake fails with a TLS error instead of the process.
            Err(error) => {
                tracing::error!(%error, "tls provider lacks the default protocol versions");
                return empty_config();
            }
        };
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn empty_config() -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
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
