//! Which crate may know which: the table that ARCHITECTURE.md draws, held against `cargo metadata`.
//!
//! Everything is denied that the table does not name, so that a new arrow is a decision someone reads. Normal,
//! development and build dependencies are told apart: the test kit and the engines that tests run on are development
//! dependencies only, and no build script of ours needs a crate of ours.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;

const TABLE: &str = "xtask/src/tidy/arrows.rs";

/// One crate's row.
struct Room {
    name: &'static str,
    /// The crates of the workspace it may depend on.
    normal: &'static [&'static str],
    /// The ones its tests and benches may use besides.
    dev: &'static [&'static str],
    /// Where given, the only crates from outside it may depend on.
    outside: Option<&'static [&'static str]>,
}

/// The arrows. A crate that is not here may not be in the workspace.
const ARROWS: &[Room] = &[
    // Pure and synchronous: what everyone must be able to trust and to rebuild elsewhere.
    Room {
        name: "annals-core",
        normal: &[],
        dev: &["annals-testkit"],
        outside: Some(&["memchr", "sha2", "thiserror"]),
    },
    // Pure: postings from terms, and back. Bytes in, bytes out; an engine brings the files.
    Room {
        name: "annals-index",
        normal: &["annals-core"],
        dev: &[],
        outside: Some(&["crc32c", "siphasher", "thiserror"]),
    },
    Room {
        name: "annals-store",
        normal: &["annals-core"],
        dev: &["annals-testkit"],
        outside: None,
    },
    Room {
        name: "annals-store-file",
        normal: &["annals-core", "annals-index", "annals-store"],
        dev: &["annals-log", "annals-testkit", "annals-verify"],
        outside: None,
    },
    // The writer knows the contract, never an engine.
    Room {
        name: "annals-log",
        normal: &["annals-core", "annals-store"],
        dev: &["annals-store-file", "annals-testkit", "annals-verify"],
        outside: None,
    },
    // The auditor shares no sealing code with the writer; its tests need logs that the writer made.
    Room {
        name: "annals-verify",
        normal: &["annals-core", "annals-store"],
        dev: &["annals-log", "annals-store-file", "annals-testkit"],
        outside: None,
    },
    // Wire types that a client can take without taking the log.
    Room {
        name: "annals-api",
        normal: &[],
        dev: &[],
        outside: Some(&["serde", "serde_json"]),
    },
    // Routes see the contract: the binary hands the engine in.
    Room {
        name: "annals-server",
        normal: &[
            "annals-api",
            "annals-core",
            "annals-log",
            "annals-store",
            "annals-verify",
        ],
        dev: &["annals-store-file", "annals-testkit"],
        outside: None,
    },
    Room {
        name: "annals",
        normal: &[
            "annals-api",
            "annals-core",
            "annals-log",
            "annals-server",
            "annals-store",
            "annals-store-file",
            "annals-verify",
        ],
        dev: &["annals-testkit"],
        outside: None,
    },
    // Measures; nothing depends on it.
    Room {
        name: "annals-bench",
        normal: &[
            "annals-core",
            "annals-log",
            "annals-store",
            "annals-store-file",
            "annals-verify",
        ],
        dev: &[],
        outside: None,
    },
    // For tests only: nothing may have it as a normal dependency.
    Room {
        name: "annals-testkit",
        normal: &[
            "annals-core",
            "annals-log",
            "annals-store",
            "annals-store-file",
            "annals-verify",
        ],
        dev: &[],
        outside: None,
    },
    Room {
        name: "xtask",
        normal: &[],
        dev: &[],
        outside: None,
    },
];

/// What `cargo metadata --no-deps` says, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    #[serde(default)]
    kind: Option<Kind>,
    /// Present when the crate lies on this disk, as ours do.
    path: Option<String>,
}

/// Cargo writes a normal dependency's kind as null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dev,
    Build,
}

