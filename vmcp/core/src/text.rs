//! Foreign text made fit to be shown.
//!
//! Owns the rule of R3.4: text that came from a backend, a client or a library may hold secrets and
//! control characters, and is as long as its author likes. Never decides where a text goes.

/// What stands where a secret stood.
const MASK: &str = "***";

/// Words that announce an authorization header's credential.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// Ends of names whose values are secrets, lower case, without separators.
const SECRET_NAMES: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "key",
    "credential",
    "credentials",
    "signature",
    "sig",
    "session",
    "sessionid",
];

/// Names whose whole line is secret.
const SECRET_LINES: [&str; 4] = ["authorization", "proxyauthorization", "cookie", "setcookie"];

/// Text without credentials and control characters, at most `max_bytes` long.
///
/// # Guarantees
/// User info in URLs, what follows `Bearer` and `Basic`, and the values of names that end like
/// `token`, `key` or `password` are masked; control characters become spaces; the cut is at a
/// character boundary and leaves no half of a secret, because masking comes first.
#[must_use]
pub fn sanitise(text: &str, max_bytes: usize) -> String {
    // Masking needs to look no further than the cut plus what masking may remove; a bound keeps
    // a hostile megabyte from being scanned four times.
    let text = clip(text, max_bytes.saturating_mul(4).max(4096));
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let clean = mask_userinfo(&clean);
    let clean = mask_schemes(&clean);
    let clean = mask_values(&clean);
    clip(clean.trim(), max_bytes).to_owned()
}

/// The longest prefix of at most `max_bytes` that ends at a character boundary.
#[must_use]
pub fn clip(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

fn mask_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(ends_authority).unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rfind('@') {
            Some(at) => {
                out.push_str(MASK);
                out.push_str(&authority[at..]);
            }
            None => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

fn ends_authority(c: char) -> bool {
    c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>')
}

fn mask_schemes(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = SCHEMES
        .iter()
        .filter_map(|s| lower[at..].find(s).map(|i| at + i + s.len()))
        .min()
    {
        let value = found + text[found..].len() - text[found..].trim_start().len();
        let end = text[value..]
            .find(ends_value)
            .map_or(text.len(), |i| value + i);
        out.push_str(&text[at..value]);
        if end > value {
            out.push_str(MASK);
        }
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

fn mask_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find(['=', ':']) {
        let sign = at + found;
        out.push_str(&text[at..=sign]);
        at = sign + 1;
        let Some(secrecy) = secrecy(&text[..sign]) else {
            continue;
        };
        let value = at
            + text[at..]
                .find(|c: char| c != ' ' && c != '"' && c != '\'')
                .unwrap_or(0);
        let end = match secrecy {
            Secrecy::Value => text[value..].find(ends_value),
            Secrecy::Line => text[value..].find(['"', '\'']),
        }
        .map_or(text.len(), |i| value + i);
        if end > value {
            out.push_str(&text[at..value]);
            out.push_str(MASK);
            at = end;
        }
    }
    out.push_str(&text[at..]);
    out
}

enum Secrecy {
    Value,
    Line,
}

/// What the name at the end of `before` says about the value after it.
fn secrecy(before: &str) -> Option<Secrecy> {
    let before = before.trim_end_matches(['"', '\'', ' ']);
    let start = before
        .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')))
        .map_or(0, |at| {
            at + before[at..].chars().next().map_or(1, char::len_utf8)
        });
    let name: String = before[start..]
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if SECRET_LINES.iter().any(|line| name.ends_with(line)) {
        return Some(Secrecy::Line);
    }
    SECRET_NAMES
        .iter()
        .any(|end| name.ends_with(end))
        .then_some(Secrecy::Value)
}

fn ends_value(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '&' | ',' | ';' | ')' | '}' | ']' | '<' | '>'
        )
}
