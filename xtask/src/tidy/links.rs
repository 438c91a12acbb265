//! Relative links in the Markdown files lead somewhere: to a file of the repository and, behind `#`, to a heading of it.
//!
//! Only links that a reader can click are looked at: code, fenced or inline, is skipped, and so is the world outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Finding, TextFile};

/// The pages that readers come to first, and everything in `docs/`.
const PAGES: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

pub(super) fn check(root: &Path, files: &[TextFile]) -> Vec<Finding> {
    let is_page = |file: &&TextFile| {
        PAGES.contains(&file.path.as_str()) || (file.path.starts_with("docs/") && file.path.ends_with(".md"))
    };
    let exists = |path: &Path| root.join(path).exists();
    let anchors = files.iter().filter(|file| file.path.ends_with(".md"));
    let anchors: Anchors = anchors
        .map(|file| (PathBuf::from(&file.path), headings(&file.text)))
        .collect();
    files
        .iter()
        .filter(is_page)
        .flat_map(|file| check_page(file, &anchors, exists))
        .collect()
}

/// The anchors of each Markdown file.
type Anchors = BTreeMap<PathBuf, BTreeSet<String>>;

fn check_page(file: &TextFile, anchors: &Anchors, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in prose(&file.text) {
        for target in targets(text) {
            if let Some(what) = broken(&file.path, &target, anchors, &exists) {
                findings.push(Finding::at(
                    &file.path,
                    line,
                    what,
                    "mend the link, or the name it leads to",
                ));
            }
        }
    }
    findings
}

/// The lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of `[…](target)` and `[…]: target` in a line, without titles.
fn targets(line: &str) -> Vec<String> {
    let line = without_inline_code(line);
    let mut targets: Vec<&str> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        targets.push(target);
    }
    let bare = |target: &str| {
        target
            .split_whitespace()
            .next()
            .map(|t| t.trim_matches(['<', '>']).to_owned())
    };
    targets.into_iter().filter_map(bare).collect()
}

/// Inline code becomes nothing, so that brackets inside it are no links.
fn without_inline_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("code")
}

fn broken(page: &str, target: &str, anchors: &Anchors, exists: impl Fn(&Path) -> bool) -> Option<String> {
    let is_outside = target.contains("://") || target.starts_with("mailto:");
    if is_outside {
        return None;
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() {
        Some(PathBuf::from(page))
    } else {
        resolve(page, path)
    };
    let Some(path) = path else {
        return Some(format!("the link `{target}` leaves the repository"));
    };
    if !exists(&path) {
        return Some(format!("the link `{target}` leads to no file"));
    }
    let headings = anchors.get(&path)?;
    let anchor = anchor?;
    (!headings.contains(anchor)).then(|| format!("the link `{target}` leads to no heading"))
}

/// `path`, seen from `page`, relative to the repository; none when it leads out of it.
fn resolve(page: &str, path: &str) -> Option<PathBuf> {
    let mut resolved = Path::new(page).parent()?.to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// The anchors that a page's headings get: lower case, spaces as hyphens, punctuation dropped, twins numbered.
fn headings(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor = slug(title.trim());
        let twins = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *twins == 0 {
            anchor
        } else {
            format!("{anchor}-{twins}")
        });
        *twins += 1;
    }
    anchors
}

fn slug(title: &str) -> String {
    let keep = |character: char| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        _ => character.is_alphanumeric().then_some(character),
    };
    title.to_lowercase().chars().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    /// The messages for `docs/page.md` in a repository that also has `README.md` (headings: Start, Start, `a` & B).
    fn found(text: &str) -> Vec<String> {
        let page = TextFile {
            path: "docs/page.md".into(),
            text: text.into(),
        };
        let readme = headings("# Start\n## Start\n### `a` & B\n```\n# no heading\n```\n");
        let anchors = [
            ("README.md".into(), readme),
            ("docs/page.md".into(), headings(text)),
        ]
        .into();
        let exists = |path: &Path| {
            ["README.md", "docs/page.md", "docs"]
                .iter()
                .any(|known| path == Path::new(known))
        };
        messages(check_page(&page, &anchors, exists), |finding| finding.what)
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[a](page.md)",
            "[a](../README.md \"title\") and [b](./page.md)",
            "[a](../README.md#start-1) [b](../README.md#a--b)",
            "# Here\n[a](#here)",
            "[a](https://example.org/x) [b](mailto:a@example.org)",
            "`[a](gone.md)`",
            "```\n[a](gone.md)\n```",
            "[a]: ../README.md",
            "[a](../docs)",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[a](gone.md)",
            "[a](page.md) [b](gone.md)",
            "[a](README.md)",
            "[a](../../README.md)",
            "[a](/README.md)",
            "[a](#gone)",
            "[a](../README.md#no-heading)",
            "[a]: gone.md",
            "`code` [a](gone.md)",
        ] {
            assert_eq!(found(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn only_pages_are_looked_at() {
        let file = |path: &str| TextFile {
            path: path.into(),
            text: "[a](gone.md)".into(),
        };
        let files = ["README.md", "docs/a.md", "docs/deep/b.md", "crates/x/notes.md"].map(file);
        assert_eq!(check(Path::new("/nonexistent"), &files).len(), 3);
    }
}