/// Holds every crate of the workspace against the table.
///
/// # Errors
/// When a manifest that cargo has just named can't be read.
pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let path = relative(root, &package.manifest_path);
        findings.extend(check_package(&path, package));
        let text =
            std::fs::read_to_string(&package.manifest_path).with_context(|| format!("reading {path}"))?;
        findings.extend(check_lints(&path, &text));
    }
    findings.extend(rooms_that_are_gone(metadata));
    Ok(findings)
}

fn relative(root: &Path, manifest: &str) -> String {
    let manifest = Path::new(manifest);
    manifest
        .strip_prefix(root)
        .unwrap_or(manifest)
        .display()
        .to_string()
}

fn check_package(path: &str, package: &Package) -> Vec<Finding> {
    let Some(room) = ARROWS.iter().find(|room| room.name == package.name) else {
        let what = format!("the crate `{}` is in no row of the table of arrows", package.name);
        return vec![Finding::on(
            path,
            what,
            format!("add it to ARROWS in {TABLE} with its reason"),
        )];
    };
    let mut findings: Vec<Finding> = package
        .dependencies
        .iter()
        .filter_map(|dependency| check_dependency(path, room, dependency))
        .collect();
    if let Some(feature) = package.features.keys().next() {
        let what = format!("has a Cargo feature (`{feature}`)");
        let mend = "what the program does is decided at run time or in a crate of its own: remove `[features]` \
                    and `optional = true`";
        findings.push(Finding::on(path, what, mend));
    }
    findings
}

fn check_dependency(path: &str, room: &Room, dependency: &Dependency) -> Option<Finding> {
    let name = dependency.name.as_str();
    let is_ours = dependency.path.is_some() || ARROWS.iter().any(|other| other.name == name);
    if !is_ours {
        return check_outsider(path, room, dependency);
    }
    let (is_allowed, kind) = match dependency.kind {
        None => (room.normal.contains(&name), "dependency"),
        Some(Kind::Dev) => (
            room.normal.contains(&name) || room.dev.contains(&name),
            "dev-dependency",
        ),
        Some(Kind::Build) => (false, "build-dependency"),
    };
    if is_allowed {
        return None;
    }
    let what = format!("`{}` may not have `{name}` as a {kind}", room.name);
    let mend =
        format!("remove the arrow; if it is right, add it to ARROWS in {TABLE} and to ARCHITECTURE.md");
    Some(Finding::on(path, what, mend))
}

fn check_outsider(path: &str, room: &Room, dependency: &Dependency) -> Option<Finding> {
    let allowed = room.outside?;
    let name = dependency.name.as_str();
    if dependency.kind == Some(Kind::Dev) || allowed.contains(&name) {
        return None;
    }
    let what = format!(
        "`{}` may only depend on {}, not on `{name}`",
        room.name,
        allowed.join(", ")
    );
    Some(Finding::on(
        path,
        what,
        format!("do without it, or argue for it in ARROWS in {TABLE}"),
    ))
}

/// A manifest without `[lints] workspace = true` would escape the workspace's lints, `unsafe_code` among them.
fn check_lints(path: &str, text: &str) -> Option<Finding> {
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let inherits = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool);
    if inherits == Some(true) {
        return None;
    }
    let what = "does not take the workspace's lints";
    Some(Finding::on(path, what, "add `[lints]` with `workspace = true`"))
}

