//! The project's own files, for the tests that read them: where the checkout is, which files are
//! ours, and what of a Rust file is code rather than comment, string or test.
//!
//! Never resolves names or types: these are readers of text, good enough for rules that a person
//! can also check by eye, and quick enough to run with every test run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Folders that hold nothing of ours.
const FOREIGN: &[&str] = &[".git", "target", ".cache", "node_modules", "__pycache__"];

/// The root of the checkout, whatever the working directory is.
///
/// # Errors
/// The package was moved away from its workspace.
pub fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the package has no parent folder")?;
    ensure!(
        root.join("Cargo.lock").is_file(),
        "no workspace at {}",
        root.display()
    );
    Ok(root.to_owned())
}

/// A file of ours: its path relative to the root, with `/`, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Relative to the root of the checkout.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Every text file of the checkout, sorted by path; binary files and foreign folders left out.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn all() -> Result<Vec<Source>> {
    let root = root()?;
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                if !FOREIGN.iter().any(|foreign| name == *foreign) {
                    folders.push(entry.path());
                }
            } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
                let path = entry
                    .path()
                    .strip_prefix(&root)?
                    .to_string_lossy()
                    .into_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The Rust files among [`all`].
///
/// # Errors
/// As [`all`].
pub fn rust() -> Result<Vec<Source>> {
    Ok(all()?
        .into_iter()
        .filter(|source| source.path.ends_with(".rs"))
        .collect())
}

/// `text` with comments, strings and character literals blanked out; every line keeps its number.
#[must_use]
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |rest| rest[0] == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        '\'' => char_end(chars, at),
        'r' if at == 0 || !is_ident(chars[at - 1]) || chars[at - 1] == 'b' => {
            raw_string_end(chars, at)
        }
        _ => at,
    }
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(chars: &[char], from: usize, matches: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len())
        .find(|i| matches(&chars[*i..]))
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// A quote starts a character literal only if it is closed after one character or escape;
/// otherwise it is a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return find(chars, at + 3, |rest| rest[0] == '\'') + 1;
    }
    if chars.get(at + 2) == Some(&'\'') {
        at + 3
    } else {
        at
    }
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let body = at + 2 + hashes;
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|c| *c == '#')
    };
    (find(chars, body, closes) + 1 + hashes).min(chars.len())
}

/// [`code`] without the modules that are only compiled for tests.
#[must_use]
pub fn production_code(text: &str) -> String {
    let mut code = code(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = item_end(&code, start);
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Where the item that starts at `start` ends: at its `;`, or at the brace that closes it.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code[start..].char_indices() {
        let after = start + offset + c.len_utf8();
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return after,
            '}' => depth -= 1,
            ';' if depth == 0 => return after,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::{code, production_code};

    /// Build 1: the readers of the house rules see code, not what is written about it.
    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "let a = \"tokio::x\"; // hyper::y\n/* kube /* nested */ ::z */ let b = 'x';\nlet c = r#\"std::fs \" \"#; fn f<'a>(d: &'a str) {}\n";

        let seen = code(text);

        assert_eq!(seen.lines().count(), text.lines().count());
        for gone in ["tokio", "hyper", "kube", "nested", "'x'", "std::fs"] {
            assert!(!seen.contains(gone), "{gone} is left in {seen:?}");
        }
        for kept in ["let a", "let b", "let c", "fn f<'a>(d: &'a str) {}"] {
            assert!(seen.contains(kept), "{kept} is gone from {seen:?}");
        }
    }

    /// Build 1: test modules do not count as production code, what follows them does.
    #[test]
    fn a_test_module_is_left_out_and_the_code_behind_it_is_not() {
        let text =
            "use a::b;\n#[cfg(test)]\nmod tests { use tokio::x; fn f() { {} } }\nuse c::d;\n";

        let seen = production_code(text);

        assert!(!seen.contains("tokio"));
        assert!(seen.contains("a::b") && seen.contains("c::d"));
    }
}
