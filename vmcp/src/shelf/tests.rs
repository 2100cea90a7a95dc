use super::*;
use vmcp_core::catalog::{Entries, Entry, Kind};

const GATEWAY: &str = "uid-gateway";

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("vmcp-shelf-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn key(uid: &str) -> ShelfKey {
    ShelfKey {
        uid: BackendUid(uid.into()),
        url: "http://h:1/mcp".into(),
    }
}

fn catalog(tool: &str) -> Catalog {
    let entry = |name: &str, raw: String| Entry {
        name: name.into(),
        raw: raw.into(),
    };
    let odd = format!("{{ \"x\":1.50,\n\"name\" : \"{tool}\",\"\\u0061\":[1e2]}}");
    Catalog::of(Entries {
        tools: vec![entry(tool, odd)],
        resources: vec![entry("f:/a", r#"{"uri":"f:/a"}"#.to_owned())],
        ..Entries::default()
    })
}

fn stored(name: &str, uids: &[&str]) -> PathBuf {
    let folder = folder(name);
    let (mut shelf, stock) = Shelf::open(&folder, GATEWAY).unwrap();
    assert!(stock.is_empty());
    for uid in uids {
        shelf.store(key(uid), &BackendId::new("b", uid), &catalog("echo"));
    }
    folder
}

/// T22: what was stored comes back byte for byte, under its own key only.
#[test]
fn lists_come_back_as_they_were() {
    let folder = stored("round", &["a", "b"]);

    let (_, stock) = Shelf::open(&folder, GATEWAY).unwrap();

    assert_eq!(stock.len(), 2);
    assert_eq!(stock[&key("a")], catalog("echo"));
    assert_eq!(
        &stock[&key("a")].entries(Kind::Tools)[0].raw,
        &catalog("echo").tools[0].raw
    );
    let (_, foreign) = Shelf::open(&folder, "uid-another").unwrap();
    assert!(foreign.is_empty(), "files of another gateway");
}

/// A file that cannot be read whole costs itself and no other.
#[test]
fn a_corrupt_file_is_ignored() {
    let folder = stored("corrupt", &["a", "b", "c", "d"]);
    let all = files(&folder);
    let text = std::fs::read_to_string(&all[0]).unwrap();
    std::fs::write(&all[0], &text[..text.len() / 2]).unwrap();
    std::fs::write(&all[1], [0xff, 0xfe]).unwrap();
    let newer = std::fs::read_to_string(&all[2]).unwrap();
    std::fs::write(&all[2], newer.replacen("\"version\":1", "\"version\":2", 1)).unwrap();

    let (_, stock) = Shelf::open(&folder, GATEWAY).unwrap();

    assert_eq!(stock.len(), 1);
}

/// A draft that a crash left behind is no file of ours, and a folder that cannot be is no error.
#[test]
fn drafts_and_impossible_folders_are_no_trouble() {
    let folder = stored("draft", &["a"]);
    std::fs::write(folder.join("x.1.tmp"), "{").unwrap();

    assert_eq!(Shelf::open(&folder, GATEWAY).unwrap().1.len(), 1);
    let below_a_file = files(&folder)[0].join("sub");
    assert!(Shelf::open(&below_a_file, GATEWAY).is_none());
}

/// What is too large is not kept, and what was kept of it is removed.
#[test]
fn lists_above_the_limit_are_not_kept() {
    let folder = stored("large", &["a"]);
    let (mut shelf, _) = Shelf::open(&folder, GATEWAY).unwrap();
    let fat = format!(r#"{{"name":"fat","x":"{}"}}"#, "x".repeat(SHELF_FILE));
    let fat = Catalog::new(vec![Entry {
        name: "fat".into(),
        raw: fat.into(),
    }]);

    shelf.store(key("a"), &BackendId::new("b", "a"), &fat);

    assert!(files(&folder).is_empty());
    assert!(shelf.has(&key("a"), &fat), "said once");
}
