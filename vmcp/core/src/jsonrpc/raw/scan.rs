//! Walking a raw JSON object, member by member.
//!
//! Owns where keys and values begin and end. Never looks inside a value, never copies, and never
//! panics: where the text is no object it says so.

use std::ops::Range;

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Quotes included.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Where the first `"` or `\` at or after `from` stands. Most bytes of most messages lie in strings:
/// eight are looked at together.
pub(in crate::jsonrpc) fn string_stop(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const SLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    // The lowest high bit of the result marks the first zero byte; those above it may be wrong.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, tail) = bytes.get(from..)?.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ QUOTES) | zeros(word ^ SLASHES);
        if found != 0 {
            let within = found.trailing_zeros() / 8;
            return Some(from + 8 * index + usize::try_from(within).ok()?);
        }
    }
    let within = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(from + 8 * words.len() + within)
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
        self.skip_string()?;
        let key = key..self.at;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        let value = self.at;
        self.skip_value()?;
        Some(Some(Member {
            key,
            value: value..self.at,
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

    fn skip_string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.at = string_stop(self.bytes, self.at)?;
            let byte = self.peek()?;
            self.at += 1;
            if byte == b'"' {
                return Some(());
            }
            self.peek().filter(u8::is_ascii)?;
            self.at += 1;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
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
