//! URI templates as MCP servers use them (RFC 6570), read as patterns.
//!
//! Owns the question "may this URI have come from that template?". It is asked for routing only, so
//! it is generous where servers are: a variable takes what clients forget to escape. Compiled once;
//! a match takes time proportional to the URI times the parts of the template, whatever both are.

use std::ops::Range;

/// A text that is no template: such an entry is listed and found under its own spelling only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URI template")]
pub struct TemplateError;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// Bytes outside of expressions: how much the template itself says of a URI.
    literal: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// One or more characters of a class.
    Run(Class),
    /// Nothing, or this character and one or more of a class.
    Marked(u8, Class),
    /// That up to so many times.
    Segments(usize),
    /// Nothing, or this character and `name=value` pairs; `None`: of any names.
    Pairs(u8, Option<Vec<Box<str>>>),
}

/// Which characters a variable may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// All but `/`, `?` and `#`.
    Segment,
    /// All but `?` and `#`.
    Path,
    /// All.
    Any,
}

impl Class {
    const fn has(self, byte: u8) -> bool {
        match self {
            Self::Segment => !matches!(byte, b'/' | b'?' | b'#'),
            Self::Path => !matches!(byte, b'?' | b'#'),
            Self::Any => true,
        }
    }
}

impl Template {
    /// # Errors
    /// When braces do not pair or an expression is empty or of a form that RFC 6570 keeps back.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (before, expression) = match rest.split_once('{') {
                None => (rest, None),
                Some((before, after)) => {
                    let (expression, after) = after.split_once('}').ok_or(TemplateError)?;
                    rest = after;
                    (before, Some(expression))
                }
            };
            if before.contains('}') {
                return Err(TemplateError);
            }
            if !before.is_empty() {
                literal += before.len();
                parts.push(Part::Literal(before.into()));
            }
            match expression {
                None => break,
                Some(expression) => parts.push(part(expression)?),
            }
        }
        Ok(Self { parts, literal })
    }

    /// More is more specific.
    #[must_use]
    pub const fn literal_bytes(&self) -> usize {
        self.literal
    }

    /// What every URI of this template begins with.
    #[must_use]
    pub fn lead(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    #[must_use]
    pub fn matches(&self, uri: &str) -> bool {
        if !uri.starts_with(self.lead()) {
            return false;
        }
        let bytes = uri.as_bytes();
        // Where a part may begin, by place in the URI.
        let mut at = vec![false; bytes.len() + 1];
        at[0] = true;
        for part in &self.parts {
            at = part.step(bytes, &at);
        }
        at.last() == Some(&true)
    }
}

fn part(expression: &str) -> Result<Part, TemplateError> {
    let first = *expression.as_bytes().first().ok_or(TemplateError)?;
    let (operator, names) = match first {
        b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&' => (first, &expression[1..]),
        b'=' | b',' | b'!' | b'@' | b'|' => return Err(TemplateError),
        _ => (b' ', expression),
    };
    let names: Vec<&str> = names.split(',').collect();
    if names
        .iter()
        .any(|name| name.is_empty() || name.contains('{'))
    {
        return Err(TemplateError);
    }
    let exploded = names.iter().any(|name| name.ends_with('*'));
    Ok(match operator {
        b'+' => Part::Run(Class::Any),
        b'#' => Part::Marked(b'#', Class::Any),
        b'.' => Part::Marked(b'.', Class::Segment),
        b';' => Part::Marked(b';', Class::Segment),
        b'/' if exploded => Part::Marked(b'/', Class::Path),
        b'/' => Part::Segments(names.len()),
        b'?' | b'&' => {
            let bare = |name: &&str| name.split(':').next().unwrap_or_default().into();
            Part::Pairs(first, (!exploded).then(|| names.iter().map(bare).collect()))
        }
        // Widespread servers mean "the rest of the path" by it.
        _ if exploded => Part::Run(Class::Path),
        _ => Part::Run(Class::Segment),
    })
}

impl Part {
    /// Where the next part may begin.
    fn step(&self, bytes: &[u8], at: &[bool]) -> Vec<bool> {
        match self {
            Self::Literal(text) => literal(bytes, at, text.as_bytes()),
            Self::Run(class) => run(bytes, at, *class),
            Self::Marked(mark, class) => {
                let marked = run(bytes, &literal(bytes, at, &[*mark]), *class);
                either(at.to_vec(), &marked)
            }
            Self::Segments(most) => {
                let mut ends = at.to_vec();
                let mut last = at.to_vec();
                for _ in 0..*most {
                    last = run(bytes, &literal(bytes, &last, b"/"), Class::Segment);
                    ends = either(ends, &last);
                }
                ends
            }
            Self::Pairs(mark, names) => pairs(bytes, at, *mark, names.as_deref()),
        }
    }
}

fn either(mut one: Vec<bool>, other: &[bool]) -> Vec<bool> {
    one.iter_mut()
        .zip(other)
        .for_each(|(one, other)| *one |= other);
    one
}

fn literal(bytes: &[u8], at: &[bool], text: &[u8]) -> Vec<bool> {
    let mut ends = vec![false; at.len()];
    for start in places(at) {
        if bytes[start..].starts_with(text) {
            ends[start + text.len()] = true;
        }
    }
    ends
}

/// One or more of a class.
fn run(bytes: &[u8], at: &[bool], class: Class) -> Vec<bool> {
    let mut ends = vec![false; at.len()];
    let mut open = false;
    for (place, byte) in bytes.iter().enumerate() {
        open = (open || at[place]) && class.has(*byte);
        ends[place + 1] = open;
    }
    ends
}

/// Pairs are read from the left; behind each good one the next part may begin.
fn pairs(bytes: &[u8], at: &[bool], mark: u8, names: Option<&[Box<str>]>) -> Vec<bool> {
    let mut ends = vec![false; at.len()];
    for start in places(at).filter(|start| bytes.get(*start) == Some(&mark)) {
        let mut from = start + 1;
        loop {
            let pair = pair_at(bytes, from);
            let key = bytes[pair.clone()].split(|byte| *byte == b'=').next();
            let known = key.is_some_and(|key| {
                !key.is_empty()
                    && names.is_none_or(|names| names.iter().any(|name| name.as_bytes() == key))
            });
            // What is behind was read from here before.
            if !known || ends[pair.end] {
                break;
            }
            ends[pair.end] = true;
            if bytes.get(pair.end) != Some(&b'&') {
                break;
            }
            from = pair.end + 1;
        }
    }
    either(ends, at)
}

fn pair_at(bytes: &[u8], from: usize) -> Range<usize> {
    let length = bytes[from..]
        .iter()
        .take_while(|byte| !matches!(byte, b'&' | b'#'))
        .count();
    from..from + length
}

fn places(at: &[bool]) -> impl Iterator<Item = usize> {
    at.iter()
        .enumerate()
        .filter_map(|(place, here)| here.then_some(place))
}
