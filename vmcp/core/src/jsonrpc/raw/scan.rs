//! Walking a raw JSON object, member by member.
//!
//! Owns where keys and values begin and end. Never looks inside a value, never copies, and never
//! panics: where the text is no object it says so.

use std::ops::Range;

use memchr::memchr2;

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Quotes included.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
    /// The key means what it spells: it has no escape.
    plain: bool,
}

impl Member {
    /// Is this its key? Escapes count as what they mean.
    pub(super) fn is(&self, text: &str, key: &str) -> bool {
        let raw_key = &text[self.key.clone()];
        if self.plain {
            return spells(raw_key, key);
        }
        means(raw_key, key)
    }
}

/// Is a raw key without escapes, quotes included, this key?
pub(super) fn spells(raw_key: &str, key: &str) -> bool {
    raw_key.get(1..raw_key.len().saturating_sub(1)) == Some(key)
}

/// The same of one with escapes.
pub(super) fn means(raw_key: &str, key: &str) -> bool {
    serde_json::from_str::<String>(raw_key).is_ok_and(|decoded| decoded == key)
}

/// Where the first `"` or `\` at or after `from` stands. Most bytes of most messages lie in strings.
pub(in crate::jsonrpc) fn string_stop(bytes: &[u8], from: usize) -> Option<usize> {
    let within = memchr2(b'"', b'\\', bytes.get(from..)?)?;
    Some(from + within)
}

/// Walks an object. All positions that it hands out lie beside ASCII bytes, so slicing is sound for
/// any text.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    first: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn open(text: &'a str) -> Option<Self> {
        let mut scanner = Self {
            bytes: text.as_bytes(),
            at: 0,
            first: true,
        };
        scanner.skip_space();
        scanner.expect(b'{')?;
        Some(scanner)
    }

    /// The next member; `Some(None)` after the closing brace; `None` where it is no object.
    #[expect(clippy::option_option, reason = "an end and an error are two things")]
    pub(super) fn next_member(&mut self) -> Option<Option<Member>> {
        self.skip_space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(None);
        }
        if !self.first {
            self.expect(b',')?;
            self.skip_space();
        }
        self.first = false;
        let key = self.at;
        let plain = self.skip_string()?;
        let key = key..self.at;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        let value = self.at;
        self.skip_value()?;
        Some(Some(Member {
            key,
            value: value..self.at,
            plain,
        }))
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.bytes.len()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// `true`: it has no escape.
    fn skip_string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut plain = true;
        loop {
            self.at = string_stop(self.bytes, self.at)?;
            let byte = self.peek()?;
            self.at += 1;
            if byte == b'"' {
                return Some(plain);
            }
            plain = false;
            self.peek().filter(u8::is_ascii)?;
            self.at += 1;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string().map(drop),
            b'{' | b'[' => self.skip_nested(),
            _ => self.skip_scalar(),
        }
    }

    fn skip_scalar(&mut self) -> Option<()> {
        let start = self.at;
        while !matches!(
            self.peek()?,
            b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'
        ) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}
