//! Desired state from files that are watched.
//!
//! Owns the watch, the debounce and the reload. A bad reload changes nothing but what is said about
//! the configuration: the last good one stays. Never restarts anything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::desired::{Desired, Site, desired};
use super::load::{LoadError, Loader, Source, read};
use crate::registry::{Event, Events};

/// An editor writes a file in several steps, `kubectl`-like tools several files.
const DEBOUNCE: Duration = Duration::from_millis(150);

/// The longest that a stream of changes can put off a reload.
const DEBOUNCE_LIMIT: Duration = Duration::from_secs(1);

/// Some file systems (network mounts) announce nothing; comparing a few files is cheap.
const POLL: Duration = Duration::from_secs(2);

/// What there is no namespace for; only in-cluster names are made from it.
const NAMESPACE: &str = "default";

/// Why the first load failed; the program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the schemas cannot be generated")]
    Schemas(#[from] vmcp_crds::schema::GenerateError),
}

/// A configuration in files.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    allow_hosts: Vec<String>,
    loader: Loader,
    /// What was tried last, good or bad: the same again is no news.
    tried: Result<Vec<Source>, LoadError>,
}

impl Files {
    /// Loads the configuration for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(
        paths: Vec<PathBuf>,
        allow_hosts: Vec<String>,
    ) -> Result<(Self, Desired), StartError> {
        let mut loader = Loader::new()?;
        let sources = read(&paths)?;
        let objects = loader.load(&sources)?;
        let site = Site {
            namespace: NAMESPACE,
            allow_hosts: &allow_hosts,
        };
        let first = desired(&objects.gateway, &objects.servers, site);
        Ok((
            Self {
                paths,
                allow_hosts,
                loader,
                tried: Ok(sources),
            },
            first,
        ))
    }

    /// Follows the files until cancelled.
    pub async fn run(mut self, events: Events, cancel: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        let _watcher = watch(&self.paths, changed);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
                Some(()) = changes.recv() => settle(&mut changes).await,
            }
            let paths = self.paths.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || read(&paths)).await else {
                continue;
            };
            if let Some(event) = self.reload(read)
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }

    fn reload(&mut self, read: Result<Vec<Source>, LoadError>) -> Option<Event> {
        if read == self.tried {
            return None;
        }
        let loaded = match &read {
            Ok(sources) => self.loader.load(sources),
            Err(error) => Err(error.clone()),
        };
        self.tried = read;
        Some(match loaded {
            Ok(objects) => {
                let site = Site {
                    namespace: NAMESPACE,
                    allow_hosts: &self.allow_hosts,
                };
                Event::Discovered(Box::new(desired(&objects.gateway, &objects.servers, site)))
            }
            Err(error) => Event::Rejected {
                message: error.to_string(),
            },
        })
    }
}

/// Waits until the changes pause.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let pause =
        async { while let Ok(Some(())) = tokio::time::timeout(DEBOUNCE, changes.recv()).await {} };
    let _ = tokio::time::timeout(DEBOUNCE_LIMIT, pause).await;
}

/// A watcher of the folders that hold the paths: a file that is replaced has a new inode.
fn watch(paths: &[PathBuf], changed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let notify = move |event: notify::Result<notify::Event>| {
        if is_news(&event) {
            // A full channel holds the news already.
            let _ = changed.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(notify) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "files cannot be watched, they are polled");
            return None;
        }
    };
    for path in paths {
        let folder = if path.is_dir() {
            path.as_path()
        } else {
            parent(path)
        };
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, folder = %folder.display(), "folder cannot be watched, it is polled");
        }
    }
    Some(watcher)
}

/// Not that somebody reads: we do, whenever there was news.
fn is_news(event: &notify::Result<notify::Event>) -> bool {
    let reads = |kind| matches!(kind, EventKind::Access(how) if how != AccessKind::Close(AccessMode::Write));
    event.as_ref().is_ok_and(|event| !reads(event.kind)) || event.is_err()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: vmcp.dev/v1alpha1\nkind: VirtualMCPServer\n\
        metadata: {name: all}\nspec: {backends: {selector: {}}}\n";

    fn files(text: &str) -> Files {
        let dir = std::env::temp_dir().join(format!("vmcp-files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("gateway.yaml");
        std::fs::write(&path, text).unwrap();
        Files::open(vec![path], Vec::new()).unwrap().0
    }

    fn sources(text: &str) -> Result<Vec<Source>, LoadError> {
        Ok(vec![Source {
            path: "gateway.yaml".into(),
            text: text.to_owned(),
        }])
    }

    /// Build 8: a bad reload is said, and said once; a good one follows.
    #[test]
    fn a_bad_reload_is_rejected_once_and_the_next_good_one_is_taken() {
        let mut files = files(GOOD);
        let edited = GOOD.replace("selector: {}", "refs: [{name: a}]");

        let bad = files.reload(sources("kind: ["));
        let again = files.reload(sources("kind: ["));
        let good = files.reload(sources(&edited));

        assert!(
            matches!(bad, Some(Event::Rejected { message }) if message.contains("gateway.yaml:"))
        );
        assert!(again.is_none());
        assert!(matches!(good, Some(Event::Discovered(desired)) if desired.backends.len() == 1));
    }

    /// Else the gateway would read its files again and again because it has read them.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn to_read_a_file_is_no_news_and_to_write_one_is() {
        let dir = std::env::temp_dir().join(format!("vmcp-news-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("gateway.yaml");
        std::fs::write(&file, GOOD).unwrap();
        let (seen, mut events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event| _ = seen.send(event)).unwrap();
        watcher.watch(&dir, RecursiveMode::NonRecursive).unwrap();

        std::fs::read(&file).unwrap();
        let last = dir.join("last.yaml");
        std::fs::write(&last, GOOD).unwrap();

        // Events come in order: what the reading brought on is before the first of the writing.
        let (mut read, mut written) = (Vec::new(), false);
        while !written {
            let event = tokio::time::timeout(Duration::from_secs(10), events.recv());
            let event = event.await.unwrap().unwrap();
            let news = is_news(&event);
            written = event.as_ref().unwrap().paths.contains(&last) && news;
            if !written {
                read.push((event, news));
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(!read.is_empty(), "reading is seen");
        assert!(read.iter().all(|(_, news)| !news), "{read:?}");
    }

    #[test]
    fn going_back_to_the_good_text_after_a_bad_one_is_news() {
        let mut files = files(GOOD);

        files.reload(sources("kind: ["));

        assert!(matches!(
            files.reload(sources(GOOD)),
            Some(Event::Discovered(_))
        ));
    }
}
