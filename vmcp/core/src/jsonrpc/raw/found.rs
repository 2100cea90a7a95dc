//! Some members of an object, found in one pass.
//!
//! Owns what is decided from them: the first of a name, whether it is the only one, and the object
//! with another value in its place.

use std::ops::Range;

use super::scan::Scanner;
use super::{Object, RawError};

/// The members that were looked for.
#[derive(Clone, Debug)]
pub struct Found<'a, const N: usize> {
    object: &'a str,
    keys: [&'a str; N],
    first: [Option<Range<usize>>; N],
    twice: [bool; N],
    /// It is an object, to its end.
    whole: bool,
}

impl<'a, const N: usize> Found<'a, N> {
    /// Looks at each member of the object once. What is no object has none.
    #[must_use]
    pub fn look(object: &'a str, keys: [&'a str; N]) -> Self {
        let mut found = Self {
            object,
            keys,
            first: [const { None }; N],
            twice: [false; N],
            whole: false,
        };
        if let Some(mut scanner) = Scanner::open(object) {
            found.whole = found.walk(&mut scanner).is_some() && scanner.at_end();
        }
        found
    }

    fn walk(&mut self, scanner: &mut Scanner<'_>) -> Option<()> {
        while let Some(member) = scanner.next_member()? {
            let key = self.keys.iter().position(|key| member.is(self.object, key));
            if let Some(at) = key {
                match &mut self.first[at] {
                    Some(_) => self.twice[at] = true,
                    first => *first = Some(member.value),
                }
            }
        }
        Some(())
    }

    /// The raw value of a member, by the place of its key.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&'a str> {
        let first = self.first[at].clone()?;
        Some(&self.object[first])
    }

    /// Nobody who reads the object finds other values: it is whole, and none of the members that were
    /// looked for stands in it twice.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.whole && !self.twice.contains(&true)
    }

    /// The object with another value for a member that it has.
    ///
    /// # Errors
    /// When it is no object or has no such member.
    pub fn replaced(&self, at: usize, new_raw: &str) -> Result<String, RawError> {
        if !self.whole {
            return Err(RawError::NotAnObject);
        }
        let old = self.first[at].as_ref().ok_or(RawError::NoSuchMember)?;
        if self.twice[at] {
            let object = Object::scan(self.object)?;
            return Ok(object.rebuild(&[(self.keys[at], new_raw)], &[]));
        }
        let (before, after) = (&self.object[..old.start], &self.object[old.end..]);
        Ok([before, new_raw, after].concat())
    }
}
