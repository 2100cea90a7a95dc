//! Surgery on raw JSON objects: one member changes, every other byte stays (T22).
//!
//! Owns finding, replacing, adding and removing of members at the top level of an object. Never
//! looks inside a value and never reformats one. Meant for objects that a JSON parser has seen;
//! anything else is refused or left as it is, and never makes it panic.
//!
//! Where a key stands twice the first one counts, for every function here. Replacing drops the
//! later ones, so that whoever reads the result next cannot see another value than was decided on.

mod found;
mod scan;

pub use found::Found;

use scan::{Member, Scanner, means, spells};

pub(super) use scan::string_stop;

/// The text is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("the object has no such member")]
    NoSuchMember,
}

#[derive(Debug)]
struct Object<'a> {
    text: &'a str,
    /// Just after the opening brace.
    inside: usize,
    members: Vec<Member>,
}

/// The raw value of a member.
#[must_use]
pub fn top_level<'a>(obj: &'a str, key: &str) -> Option<&'a str> {
    let mut scanner = Scanner::open(obj)?;
    while let Some(member) = scanner.next_member()? {
        if member.is(obj, key) {
            return Some(&obj[member.value]);
        }
    }
    None
}

/// The members of an object in order: raw key (quotes included) and raw value.
///
/// # Errors
/// When `obj` is no object.
pub fn members(obj: &str) -> Result<Vec<(&str, &str)>, RawError> {
    let object = Object::scan(obj)?;
    Ok(object
        .members
        .into_iter()
        .map(|m| (&obj[m.key], &obj[m.value]))
        .collect())
}

/// The object with another value for a member that it has.
///
/// # Errors
/// When `obj` is no object or has no such member.
pub fn replace_top_level(obj: &str, key: &str, new_raw: &str) -> Result<String, RawError> {
    Found::look(obj, [key]).replaced(0, new_raw)
}

/// The object with these members appended, but for those that it has already. A text that is no
/// object is returned as it is.
#[must_use]
pub fn with_members(obj: &str, members: &[(&str, &str)]) -> String {
    match Object::scan(obj) {
        Ok(object) => object.append(members),
        Err(_) => obj.to_owned(),
    }
}

/// The object with these members, replaced where it has them and appended where not. A text that is
/// no object is returned as it is.
#[must_use]
pub fn set_members(obj: &str, members: &[(&str, &str)]) -> String {
    match Object::scan(obj) {
        Ok(object) => object.set(members),
        Err(_) => obj.to_owned(),
    }
}

/// The object without these members. A text that is no object is returned as it is.
#[must_use]
pub fn without_members(obj: &str, keys: &[&str]) -> String {
    match Object::scan(obj) {
        Ok(object) => object.rebuild(&[], keys),
        Err(_) => obj.to_owned(),
    }
}

/// Is `raw_key`, quotes included, this key? Escapes count as what they mean.
#[must_use]
pub fn key_is(raw_key: &str, key: &str) -> bool {
    if raw_key.contains('\\') {
        return means(raw_key, key);
    }
    spells(raw_key, key)
}

impl<'a> Object<'a> {
    fn scan(text: &'a str) -> Result<Self, RawError> {
        let mut scanner = Scanner::open(text).ok_or(RawError::NotAnObject)?;
        let inside = scanner.at;
        let mut members = Vec::new();
        while let Some(member) = scanner.next_member().ok_or(RawError::NotAnObject)? {
            members.push(member);
        }
        if !scanner.at_end() {
            return Err(RawError::NotAnObject);
        }
        Ok(Self {
            text,
            inside,
            members,
        })
    }

    fn has(&self, key: &str) -> bool {
        self.members.iter().any(|member| member.is(self.text, key))
    }

    /// The text with some values replaced and some members left out.
    fn rebuild(&self, replace: &[(&str, &str)], remove: &[&str]) -> String {
        let Some(last) = self.members.last() else {
            return self.text.to_owned();
        };
        let (mut out, _) = self.body(replace, remove);
        out.push_str(&self.text[last.value.end..]);
        out
    }

    /// As `rebuild`, and what could not be replaced is appended.
    fn set(&self, members: &[(&str, &str)]) -> String {
        let Some(last) = self.members.last() else {
            return self.append(members);
        };
        let (mut out, done) = self.body(members, &[]);
        for (index, (key, raw)) in members.iter().enumerate() {
            let twice = members[..index].iter().any(|(earlier, _)| earlier == key);
            if !done[index] && !twice {
                out.push(',');
                push_member(&mut out, key, raw);
            }
        }
        out.push_str(&self.text[last.value.end..]);
        out
    }

    /// All up to the end of the last member, and which of `replace` were found.
    fn body(&self, replace: &[(&str, &str)], remove: &[&str]) -> (String, Vec<bool>) {
        let grown: usize = replace
            .iter()
            .map(|(key, raw)| key.len() + raw.len() + 4)
            .sum();
        let mut out = String::with_capacity(self.text.len() + grown);
        let mut done = vec![false; replace.len()];
        let Some(first) = self.members.first() else {
            return (out, done);
        };
        out.push_str(&self.text[..first.key.start]);
        let mut kept = 0_usize;
        let mut gap = first.key.start;
        for member in &self.members {
            // The bytes between the member before, whoever that was, and this one.
            let separator = gap..member.key.start;
            gap = member.value.end;
            let new = replace
                .iter()
                .position(|(key, _)| member.is(self.text, key));
            if remove.iter().any(|key| member.is(self.text, key)) || new.is_some_and(|at| done[at])
            {
                continue;
            }
            if kept > 0 {
                out.push_str(&self.text[separator]);
            }
            kept += 1;
            match new {
                Some(at) => {
                    out.push_str(&self.text[member.key.start..member.value.start]);
                    out.push_str(replace[at].1);
                    done[at] = true;
                }
                None => out.push_str(&self.text[member.key.start..member.value.end]),
            }
        }
        (out, done)
    }

    fn append(&self, members: &[(&str, &str)]) -> String {
        let at = self
            .members
            .last()
            .map_or(self.inside, |last| last.value.end);
        let grown: usize = members
            .iter()
            .map(|(key, raw)| key.len() + raw.len() + 4)
            .sum();
        let mut out = String::with_capacity(self.text.len() + grown);
        out.push_str(&self.text[..at]);
        let mut first = self.members.is_empty();
        for (index, (key, raw)) in members.iter().enumerate() {
            let twice = members[..index].iter().any(|(earlier, _)| earlier == key);
            if twice || self.has(key) {
                continue;
            }
            if !first {
                out.push(',');
            }
            first = false;
            push_member(&mut out, key, raw);
        }
        out.push_str(&self.text[at..]);
        out
    }
}

fn push_member(out: &mut String, key: &str, raw: &str) {
    super::push_quoted(out, key);
    out.push(':');
    out.push_str(raw);
}
