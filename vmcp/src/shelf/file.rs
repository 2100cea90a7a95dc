//! One file of the shelf.
//!
//! Owns its form: an object that is at once a page of every list, with the entries byte for byte as
//! the backend spelled them. It is read as an answer of the backend is read, with the same limits
//! and the same distrust.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use vmcp_core::catalog::{CacheScope, Catalog, Kind, PerKind};
use vmcp_core::jsonrpc::quote;
use vmcp_core::limits::SHELF_FILE;
use vmcp_core::mcp::parse_page;

use super::ShelfKey;

/// Another form gets another number; files of an unknown one are left alone.
const VERSION: u32 = 1;

pub(super) const EXTENSION: &str = "json";

/// Bytes of the digest in a file's name.
const NAME_BYTES: usize = 16;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("longer than {SHELF_FILE} bytes")]
    TooLong,
    #[error("not the file of a catalogue: {0}")]
    Form(#[from] serde_json::Error),
    #[error("of version {0}, not {VERSION}")]
    Version(u32),
    #[error("{0}")]
    List(#[from] vmcp_core::mcp::ProtocolViolation),
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Found {
    pub gateway: Box<str>,
    pub key: ShelfKey,
    pub catalog: Catalog,
    pub bytes: usize,
}

/// What a file is to hold.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub gateway: &'a str,
    pub key: &'a ShelfKey,
    /// For people who look.
    pub name: &'a str,
    pub catalog: &'a Catalog,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    gateway: Box<str>,
    uid: Box<str>,
    url: Box<str>,
}

/// The same for the same backend, whatever it lists.
pub(super) fn name(gateway: &str, key: &ShelfKey) -> String {
    let mut digest = Sha256::new();
    for part in [gateway, &key.uid.0, &key.url] {
        digest.update(part.len().to_le_bytes());
        digest.update(part.as_bytes());
    }
    let digest = digest.finalize();
    let mut name = String::new();
    for byte in digest.iter().take(NAME_BYTES) {
        let _ = write!(name, "{byte:02x}");
    }
    format!("{name}.{EXTENSION}")
}

impl Written<'_> {
    pub(super) fn text(&self) -> String {
        let mut out = format!(
            "{{\"version\":{VERSION},\"gateway\":{},\"name\":{},\"uid\":{},\"url\":{}",
            quote(self.gateway),
            quote(self.name),
            quote(&self.key.uid.0),
            quote(&self.key.url)
        );
        let freshness = self.catalog.freshness;
        if let Some(ttl) = freshness.ttl {
            let _ = write!(out, ",\"ttlMs\":{}", ttl.as_millis());
        }
        if freshness.scope == CacheScope::Private {
            out.push_str(",\"cacheScope\":\"private\"");
        }
        for kind in Kind::ALL {
            let _ = write!(out, ",\n\"{}\":[", kind.member());
            for (at, entry) in self.catalog.entries(kind).iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                out.push_str(&entry.raw);
            }
            out.push(']');
        }
        out.push_str("}\n");
        out
    }
}

/// Whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path))
}

pub(super) fn read(path: &Path) -> Result<Found, FileError> {
    let mut text = String::new();
    let limit = u64::try_from(SHELF_FILE).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path)?;
    file.take(limit.saturating_add(1))
        .read_to_string(&mut text)?;
    if text.len() > SHELF_FILE {
        return Err(FileError::TooLong);
    }
    let head: Head = serde_json::from_str(&text)?;
    if head.version != VERSION {
        return Err(FileError::Version(head.version));
    }
    let mut pages = PerKind::default();
    for kind in Kind::ALL {
        *pages.get_mut(kind) = vec![parse_page(kind, &text)?];
    }
    let (catalog, _) = Catalog::from_pages(pages);
    Ok(Found {
        gateway: head.gateway,
        key: ShelfKey {
            uid: vmcp_core::id::BackendUid((*head.uid).into()),
            url: head.url,
        },
        catalog,
        bytes: text.len(),
    })
}
