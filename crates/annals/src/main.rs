//! The `annals` command. Each subcommand is a module that parses its arguments, does its work through the other crates,
//! and returns; what the process says at the end and with which code it exits is decided here.
//!
//! Deliberately absent: anything that another program could want as a library. The crates beside this one are that.

mod cli;
mod client;
mod commands;
mod exit;
mod output;
mod place;
mod progress;
mod rows;
mod settings;
mod sse;

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::Cli;
use crate::exit::Exit;

fn main() -> ExitCode {
    allow_open_files();
    let exit = match Cli::parse().run() {
        Ok(()) => Exit::Ok,
        Err(error) => {
            let exit = Exit::of(&error);
            if exit != Exit::Ok {
                output::say(format!("annals: {error:#}"));
            }
            exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Takes the limit of open files up to what the system allows: a log keeps each of its segments open, and every connection
/// is one more. Where that is refused, the limit stays as it is, and running into it is an error of its own.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
