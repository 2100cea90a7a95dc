//! Which paths a Rust file names: `use` trees and inline paths, made absolute.
//!
//! Reads text only. A path whose first segment is neither a crate nor `crate`, `self` or `super`
//! starts at a name that a `use` brought in, and that `use` is reported instead.

/// One path that a file names, for example `vmcp::backend::pool::Pool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Absolute segments; the first is a crate.
    pub path: Vec<String>,
    /// Line, from 1.
    pub line: usize,
}

impl Import {
    /// Whether the path is `prefix` or lies below it; `prefix` is written with `::`.
    #[must_use]
    pub fn is_under(&self, prefix: &str) -> bool {
        let mut prefix = prefix.split("::");
        let mut own = self.path.iter();
        prefix.all(|segment| own.next().is_some_and(|name| name == segment))
    }

    /// The path as it would be written.
    #[must_use]
    pub fn text(&self) -> String {
        self.path.join("::")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    PathSeparator,
    Mark(char),
}

/// The paths in `code` (comments and strings already gone) of the module `module`, whose first
/// segment is its crate; `crates` are the names that start an external path.
#[must_use]
pub fn of(code: &str, module: &[String], crates: &[String]) -> Vec<Import> {
    let tokens = tokens(code);
    let mut scanner = Scanner {
        tokens: &tokens,
        at: 0,
        found: Vec::new(),
    };
    let mut inline = InlineModules::default();
    while scanner.at < tokens.len() {
        inline.step(&tokens, scanner.at);
        let before = scanner.found.len();
        scanner.step();
        let here: Vec<String> = module.iter().chain(&inline.open()).cloned().collect();
        let tail = scanner.found.split_off(before);
        scanner
            .found
            .extend(tail.into_iter().filter_map(|i| absolute(i, &here, crates)));
    }
    scanner.found
}

fn absolute(import: Import, module: &[String], crates: &[String]) -> Option<Import> {
    let first = import.path.first()?.as_str();
    let mut base = match first {
        "crate" => module[..1].to_vec(),
        "self" | "super" => module.to_vec(),
        name if crates.iter().any(|known| known == name) => return Some(import),
        _ => return None,
    };
    let mut rest = import.path.as_slice();
    while let Some((head, tail)) = rest.split_first() {
        match head.as_str() {
            "super" => drop(base.pop()),
            "self" | "crate" => {}
            _ => break,
        }
        rest = tail;
    }
    base.extend_from_slice(rest);
    Some(Import {
        path: base,
        line: import.line,
    })
}

fn tokens(code: &str) -> Vec<(Token, usize)> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            let (token, used) = if c.is_alphanumeric() || c == '_' {
                let length = length.unwrap_or(rest.len());
                (Some(Token::Name(rest[..length].to_owned())), length)
            } else if rest.starts_with("::") {
                (Some(Token::PathSeparator), 2)
            } else {
                ((!c.is_whitespace()).then_some(Token::Mark(c)), c.len_utf8())
            };
            found.extend(token.map(|token| (token, index + 1)));
            rest = &rest[used..];
        }
    }
    found
}

/// The `mod name { ... }` blocks that are open at a token, for `super` inside of them.
#[derive(Default)]
struct InlineModules {
    depth: usize,
    open: Vec<(String, usize)>,
}

impl InlineModules {
    fn step(&mut self, tokens: &[(Token, usize)], at: usize) {
        match &tokens[at].0 {
            Token::Mark('{') => self.depth += 1,
            Token::Mark('}') => {
                self.depth = self.depth.saturating_sub(1);
                self.open.retain(|(_, depth)| *depth <= self.depth);
            }
            Token::Name(word) if word == "mod" => {
                let name = tokens.get(at + 1).map(|t| &t.0);
                let brace = tokens.get(at + 2).map(|t| &t.0);
                if let (Some(Token::Name(name)), Some(Token::Mark('{'))) = (name, brace) {
                    self.open.push((name.clone(), self.depth + 1));
                }
            }
            _ => {}
        }
    }

    fn open(&self) -> Vec<String> {
        self.open
            .iter()
            .filter(|(_, d)| *d <= self.depth)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

struct Scanner<'a> {
    tokens: &'a [(Token, usize)],
    at: usize,
    found: Vec<Import>,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    fn step(&mut self) {
        let is_use = matches!(self.peek(0), Some(Token::Name(word)) if word == "use");
        let starts_path = matches!(self.peek(0), Some(Token::Name(_)))
            && matches!(self.peek(1), Some(Token::PathSeparator));
        if is_use {
            self.at += 1;
            self.tree(&[]);
        } else if starts_path {
            self.inline_path();
        } else {
            self.at += 1;
        }
    }

    fn inline_path(&mut self) {
        let line = self.tokens[self.at].1;
        let mut path = Vec::new();
        while let Some(Token::Name(name)) = self.peek(0) {
            path.push(name.clone());
            self.at += 1;
            if self.peek(0) != Some(&Token::PathSeparator) {
                break;
            }
            self.at += 1;
        }
        self.found.push(Import { path, line });
    }

    /// One branch of a `use` tree below `prefix`; stops behind it.
    fn tree(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |(_, line)| *line);
        loop {
            match self.peek(0).cloned() {
                Some(Token::Name(word)) if word == "as" => self.at += 2,
                Some(Token::Name(name)) => {
                    path.push(name);
                    self.at += 1;
                }
                Some(Token::PathSeparator | Token::Mark('*')) => self.at += 1,
                Some(Token::Mark('{')) => return self.group(&path),
                _ => break,
            }
        }
        // `use a::{self}` names `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        self.found.push(Import { path, line });
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(Token::Mark(',' | '*')) => self.at += 1,
                Some(Token::Name(_)) => self.tree(prefix),
                Some(Token::Mark('}')) => {
                    self.at += 1;
                    return;
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    fn paths(code: &str) -> Vec<String> {
        let module = ["vmcp", "backend", "pool"].map(str::to_owned);
        let crates = ["vmcp", "hyper", "std"].map(str::to_owned);
        of(code, &module, &crates)
            .iter()
            .map(super::Import::text)
            .collect()
    }

    /// Build 1: every way to name a module is seen by the import rules.
    #[test]
    fn use_trees_inline_paths_and_relative_paths_become_absolute() {
        assert_eq!(
            paths("use hyper::{body::Body as B, client::{self, conn::http1}, *};"),
            [
                "hyper::body::Body",
                "hyper::client",
                "hyper::client::conn::http1"
            ]
        );
        assert_eq!(
            paths("pub(crate) use super::fresh::Fresh;"),
            ["vmcp::backend::fresh::Fresh"]
        );
        assert_eq!(
            paths("let x = crate::gateway::port::f();"),
            ["vmcp::gateway::port::f"]
        );
        assert_eq!(
            paths("fn f() -> std::io::Result<hyper::Uri> {}"),
            ["std::io::Result", "hyper::Uri"]
        );
        assert_eq!(
            paths("mod inner { use super::x::Y; } use super::z::W;"),
            ["vmcp::backend::pool::x::Y", "vmcp::backend::z::W"]
        );
    }

    /// Build 1: a path that starts at an imported name is not mistaken for a crate.
    #[test]
    fn a_path_that_starts_at_a_local_name_is_not_an_import() {
        assert!(paths("let a = Kind::Hyper; pool::get();").is_empty());
    }
}
