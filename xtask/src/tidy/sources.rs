//! The files under check: read once, parsed once, with the lines that only tests compile marked.
//!
//! A line counts as test code when it lies in an item under `#[cfg(test)]` or `#[test]`, in a file that such a `mod`
//! brings in, or in a place that is all test code (`tests/`, `benches/`, `fuzz/`, the test kit).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta};

use super::Finding;

/// One tracked text file.
pub(super) struct TextFile {
    /// Relative to the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// One Rust file of the workspace, parsed.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) line_count: usize,
    pub(super) syntax: syn::File,
    pub(super) tokens: TokenStream,
    test_lines: TestLines,
}

/// Which lines of a file only tests compile.
enum TestLines {
    All,
    These(BTreeSet<usize>),
}

impl Source {
    /// Whether line `line` (from 1) is test code.
    pub(super) fn is_test(&self, line: usize) -> bool {
        match &self.test_lines {
            TestLines::All => true,
            TestLines::These(lines) => lines.contains(&line),
        }
    }

    /// How many lines are not test code.
    pub(super) fn program_lines(&self) -> usize {
        match &self.test_lines {
            TestLines::All => 0,
            TestLines::These(lines) => self.line_count.saturating_sub(lines.len()),
        }
    }
}

/// Reads the text files among `paths`; binary ones, links and files that were deleted but are still tracked are left out.
pub(super) fn read(root: &Path, paths: &[String]) -> Result<Vec<TextFile>> {
    let mut files = Vec::new();
    for path in paths.iter().collect::<BTreeSet<_>>() {
        let full = root.join(path);
        if !full.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("reading {path}"))?;
        if bytes.contains(&0) {
            continue;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile {
                path: path.clone(),
                text,
            });
        }
    }
    Ok(files)
}

/// Parses the Rust files among `files`; one that does not parse is a finding.
pub(super) fn parse(files: &[TextFile]) -> (Vec<Source>, Vec<Finding>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        match parse_one(file) {
            Ok(source) => sources.push(source),
            Err(error) => {
                let line = error.span().start().line;
                findings.push(Finding::at(
                    &file.path,
                    line,
                    format!("not Rust: {error}"),
                    "make it compile",
                ));
            }
        }
    }
    mark_test_files(&mut sources);
    (sources, findings)
}

fn parse_one(file: &TextFile) -> syn::Result<Source> {
    let tokens: TokenStream = file.text.parse()?;
    let syntax = syn::parse_file(&file.text)?;
    let test_lines = if is_test_place(&file.path) {
        TestLines::All
    } else {
        let mut finder = TestItems::default();
        finder.visit_file(&syntax);
        TestLines::These(finder.lines)
    };
    Ok(Source {
        path: file.path.clone(),
        line_count: file.text.lines().count(),
        syntax,
        tokens,
        test_lines,
    })
}

fn is_test_place(path: &str) -> bool {
    let mut folders = path.split('/').rev().skip(1);
    path.starts_with("fuzz/")
        || path.starts_with("crates/annals-testkit/")
        || folders.any(|folder| matches!(folder, "tests" | "benches" | "examples"))
}

/// Marks the files that a `#[cfg(test)] mod name;` brings in, with everything below them.
fn mark_test_files(sources: &mut [Source]) {
    let roots: Vec<String> = sources.iter().flat_map(test_modules_elsewhere).collect();
    for source in sources {
        let is_below = |root: &String| {
            source.path == format!("{root}.rs") || source.path.starts_with(&format!("{root}/"))
        };
        if roots.iter().any(is_below) {
            source.test_lines = TestLines::All;
        }
    }
}

/// The paths, without `.rs`, of the modules in other files that `source` declares for tests only.
fn test_modules_elsewhere(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let base = if matches!(name, "lib" | "main" | "mod") {
        folder
    } else {
        stem
    };
    let elsewhere = source.syntax.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_test_only(&module.attrs) => Some(module),
        _ => None,
    });
    elsewhere
        .map(|module| format!("{base}/{}", module.ident))
        .collect()
}

#[derive(Default)]
struct TestItems {
    lines: BTreeSet<usize>,
}

impl TestItems {
    fn mark(&mut self, item: &impl Spanned) {
        let span = item.span();
        self.lines.extend(span.start().line..=span.end().line);
    }
}

impl<'ast> Visit<'ast> for TestItems {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test_only(attributes(item)) {
            self.mark(item);
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if is_test_only(&function.attrs) {
            self.mark(function);
        } else {
            visit::visit_impl_item_fn(self, function);
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[test]` (anyone's), `#[cfg(test)]` and `#[cfg(all(test, …))]`; not `any`, not `not`.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => is_test_attribute(path),
        Meta::List(list) if list.path.is_ident("cfg") => demands_test(list.tokens.clone()),
        Meta::List(list) => is_test_attribute(&list.path),
        Meta::NameValue(_) => false,
    })
}

fn is_test_attribute(path: &syn::Path) -> bool {
    path.segments
        .last()
        .is_some_and(|segment| segment.ident == "test")
}

fn demands_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(terms)] if word == "all" => terms
            .stream()
            .into_iter()
            .any(|term| matches!(term, TokenTree::Ident(word) if word == "test")),
        _ => false,
    }
}

/// The sources that `files` (path, text) make, for the checks' own tests.
#[cfg(test)]
pub(super) fn of(files: &[(&str, &str)]) -> Vec<Source> {
    let files: Vec<TextFile> = files
        .iter()
        .map(|(path, text)| TextFile {
            path: (*path).into(),
            text: (*text).into(),
        })
        .collect();
    let (sources, findings) = parse(&files);
    assert!(findings.is_empty(), "{findings:?}");
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program_lines(path: &str, text: &str) -> usize {
        of(&[(path, text)])[0].program_lines()
    }

    #[test]
    fn test_items_do_not_count() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[test]\nfn c() {}\n";
        assert_eq!(program_lines("crates/x/src/lib.rs", text), 2);
        let text = "#[cfg(all(test, unix))]\nfn a() {}\n#[cfg(not(test))]\nfn b() {}\n";
        assert_eq!(program_lines("crates/x/src/lib.rs", text), 2);
        assert_eq!(program_lines("crates/x/tests/main.rs", "fn a() {}\n"), 0);
        assert_eq!(
            program_lines("crates/annals-testkit/src/lib.rs", "fn a() {}\n"),
            0
        );
        assert_eq!(program_lines("crates/x/src/tests_of.rs", "fn a() {}\n"), 1);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_test_code() {
        let sources = of(&[
            ("crates/x/src/frame.rs", "#[cfg(test)]\nmod oracle;\nmod real;\n"),
            ("crates/x/src/frame/oracle.rs", "fn a() {}\n"),
            ("crates/x/src/frame/oracle/deep.rs", "fn a() {}\n"),
            ("crates/x/src/frame/real.rs", "fn a() {}\n"),
            ("crates/x/src/oracle.rs", "fn a() {}\n"),
        ]);
        let counts: Vec<usize> = sources.iter().map(Source::program_lines).collect();
        assert_eq!(counts, [1, 0, 0, 1, 1]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_finding() {
        let file = TextFile {
            path: "crates/x/src/lib.rs".into(),
            text: "//! a\nfn (".into(),
        };
        let (sources, findings) = parse(&[file]);
        assert!(sources.is_empty());
        assert_eq!(findings.len(), 1);
    }
}
