//! The command line as a whole: what every command shares, and where each one goes.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands::{append, get, index, logs, query, serve, stats, tail, verify};
use crate::settings::Settings;

/// A tamper-evident audit log: record events, read them back, and prove that nobody changed them.
#[derive(Debug, Parser)]
#[command(
    name = "annals",
    version,
    help_template = TEMPLATE,
    before_help = EXAMPLES,
    after_help = AFTER,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
)]
pub(crate) struct Cli {
    /// Settings file [default: annals.toml in the working directory, if there is one] [env: ANNALS_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// Examples stand before the options.
pub(crate) const TEMPLATE: &str =
    "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "\
Examples:
  annals serve                                               start a log in ./annals-data, on http://127.0.0.1:8093
  annals append --kind other --source me --payload '{}'      record one event
  annals append --file events.ndjson                         record many
  annals query --source me --limit 10                        read them back
  annals tail                                                follow new ones
  annals logs create orders                                  another log, beside the one named default
  annals verify                                              prove that nothing was changed";

const AFTER: &str = "\
Settings: flags, then the environment, then annals.toml (url, data_dir, listen, allow_unauthenticated, log_format, log_level, \
                     journal_file_bytes, logs_max).

Exit codes: 0 ok, 1 error, 2 usage, 3 integrity failure, 4 incomplete or unverifiable, 5 not allowed, 6 unreachable";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Append(append::Args),
    Query(query::Args),
    Get(get::Args),
    Tail(tail::Args),
    Verify(verify::Args),
    Logs(logs::Args),
    Stats(stats::Args),
    Index(index::Args),
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<()> {
        let settings = Settings::load(self.config.as_deref())?;
        match self.command {
            Command::Serve(args) => serve::run(&args, &settings),
            Command::Append(args) => append::run(&args, &settings),
            Command::Query(args) => query::run(&args, &settings),
            Command::Get(args) => get::run(&args, &settings),
            Command::Tail(args) => tail::run(&args, &settings),
            Command::Verify(args) => verify::run(&args, &settings),
            Command::Logs(args) => logs::run(&args, &settings),
            Command::Stats(args) => stats::run(&args, &settings),
            Command::Index(args) => index::run(&args, &settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::exit::HELP;
    use crate::settings::keys;

    #[test]
    fn the_help_names_every_key_of_the_settings_file_and_every_exit_code() {
        assert!(keys().len() >= 6);
        for key in keys() {
            assert!(AFTER.contains(&key), "{key}");
        }
        assert!(AFTER.ends_with(HELP));
    }

    #[test]
    fn the_definition_is_sound_and_every_command_begins_with_examples() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli
            .get_subcommands_mut()
            .filter(|command| command.get_name() != "help")
        {
            let help = command.render_long_help().to_string();
            let (examples, usage) = (help.find("Examples:"), help.find("Usage:"));
            assert!(examples.is_some() && examples < usage, "{help}");
            assert!(help.contains("Exit codes:"), "{help}");
        }
    }
}
