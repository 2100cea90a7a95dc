//! Objects from files: reading, parsing, checking, naming.
//!
//! Owns the path from file names to checked objects and the identity that files give them. Never
//! watches and never keeps anything but the incarnations of names. Every fault says `FILE:LINE:
//! field: message`, because a person must find it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use vmcp_crds::{GROUP, MCPServer, VERSION, VirtualMCPServer};

use super::check::Schemas;
use super::node::{self, Node};

/// Largest configuration file: a thousand servers of a kilobyte each, four times over.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Most files of one configuration: one for each server that a gateway can have.
const MAX_FILES: usize = 1100;

/// What `-f` reads in a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// One file as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// The objects of one configuration, with UIDs and generations set.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    pub gateway: VirtualMCPServer,
    pub servers: Vec<MCPServer>,
}

/// One fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    pub file: PathBuf,
    /// `None` where the file as a whole is meant.
    pub line: Option<u64>,
    pub field: String,
    pub message: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match self.field.as_str() {
            "" => write!(f, ": {}", self.message),
            field => write!(f, ": {field}: {}", self.message),
        }
    }
}

/// Why a configuration cannot be used; every fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadError(pub Vec<FileFault>);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl LoadError {
    fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self(vec![FileFault {
            file: file.to_owned(),
            line: None,
            field: String::new(),
            message: message.into(),
        }])
    }
}

/// The files that the paths mean, read. A folder means its YAML and JSON files, by name.
///
/// # Errors
/// A path that is missing or unreadable, too many files, a file that is too large.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, LoadError> {
    let mut files = BTreeSet::new();
    for path in paths {
        let found = expand(path).map_err(|error| LoadError::of_file(path, error.to_string()))?;
        files.extend(found);
    }
    if files.len() > MAX_FILES {
        let first = paths
            .first()
            .map(PathBuf::as_path)
            .unwrap_or(Path::new("-f"));
        return Err(LoadError::of_file(
            first,
            format!("more than {MAX_FILES} files"),
        ));
    }
    files.into_iter().map(read_one).collect()
}

fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let known = file
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| EXTENSIONS.contains(&e));
        if known && !hidden && file.is_file() {
            files.push(file);
        }
    }
    Ok(files)
}

