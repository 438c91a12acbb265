//! Benchmarks. Each figure stands beside its baseline, measured in the same run and in turns with it, because the machines
//! that run this are noisy: ratios mean something, absolute numbers little.
//!
//! `cargo run --release -p annals-bench -- [seal|sustained|verify|pack|machine]…`, all when none is named. The HTTP figures need
//! other programs, and `tail ADDR [PID]` needs a running server: `scripts/bench` installs them and runs everything.

mod input;
mod machine;
mod pack;
mod report;
mod seal;
mod tail;
mod verify;

use std::env;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let named: Vec<String> = env::args().skip(1).collect();
    if let Some(("tail", rest)) = named.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        return tail::run(rest);
    }
    let all = ["machine", "seal", "sustained", "verify", "pack"];
    let chosen: Vec<&str> = if named.is_empty() {
        all.to_vec()
    } else {
        named.iter().map(String::as_str).collect()
    };
    for bench in chosen {
        match bench {
            "machine" => machine::run()?,
            "seal" => seal::burst()?,
            "sustained" => seal::sustained()?,
            "verify" => verify::run()?,
            "pack" => pack::run()?,
            "input" => input::write_ndjson()?,
            other => bail!("there is no bench {other}; use {} or input", all.join(", ")),
        }
    }
    Ok(())
}