fn rooms_that_are_gone(metadata: &Metadata) -> Vec<Finding> {
    let is_gone = |room: &&Room| metadata.packages.iter().all(|package| package.name != room.name);
    let finding = |room: &Room| {
        let what = format!(
            "ARROWS has a row for `{}`, which is not in the workspace",
            room.name
        );
        Finding::on(TABLE, what, "remove the row")
    };
    ARROWS.iter().filter(is_gone).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    /// The messages for a crate that has one dependency, of `kind` as cargo writes it (`null`, `"dev"`, `"build"`).
    fn arrow(from: &str, to: &str, kind: &str) -> Vec<String> {
        package(&format!(
            r#"{{"name":"{from}","manifest_path":"Cargo.toml","features":{{}},
                "dependencies":[{{"name":"{to}","kind":{kind},"path":null}}]}}"#
        ))
    }

    fn package(json: &str) -> Vec<String> {
        messages(
            check_package("Cargo.toml", &serde_json::from_str(json).unwrap()),
            |finding| finding.what,
        )
    }

    #[test]
    fn arrows_of_the_table_pass() {
        for room in ARROWS {
            for to in room.normal {
                assert_eq!(arrow(room.name, to, "null"), [""; 0]);
                assert_eq!(arrow(room.name, to, r#""dev""#), [""; 0]);
            }
            for to in room.dev {
                assert_eq!(arrow(room.name, to, r#""dev""#), [""; 0]);
            }
        }
        assert_eq!(arrow("annals-log", "anyhow", "null"), [""; 0]);
        assert_eq!(arrow("annals-core", "sha2", "null"), [""; 0]);
        assert_eq!(arrow("annals-core", "proptest", r#""dev""#), [""; 0]);
    }

    #[test]
    fn arrows_beside_the_table_are_found() {
        for (from, to, kind) in [
            ("annals-core", "annals-store", "null"),
            ("annals-server", "annals-store-file", "null"),
            ("annals-log", "annals-store-file", "null"),
            ("annals-verify", "annals-log", "null"),
            ("annals-log", "annals-testkit", "null"),
            ("annals", "annals-testkit", "null"),
            ("annals-testkit", "annals-server", "null"),
            ("annals-log", "annals-server", r#""dev""#),
            ("annals-server", "annals", r#""dev""#),
            ("annals-log", "annals-core", r#""build""#),
            ("xtask", "annals-core", "null"),
            ("annals-core", "rand", "null"),
            ("annals-core", "cc", r#""build""#),
            ("annals-api", "tokio", "null"),
        ] {
            assert_eq!(arrow(from, to, kind).len(), 1, "{from} → {to} ({kind})");
        }
    }

    #[test]
    fn nothing_depends_on_the_test_kit_or_the_binary_and_only_the_binary_on_the_server() {
        for room in ARROWS {
            assert!(!room.normal.contains(&"annals-testkit"), "{}", room.name);
            for arrows in [room.normal, room.dev] {
                assert!(
                    !arrows.contains(&"annals") && !arrows.contains(&"xtask"),
                    "{}",
                    room.name
                );
                assert!(
                    !arrows.contains(&"annals-server") || room.name == "annals",
                    "{}",
                    room.name
                );
            }
        }
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let found = package(r#"{"name":"annals-utils","manifest_path":"","dependencies":[],"features":{}}"#);
        assert_eq!(
            found,
            ["the crate `annals-utils` is in no row of the table of arrows"]
        );
        let none = serde_json::from_str(r#"{"packages":[]}"#).unwrap();
        assert_eq!(rooms_that_are_gone(&none).len(), ARROWS.len());
    }

    #[test]
    fn a_dependency_by_path_is_ours_whatever_its_name() {
        let found = package(
            r#"{"name":"annals-log","manifest_path":"","features":{},
                "dependencies":[{"name":"mine","kind":null,"path":"/elsewhere/mine"}]}"#,
        );
        assert_eq!(found, ["`annals-log` may not have `mine` as a dependency"]);
    }

    #[test]
    fn a_feature_is_found() {
        let found =
            package(r#"{"name":"annals-log","manifest_path":"","dependencies":[],"features":{"fast":[]}}"#);
        assert_eq!(found, ["has a Cargo feature (`fast`)"]);
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        assert!(check_lints("Cargo.toml", "[lints]\nworkspace = true\n").is_none());
        assert!(check_lints("Cargo.toml", "lints.workspace = true\n").is_none());
        assert!(check_lints("Cargo.toml", "[package]\nname = \"a\"\n").is_some());
    }
}
