//! The `annals` command. Each subcommand is a module that parses its arguments, does its work through the other crates,
//! and returns; what the process says at the end and with which code it exits is decided here.
//!
//! Deliberately absent: anything that another program could want as a library. The crates beside this one are that.

mod cli;
mod client;
mod commands;
mod exit;
mod output;
mod progress;
mod rows;
mod settings;
mod sse;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::exit::Exit;

fn main() -> ExitCode {
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
