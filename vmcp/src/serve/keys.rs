//! The session keys, from the folder where they are mounted.
//!
//! Owns the order of keys: by file name, ascending; the first seals, all of them open. Whoever lays
//! the files decides by their names which key is the new one (docs/api.md, "Session keys"). Read
//! once: a replica that must learn a key is started anew.

use std::path::{Path, PathBuf};

use crate::gateway::seal::KEY_LEN;

/// Keys that a folder may hold: two are enough for a rotation.
const MAX_KEYS: usize = 8;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read session keys in {path}: {source}", path = path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("session key {path} is not {KEY_LEN} bytes long", path = path.display())]
    Length { path: PathBuf },
    #[error("no session key in {path}", path = path.display())]
    None { path: PathBuf },
    #[error("over {MAX_KEYS} session keys in {path}", path = path.display())]
    TooMany { path: PathBuf },
}

/// All keys of a folder, the one that seals first.
///
/// # Errors
/// Any file that is no key: a gateway that silently lacks one would lose sessions.
pub fn read(folder: &Path) -> Result<Vec<[u8; KEY_LEN]>, KeysError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeysError::Read { path, source }
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        // The kubelet keeps its own links under names with a dot.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    if paths.len() > MAX_KEYS {
        return Err(KeysError::TooMany {
            path: folder.to_owned(),
        });
    }
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path).map_err(failed(&path))?;
        let key = bytes.try_into().map_err(|_| KeysError::Length { path })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(KeysError::None {
            path: folder.to_owned(),
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vmcp-keys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn keys_come_in_the_order_of_their_names() {
        let files: [(&str, &[u8]); 3] = [("1", &[1; 32]), ("0", &[7; 32]), ("..data", b"x")];
        let keys = read(&folder("order", &files)).unwrap();

        assert_eq!(keys, vec![[7; 32], [1; 32]]);
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error() {
        let short = read(&folder("short", &[("0", &[1; 31])]));
        let none = read(&folder("none", &[]));

        assert!(matches!(short, Err(KeysError::Length { .. })));
        assert!(matches!(none, Err(KeysError::None { .. })));
        assert!(matches!(
            read(Path::new("/nowhere")),
            Err(KeysError::Read { .. })
        ));
    }
}