fn read_one(path: PathBuf) -> Result<Source, LoadError> {
    let unreadable = |error: io::Error| LoadError::of_file(&path, error.to_string());
    if fs::metadata(&path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(LoadError::of_file(
            &path,
            format!("larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    let text = fs::read_to_string(&path).map_err(unreadable)?;
    Ok(Source { path, text })
}

/// Turns sources into objects, and remembers which names were there before.
#[derive(Debug)]
pub struct Loader {
    schemas: Schemas,
    /// How often an object was created anew under its name; kept for names that are gone too.
    incarnations: BTreeMap<(String, String), Incarnation>,
    /// The spec of the gateway object and how often it changed.
    gateway: (Option<VirtualMCPServer>, i64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Incarnation {
    number: u32,
    present: bool,
}

impl Loader {
    /// A loader that has seen nothing yet.
    ///
    /// # Errors
    /// When the schemas cannot be generated; a test proves that they can.
    pub fn new() -> Result<Self, vmcp_crds::schema::GenerateError> {
        let schemas = Schemas::installed()?;
        Ok(Self {
            schemas,
            incarnations: BTreeMap::new(),
            gateway: (None, 0),
        })
    }

    /// The objects of these sources. A failed load changes nothing that is remembered.
    ///
    /// # Errors
    /// All faults that were found, each with its place.
    pub fn load(&mut self, sources: &[Source]) -> Result<Objects, LoadError> {
        let mut batch = Batch::default();
        for source in sources {
            self.parse(source, &mut batch);
        }
        let gateway = batch.gateway(sources);
        match gateway {
            Some(gateway) if batch.faults.is_empty() => Ok(self.identify(
                gateway,
                batch
                    .servers
                    .into_values()
                    .map(|(_, server)| server)
                    .collect(),
            )),
            _ => Err(LoadError(batch.faults)),
        }
    }

    fn parse(&self, source: &Source, batch: &mut Batch) {
        let documents = match node::parse(&source.text) {
            Ok(documents) => documents,
            Err(error) => return batch.fault(&source.path, error.line, "", &error.message),
        };
        for document in documents {
            self.document(&source.path, &document, batch);
        }
    }

    fn document(&self, path: &Path, document: &Node, batch: &mut Batch) {
        let word = |key| document.get(key).and_then(Node::as_str).unwrap_or_default();
        let (api, kind) = (word("apiVersion"), word("kind"));
        if api.is_empty() || kind.is_empty() {
            return batch.fault(
                path,
                document.line,
                "",
                "no Kubernetes object: needs apiVersion and kind",
            );
        }
        let ours = format!("{GROUP}/{VERSION}");
        if api != ours {
            if api.starts_with(GROUP) || kind == "MCPServer" || kind == "VirtualMCPServer" {
                batch.fault(
                    path,
                    document.line,
                    "apiVersion",
                    &format!("{api:?} is not {ours}"),
                );
            } else {
                tracing::debug!(file = %path.display(), kind, "object of another API skipped");
            }
            return;
        }
        if !self.schemas.kinds().any(|known| known == kind) {
            let known: Vec<&str> = self.schemas.kinds().collect();
            let text = format!("{kind:?} is not one of {}", known.join(", "));
            return batch.fault(path, document.line, "kind", &text);
        }
        let faults = self.schemas.check(kind, document);
        if faults.is_empty() {
            batch.object(path, kind, document);
        }
        for fault in faults {
            batch.fault(path, fault.line, &fault.field, &fault.message);
        }
    }

    fn identify(&mut self, mut gateway: VirtualMCPServer, mut servers: Vec<MCPServer>) -> Objects {
        let mut named: Vec<(&'static str, &mut kube::core::ObjectMeta)> =
            vec![("VirtualMCPServer", &mut gateway.metadata)];
        named.extend(
            servers
                .iter_mut()
                .map(|server| ("MCPServer", &mut server.metadata)),
        );
        let mut present = BTreeSet::new();
        for (kind, metadata) in named {
            let key = (kind.to_owned(), metadata.name.clone().unwrap_or_default());
            let incarnation = self.incarnations.entry(key.clone()).or_default();
            if !incarnation.present {
                incarnation.number += 1;
                incarnation.present = true;
            }
            metadata.namespace = None;
            metadata.uid = Some(uid(&key, incarnation.number));
            present.insert(key);
        }
        for (key, incarnation) in &mut self.incarnations {
            incarnation.present = present.contains(key);
        }
        if self
            .gateway
            .0
            .as_ref()
            .is_none_or(|old| old.spec != gateway.spec)
        {
            self.gateway = (Some(gateway.clone()), self.gateway.1 + 1);
        }
        gateway.metadata.generation = Some(self.gateway.1);
        Objects { gateway, servers }
    }
}

/// Stable over restarts, so that dashboards keep their series; different after a deletion.
fn uid((kind, name): &(String, String), incarnation: u32) -> String {
    let digest = Sha256::digest(format!("{kind}/{name}/{incarnation}"));
    let hex: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("file-{hex}")
}

/// What one load has found so far.
#[derive(Debug, Default)]
struct Batch {
    gateways: Vec<(Place, VirtualMCPServer)>,
    servers: BTreeMap<String, (Place, MCPServer)>,
    faults: Vec<FileFault>,
}

impl Batch {
    fn fault(&mut self, file: &Path, line: u64, field: &str, message: &str) {
        self.faults.push(FileFault {
            file: file.to_owned(),
            line: Some(line),
            field: field.to_owned(),
            message: message.to_owned(),
        });
    }

    fn object(&mut self, file: &Path, kind: &str, document: &Node) {
        let place = Place {
            file: file.to_owned(),
            line: document.line,
        };
        if kind == "VirtualMCPServer" {
            if let Some(object) = self.typed(&place, document) {
                self.gateways.push((place, object));
            }
        } else if let Some(server) = self.typed::<MCPServer>(&place, document) {
            let name = server.metadata.name.clone().unwrap_or_default();
            if let Some((first, _)) = self.servers.get(&name) {
                let text = format!("MCPServer {name:?} is defined at {first} already");
                return self.fault(file, document.line, "metadata.name", &text);
            }
            self.servers.insert(name, (place, server));
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, place: &Place, document: &Node) -> Option<T> {
        match serde_json::from_value(document.to_json()) {
            Ok(object) => Some(object),
            Err(error) => {
                self.fault(&place.file, place.line, "", &error.to_string());
                None
            }
        }
    }

    /// The one gateway object; none or several are faults.
    fn gateway(&mut self, sources: &[Source]) -> Option<VirtualMCPServer> {
        let mut gateways = std::mem::take(&mut self.gateways).into_iter();
        let first = gateways.next();
        if first.is_none() && self.faults.is_empty() {
            let file = sources
                .first()
                .map_or_else(|| PathBuf::from("-f"), |s| s.path.clone());
            let message =
                "no VirtualMCPServer in the given files: exactly one is needed".to_owned();
            self.faults.push(FileFault {
                file,
                line: None,
                field: String::new(),
                message,
            });
        }
        let (first_place, first) = first?;
        for (place, other) in gateways {
            let name = |object: &VirtualMCPServer| object.metadata.name.clone().unwrap_or_default();
            let text = format!(
                "several VirtualMCPServers: {:?} here and {:?} at {first_place}; exactly one is served",
                name(&other),
                name(&first),
            );
            self.fault(&place.file, place.line, "kind", &text);
        }
        Some(first)
    }
}

#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[cfg(test)]
mod tests;
