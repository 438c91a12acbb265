//! Flags > environment > `annals.toml` > defaults, as the binary does it.

use std::fs;

use tempfile::TempDir;

use crate::process::{command, finish, free_port, run};

/// Each address is one where nobody listens, so the message names the one that was taken.
///
/// Red when: `Settings::url` asks the file before the environment; `Settings::load` passes over `--config` or
/// `ANNALS_CONFIG`.
#[test]
fn the_nearest_setting_counts() {
    let dir = TempDir::new().unwrap();
    let [flag, env, file, other] = [(); 4].map(|()| format!("http://127.0.0.1:{}", free_port()));
    fs::write(dir.path().join("annals.toml"), format!("url = \"{file}\"\n")).unwrap();
    fs::write(dir.path().join("other.toml"), format!("url = \"{other}\"\n")).unwrap();
    let with_env = |args: &[&str]| {
        let mut command = command(dir.path(), args);
        command.env("ANNALS_URL", &env);
        finish(command)
    };
    with_env(&["get", "1", "--url", &flag]).exits(6).says(&flag);
    with_env(&["get", "1"]).exits(6).says(&env);
    run(dir.path(), &["get", "1"]).exits(6).says(&file);
    run(dir.path(), &["get", "1", "--config", "other.toml"])
        .exits(6)
        .says(&other);
    let mut named = command(dir.path(), ["get", "1"]);
    named.env("ANNALS_CONFIG", "other.toml");
    finish(named).exits(6).says(&other);
}

/// Red when: `deny_unknown_fields` is left out; `read_file` gives any error but `Failure::Usage` for what it can not parse.
#[test]
fn a_settings_file_with_an_unknown_key_stops_everything() {
    let dir = TempDir::new().unwrap();
    fs::write(
        dir.path().join("annals.toml"),
        "url = \"http://127.0.0.1:1\"\ndata-dir = \"x\"\n",
    )
    .unwrap();
    run(dir.path(), &["query"])
        .exits(2)
        .says("data-dir")
        .says("annals.toml")
        .says("data_dir");
    fs::write(dir.path().join("annals.toml"), "log_level = \"loud\"\n").unwrap();
    run(dir.path(), &["query"]).exits(2).says("loud");
}

/// Red when: `parse_port`, `Listen::parse` or `choose` names another setting than the one that it was given.
#[test]
fn wrong_environment_variables_are_named() {
    let dir = TempDir::new().unwrap();
    for (name, value) in [
        ("PORT", "http"),
        ("ANNALS_LISTEN", "here"),
        ("ANNALS_LOG_FORMAT", "xml"),
    ] {
        let mut command = command(dir.path(), ["serve"]);
        command.env(name, value);
        finish(command).exits(2).says(name).says(value);
    }
}
