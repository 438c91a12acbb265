//! The core knows no clock, randomness, environment, I/O, threads or async: held against its tokens.
//!
//! Tokens rather than text, so that a comment may say what is absent; paths rather than words, so that
//! `use std::{fs, fmt}` is seen through. Test code may use all of it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{Finding, Source};

const PLACE: &str = "crates/annals-core/src/";

/// Paths, as their segments; a longer path that contains one is forbidden with it.
const ABSENT: &[(&[&str], &str)] = &[
    (&["SystemTime"], "no clock"),
    (&["Instant"], "no clock"),
    (&["std", "fs"], "no I/O"),
    (&["std", "net"], "no I/O"),
    (&["std", "process"], "no processes"),
    (&["std", "env"], "no environment"),
    (&["std", "thread"], "no threads"),
    (&["rand"], "no randomness"),
    (&["getrandom"], "no randomness"),
    (&["tokio"], "no async"),
    (&["async"], "no async"),
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(PLACE) {
        return Vec::new();
    }
    let mut paths = Vec::new();
    collect_paths(source.tokens.clone(), &[], &mut paths);
    paths.retain(|path| !source.is_test(path.line));
    paths
        .iter()
        .filter_map(|path| check_path(&source.path, path))
        .collect()
}

/// One `a::b::c` of the source, or one lone word.
struct PathUse {
    segments: Vec<String>,
    line: usize,
}

fn check_path(file: &str, path: &PathUse) -> Option<Finding> {
    let is_in = |absent: &[&str]| path.segments.windows(absent.len()).any(|part| part == absent);
    let (absent, rule) = ABSENT.iter().find(|(absent, _)| is_in(absent))?;
    let what = format!("`{}` in the core, which knows {rule}", absent.join("::"));
    Some(Finding::at(
        file,
        path.line,
        what,
        "let the caller pass the value in, or move this out of the core",
    ))
}

/// Collects every path in `tokens`; `prefix` is what stands before a brace group of a `use`.
fn collect_paths(tokens: TokenStream, prefix: &[String], into: &mut Vec<PathUse>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(first) => {
                let mut segments = prefix.to_vec();
                segments.push(first.to_string());
                let line = first.span().start().line;
                at = extend_path(&tokens, at + 1, &mut segments, into);
                into.push(PathUse { segments, line });
            }
            TokenTree::Group(group) => {
                collect_paths(group.stream(), prefix_inside(group.delimiter(), prefix), into);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// A use's prefix holds for the names listed in its braces only.
fn prefix_inside(delimiter: Delimiter, prefix: &[String]) -> &[String] {
    if delimiter == Delimiter::Brace {
        prefix
    } else {
        &[]
    }
}

/// Takes `::b::c` or `::{…}` from `at` on; answers where the path ends.
fn extend_path(
    tokens: &[TokenTree],
    mut at: usize,
    segments: &mut Vec<String>,
    into: &mut Vec<PathUse>,
) -> usize {
    while is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1)) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(next)) => {
                segments.push(next.to_string());
                at += 3;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                collect_paths(group.stream(), segments, into);
                return at + 3;
            }
            _ => return at + 2,
        }
    }
    at
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

#[cfg(test)]
mod tests {
    use super::super::{messages, sources};
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        messages(check(&sources::of(&[(path, text)])[0]), |finding| finding.what)
    }

    fn found_in_core(text: &str) -> usize {
        found("crates/annals-core/src/lib.rs", text).len()
    }

    #[test]
    fn what_the_core_must_not_know_is_found() {
        for text in [
            "use std::fs;",
            "use std::{fmt, fs::File};",
            "use std::{fmt, io::{self, Read}, time::{Duration, SystemTime}};",
            "fn a() { std::env::var(\"A\"); }",
            "fn a() { let t = time::Instant::now(); }",
            "fn a() { format!(\"{}\", std::process::id()); }",
            "async fn a() {}",
            "fn a() -> u8 { rand::random() }",
            "use tokio::sync::Mutex;",
            "fn a() { std::thread::spawn(b); }",
            "use std::net::IpAddr;",
        ] {
            assert_eq!(found_in_core(text), 1, "{text}");
        }
    }

    #[test]
    fn comments_strings_tests_and_other_crates_may_name_it() {
        for text in [
            "//! Deliberately absent: std::fs, tokio, async.\n/// No rand.\nfn a() {}",
            "fn a() -> &'static str { \"std::fs\" }",
            "use std::{fmt, time::Duration};",
            "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
            "fn a() { env!(\"CARGO_PKG_NAME\"); }",
            "fn randomised(brand: u8) {}",
        ] {
            assert_eq!(found_in_core(text), 0, "{text}");
        }
        assert_eq!(
            found("crates/annals-store-file/src/lib.rs", "use std::fs;"),
            [""; 0]
        );
    }
}
