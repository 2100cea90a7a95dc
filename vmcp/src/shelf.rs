//! The last good lists of each backend, on disk.
//!
//! Owns one folder with one file for each backend of one gateway: written when its lists changed,
//! removed with the backend, read once at the start, so that a restarted gateway lists before any
//! backend is up. A cache and nothing more: whatever goes wrong here is a warning, and no request
//! ever waits for it. A file is whole or not there.

mod file;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use vmcp_core::catalog::{Catalog, CatalogHash};
use vmcp_core::id::{BackendId, BackendUid};
use vmcp_core::limits::{SHELF_BYTES, SHELF_FILE, SHELF_FILES};

use crate::snapshot::{BackendView, Snapshot, SnapshotReader};
use file::Written;

/// Whose lists a file holds. A backend that moved is not the one that was listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShelfKey {
    pub uid: BackendUid,
    pub url: Box<str>,
}

/// What was on the shelf at the start.
pub type Stock = HashMap<ShelfKey, Catalog>;

/// The folder, and what lies in it.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    /// UID of the VirtualMCPServer: files of others are left alone.
    gateway: Arc<str>,
    kept: HashMap<ShelfKey, Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    /// `None`: could not be written; not tried again before they change.
    bytes: Option<usize>,
    hash: CatalogHash,
}

impl Shelf {
    /// The shelf in this folder, which is made, and what lies on it. `None` where there can be
    /// none.
    #[must_use]
    pub fn open(folder: &Path, gateway: &str) -> Option<(Self, Stock)> {
        if let Err(error) = std::fs::create_dir_all(folder) {
            let path = folder.display();
            tracing::warn!(%path, %error, "lists are not kept: the folder cannot be made");
            return None;
        }
        let mut shelf = Self {
            folder: folder.to_owned(),
            gateway: gateway.into(),
            kept: HashMap::new(),
        };
        let stock = shelf.load();
        Some((shelf, stock))
    }

    /// Keeps the folder as the snapshots say, until stopped.
    pub async fn keep(mut self, mut snapshots: SnapshotReader, stop: CancellationToken) {
        loop {
            let snapshot = snapshots.load();
            if snapshot.configured && self.differs(&snapshot) {
                // Files are slow at times: not on a thread that serves.
                let done = tokio::task::spawn_blocking(move || {
                    self.sync(&snapshot);
                    self
                });
                match done.await {
                    Ok(shelf) => self = shelf,
                    Err(_) => return,
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = snapshots.changed.changed() => if changed.is_err() { return },
            }
        }
    }

    fn load(&mut self) -> Stock {
        let mut stock = Stock::new();
        let mut total = 0;
        for path in files(&self.folder) {
            let read = match file::read(&path) {
                Ok(read) => read,
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "kept lists are not used");
                    continue;
                }
            };
            if *read.gateway != *self.gateway {
                continue;
            }
            total += read.bytes;
            if total > SHELF_BYTES {
                tracing::warn!("kept lists above the limit are not used");
                break;
            }
            let kept = Kept {
                path,
                bytes: Some(read.bytes),
                hash: read.catalog.hash,
            };
            self.kept.insert(read.key.clone(), kept);
            stock.insert(read.key, read.catalog);
        }
        if !stock.is_empty() {
            let backends = stock.len();
            tracing::info!(
                backends,
                "lists of before the start are served until newer ones come"
            );
        }
        stock
    }

    fn differs(&self, snapshot: &Snapshot) -> bool {
        let wanted = wanted(snapshot);
        let stays = staying(snapshot);
        wanted
            .iter()
            .any(|(key, _, catalog)| !self.has(key, catalog))
            || self.kept.keys().any(|key| !stays.contains(key))
    }

    fn has(&self, key: &ShelfKey, catalog: &Catalog) -> bool {
        self.kept
            .get(key)
            .is_some_and(|kept| kept.hash == catalog.hash)
    }

    fn sync(&mut self, snapshot: &Snapshot) {
        let stays = staying(snapshot);
        self.kept.retain(|key, kept| {
            let stays = stays.contains(key);
            if !stays && kept.bytes.is_some() {
                remove(&kept.path);
            }
            stays
        });
        for (key, id, catalog) in wanted(snapshot) {
            if !self.has(&key, catalog) {
                self.store(key, id, catalog);
            }
        }
    }

    fn store(&mut self, key: ShelfKey, id: &BackendId, catalog: &Catalog) {
        let written = Written {
            gateway: &self.gateway,
            key: &key,
            name: &id.name.0,
            catalog,
        };
        let text = written.text();
        let others = self.kept.iter().filter(|(other, _)| **other != key);
        let total: usize = others.filter_map(|(_, kept)| kept.bytes).sum();
        let fits = text.len() <= SHELF_FILE && total + text.len() <= SHELF_BYTES;
        let path = self.folder.join(file::name(&self.gateway, &key));
        let backend = &*id.name.0;
        let written = if !fits || self.kept.len() >= SHELF_FILES {
            tracing::warn!(
                backend,
                bytes = text.len(),
                "lists are too large to be kept"
            );
            false
        } else if let Err(error) = file::write(&path, &text) {
            tracing::warn!(backend, %error, "lists cannot be kept");
            false
        } else {
            true
        };
        if !written {
            // Better none than old ones.
            remove(&path);
        }
        let kept = Kept {
            path,
            bytes: written.then_some(text.len()),
            hash: catalog.hash,
        };
        self.kept.insert(key, kept);
    }
}

/// What should lie on the shelf.
fn wanted(snapshot: &Snapshot) -> Vec<(ShelfKey, &BackendId, &Catalog)> {
    let key = |view: &BackendView| {
        view.endpoint.as_ref().map(|endpoint| ShelfKey {
            uid: view.id.uid.clone(),
            url: endpoint.url.as_str().into(),
        })
    };
    snapshot
        .backends
        .iter()
        .filter_map(|view| Some((key(view)?, &view.id, view.catalog.as_ref()?)))
        .collect()
}

/// What may go on lying there: of every backend that there is, where it is now. Of one that is
/// nowhere just now nothing is known, and its old place may be its next.
fn staying(snapshot: &Snapshot) -> Staying<'_> {
    let mut staying = Staying::default();
    for view in snapshot.backends.iter() {
        match &view.endpoint {
            Some(endpoint) => {
                staying.at.insert((&view.id.uid, endpoint.url.as_str()));
            }
            None => {
                staying.nowhere.insert(&view.id.uid);
            }
        }
    }
    staying
}

#[derive(Default)]
struct Staying<'a> {
    at: HashSet<(&'a BackendUid, &'a str)>,
    nowhere: HashSet<&'a BackendUid>,
}

impl Staying<'_> {
    fn contains(&self, key: &ShelfKey) -> bool {
        self.at.contains(&(&key.uid, &*key.url)) || self.nowhere.contains(&key.uid)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == file::EXTENSION))
        .collect();
    paths.sort();
    paths.truncate(SHELF_FILES);
    paths
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let path = path.display();
            tracing::warn!(%path, %error, "kept lists cannot be removed");
        }
        _ => {}
    }
}
