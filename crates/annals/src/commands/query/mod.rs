//! `annals query`: stored events that match, or how many there are.

mod numbers;
mod pages;

use annals_api::names::LIMIT_MAX;
use anyhow::Result;
use clap::ValueEnum;

use self::pages::{Shape, Wanted};
use crate::cli::TEMPLATE;
use crate::client::{Server, runtime};
use crate::commands::filters::Filters;
use crate::exit::{Failure, HELP};
use crate::output::{Output, Style};
use crate::rows::Table;
use crate::settings::Settings;

/// Events that are printed when nobody says how many.
const LIMIT_DEFAULT: u64 = 1000;

const EXAMPLES: &str = "\
Examples:
  annals query                                          the last 1000 events
  annals query --kind request_denied --limit 20         the last 20 denials
  annals query --actor ana --outcome denied --since 2026-05-01 --order newest
                                                        what ana was denied, the latest first
  annals query --resource orders/9 --resource orders/10 --text refund --format csv
                                                        a table for a spreadsheet
  annals query --source gateway --order oldest --limit 1000000 --json
                                                        a million, one a line, for jq
  annals query --after 500 --limit 100                  events 501 to 600
  annals query --log orders --log payments              two logs, merged by receive time
  annals query --actor ana --count                      how many
  annals query --kind request_denied --histogram 1h     how many each hour";

/// Print stored events: the last ones that match, oldest first, or from either end on.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// At most this many events; more than 100000 need --order or --after [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// From which end on [default: the last ones, oldest first]
    #[arg(long, value_name = "END")]
    order: Option<Order>,
    /// The first matches behind this event, instead of the last ones (0: from the start); of one log only
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// How to print: table, json (one object a line) or csv [default: table on a terminal, otherwise json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Only how many match
    #[arg(long, conflicts_with_all = ["histogram", "limit", "order", "after"])]
    count: bool,
    /// Only how many match over time, each bucket so wide (30s, 15m, 1h, 1d, 1w) [default: 60 buckets]
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, conflicts_with_all = ["limit", "order", "after"])]
    histogram: Option<Option<String>>,
    /// Received before this time
    #[arg(long, value_name = "TIME", help_heading = "Which events")]
    until: Option<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filters: Filters,
}

/// From which end events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The latest first.
    Newest,
    /// The earliest first.
    Oldest,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One object a line.
    Json,
    /// RFC 4180, as the server writes it.
    Csv,
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let client = args.server.client(settings)?;
    let mut output = Output::stdout();
    let mut selecting = args.filters.parameters();
    selecting.extend(args.until.clone().map(|until| ("until", until)));
    let done = if args.count || args.histogram.is_some() {
        let style = args.style_of_numbers()?;
        runtime()?.block_on(async {
            match &args.histogram {
                Some(interval) => {
                    numbers::histogram(&client, selecting, interval.as_deref(), style, &mut output).await
                }
                None => numbers::count(&client, &selecting, style, &mut output).await,
            }
        })
    } else {
        let wanted = args.wanted(selecting)?;
        runtime()?.block_on(pages::print(&client, wanted, &mut output))
    };
    // What came before an error is printed as well.
    output.flush()?;
    done
}

impl Args {
    fn wanted(&self, mut query: Vec<(&'static str, String)>) -> Result<Wanted> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        let order = match (self.order, self.after) {
            (None, Some(_)) if limit > LIMIT_MAX as u64 => Some(Order::Oldest),
            (None, None) if limit > LIMIT_MAX as u64 => {
                let message = format!(
                    "--limit {limit} is more than one answer of the server has ({LIMIT_MAX}); add --order newest or --order oldest \
                     to take them page by page"
                );
                return Err(Failure::Usage(message).into());
            }
            (order, _) => order,
        };
        query.extend(order.map(|order| ("order", order.name().to_owned())));
        query.extend(self.after.map(|after| ("after", after.to_string())));
        Ok(Wanted {
            query,
            limit,
            are_last: order.is_none() && self.after.is_none(),
            shape: self.shape(),
        })
    }

    fn shape(&self) -> Shape {
        let format = self.format.or(self.json.then_some(Format::Json));
        match (format, Style::of_stream(false)) {
            (Some(Format::Csv), _) => Shape::Csv,
            (Some(Format::Json), _) | (None, Style::Json) => Shape::Lines,
            (None, Style::Human { colour }) => Shape::Table(self.table(colour)),
            (Some(Format::Table), style) => {
                Shape::Table(self.table(matches!(style, Style::Human { colour: true })))
            }
        }
    }

    fn table(&self, colour: bool) -> Table {
        Table::new(colour, self.filters.are_labelled())
    }

    fn style_of_numbers(&self) -> Result<Style> {
        if self.format == Some(Format::Csv) {
            let message = "--count and --histogram have no CSV; use --format json or table";
            return Err(Failure::Usage(message.to_owned()).into());
        }
        Ok(Style::of_answer(self.json || self.format == Some(Format::Json)))
    }
}
