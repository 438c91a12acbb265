//! `annals serve`: all logs on the embedded engine, behind their HTTP interface.
//!
//! Order matters: whether it may listen is decided before anything is touched; the address is taken before the data is
//! opened, so a mistaken address changes nothing; on the way down the server stops taking requests, then the log finishes
//! what it accepted, then the engine lets go of the directory.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals_log::{Fatal, LogOptions, Logs, Sequencer, SystemClock};
use annals_server::{Parts, check_listen};
use annals_store::{LogDirectory, Recovery};
use annals_store_file::{IndexMaintenance, Maintenance, OpenError, Opened};
use anyhow::{Context, Result, anyhow};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::TEMPLATE;
use crate::exit::{Exit, Failure, HELP};
use crate::output::say;
use crate::settings::{Listen, LogFormat, LogLevel, Settings};

/// Pause of the maintenance after a step that failed.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  annals serve                                             ./annals-data on http://127.0.0.1:8093
  annals serve --data-dir /var/lib/annals                  another directory
  annals serve --listen 127.0.0.1:9000                     another port
  annals serve --listen 0.0.0.0:8093 --allow-unauthenticated
                                                           for every machine that can reach this one, unprotected";

/// Run the logs and their HTTP interface until SIGINT or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Where to listen, HOST:PORT; port 0 takes a free one [default: 127.0.0.1:8093] [env: ANNALS_LISTEN, or HOST and PORT]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the data lies; created if there is nothing [default: ./annals-data] [env: ANNALS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Listen where other machines can connect although nobody has to prove who they are [env: ANNALS_ALLOW_UNAUTHENTICATED]
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Length of a journal file, allocated in advance; two to ten of them exist at a time [default: 67108864]
    /// [env: ANNALS_JOURNAL_FILE_BYTES]
    #[arg(long, value_name = "BYTES")]
    journal_file_bytes: Option<u64>,
    /// Most logs there may be; with more, none is made any more, and those that there are go on [default: 10000]
    /// [env: ANNALS_LOGS_MAX]
    #[arg(long, value_name = "COUNT")]
    logs_max: Option<usize>,
    /// Form of the log lines on stderr [default: text] [env: ANNALS_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// How much is logged [default: info] [env: ANNALS_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let listen = settings.listen(args.listen.as_deref())?;
    let options = annals_server::Options {
        allow_unauthenticated: settings.allow_unauthenticated(args.allow_unauthenticated)?,
        ..annals_server::Options::default()
    };
    let format = settings.log_format(args.log_format)?;
    start_logging(format, settings.log_level(args.log_level)?)?;
    let engine = annals_store_file::Options {
        journal_file_bytes: settings.journal_file_bytes(args.journal_file_bytes)?,
        ..annals_store_file::Options::default()
    };
    let log_options = LogOptions {
        logs_max: settings.logs_max(args.logs_max)?,
        ..LogOptions::default()
    };
    let listener = bind(&listen, options.allow_unauthenticated)?;
    let data_dir = settings.data_dir(args.data_dir.as_deref());
    let opened = annals_store_file::open(&data_dir, engine).map_err(|error| not_opened(error, &data_dir))?;
    report_recovery(&opened.recovery, &data_dir);
    let running = Running::start(opened, log_options, format)?;
    let served = running.serve(listener, options, &data_dir);
    let stopped = running.stop();
    served.and(stopped)
}

fn start_logging(format: LogFormat, level: LogLevel) -> Result<()> {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What libraries say below a warning is of use only to who asks for everything.
    let others = if level == LogLevel::Trace {
        ours
    } else {
        ours.min(LevelFilter::WARN)
    };
    let targets = Targets::new().with_default(others).with_target("annals", ours);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
    .context("logging can not be set up")
}

/// Takes the first of the addresses that can be had.
fn bind(listen: &Listen, allow_unauthenticated: bool) -> Result<TcpListener> {
    let addresses = listen.resolve()?;
    for addr in &addresses {
        check_listen(*addr, allow_unauthenticated)
            .with_context(|| format!("the address comes from {}", listen.from))?;
    }
    TcpListener::bind(addresses.as_slice()).map_err(|error| cannot_bind(&error, &addresses, listen))
}

fn cannot_bind(error: &io::Error, addresses: &[SocketAddr], listen: &Listen) -> anyhow::Error {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let place = format!("{} (from {})", addresses.join(" and "), listen.from);
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "{place} is in use, maybe by another `annals serve`; pick another port with --listen 127.0.0.1:PORT (0 takes a \
             free one)"
        ),
        io::ErrorKind::PermissionDenied => Failure::NotAllowed(format!(
            "{place} may not be used: {error}; ports below 1024 are for root, pick another one with --listen"
        ))
        .into(),
        _ => anyhow!("{place} can not be listened on: {error}; pick another address with --listen"),
    }
}

/// Why a data directory can not be opened, and what to do about it.
pub(crate) fn not_opened(error: OpenError, data_dir: &Path) -> anyhow::Error {
    let place = data_dir.display().to_string();
    let error = anyhow::Error::new(error);
    let advice = match Exit::of(&error) {
        Exit::Integrity => format!(
            "{place} is not opened, to keep it as it is; `annals verify --data-dir {place}` says more"
        ),
        _ => format!("{place} can not be opened"),
    };
    error.context(advice)
}

fn report_recovery(recovery: &Recovery, data_dir: &Path) {
    for file in &recovery.quarantined {
        warn!(file, data_dir = %data_dir.display(), "bytes that a crash left behind the last complete batch were moved aside");
    }
    if recovery.rewritten_batches > 0 {
        info!(
            batches = recovery.rewritten_batches,
            "batches not known to be durable were written again"
        );
    }
    for note in &recovery.notes {
        warn!("{note}");
    }
}

/// The threads that run the logs.
struct Running {
    logs: Logs,
    directory: Arc<dyn LogDirectory>,
    sequencer: Sequencer,
    maintenance: JoinHandle<()>,
    index: JoinHandle<()>,
    /// Tells the index that what is left to build can wait until the next start.
    is_stopping: Arc<AtomicBool>,
    format: LogFormat,
}

impl Running {
    fn start(opened: Opened, options: LogOptions, format: LogFormat) -> Result<Self> {
        let Opened {
            journal,
            maintenance,
            index,
            logs: directory,
            ..
        } = opened;
        let maintenance = thread::Builder::new()
            .name(String::from("maintenance"))
            .spawn(move || maintain(&maintenance))
            .context("the maintenance thread can not be started")?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let index = thread::Builder::new()
            .name(String::from("index"))
            .spawn({
                let is_stopping = Arc::clone(&is_stopping);
                move || build_index(&index, &is_stopping)
            })
            .context("the thread that builds the index can not be started")?;
        let (logs, sequencer) = Logs::start(Box::new(journal), Box::new(SystemClock), options)?;
        Ok(Self {
            logs,
            directory,
            sequencer,
            maintenance,
            index,
            is_stopping,
            format,
        })
    }

    fn serve(&self, listener: TcpListener, options: annals_server::Options, data_dir: &Path) -> Result<()> {
        let parts = Parts {
            logs: self.logs.clone(),
            directory: Arc::clone(&self.directory),
        };
        let address = listener.local_addr().context("the listener has no address")?;
        listener
            .set_nonblocking(true)
            .context("the listener can not be used")?;
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the runtime can not be started")?;
        runtime.block_on(async {
            let shutdown = shutdown_signal(self.format)?;
            let listener = tokio::net::TcpListener::from_std(listener).context("the listener can not be used")?;
            let held = self.held();
            announce(self.format, &format!("listening on http://{address}; data in {}; {held}", data_dir.display()));
            if options.allow_unauthenticated && !address.ip().is_loopback() {
                warn!(%address, "everybody who can reach this address can read and append: there is no authentication");
            }
            annals_server::serve(listener, parts, options, shutdown).await.context("the server stopped")
        })
    }

    /// How much there is.
    fn held(&self) -> String {
        let manifests = self.directory.list();
        let opened = manifests
            .iter()
            .filter_map(|log| self.directory.open(log.name.as_str()));
        let events: u64 = opened.map(|(_, events)| events.head().size.0).sum();
        match manifests.len() {
            1 => format!("{events} events"),
            logs => format!("{events} events in {logs} logs"),
        }
    }

    /// Finishes what was accepted and lets go of the data.
    fn stop(self) -> Result<()> {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.logs.stop();
        let stopped = self.sequencer.join();
        if self.maintenance.join().is_err() {
            warn!("the maintenance had ended before");
        }
        if self.index.join().is_err() {
            warn!("the building of the index had ended before");
        }
        match stopped {
            Ok(()) => {
                announce(self.format, "stopped; everything that was acknowledged is stored");
                Ok(())
            }
            Err(fatal) => {
                let message = format!("the logs had stopped taking events: {fatal}");
                match *fatal {
                    Fatal::Integrity(_) | Fatal::LostHead { .. } => Err(Failure::Integrity(message).into()),
                    Fatal::Fenced { .. } | Fatal::NoSuchLog(_) | Fatal::Panicked => Err(anyhow!(message)),
                }
            }
        }
    }
}

/// Tells the operator: people whatever the log level, programs as a log line among the others.
fn announce(format: LogFormat, message: &str) {
    match format {
        LogFormat::Text => say(format!("annals: {message}")),
        LogFormat::Json => info!("{message}"),
    }
}

/// Packs and prepares journal files until the journal is closed.
fn maintain(maintenance: &Maintenance) {
    while maintenance.wait_for_work() {
        if let Err(error) = maintenance.step() {
            warn!(%error, "a step of the maintenance failed and will be tried again");
            thread::sleep(MAINTENANCE_PAUSE);
        }
    }
}

/// Builds the index behind the head until the journal is closed. What is left then is built after the next start.
fn build_index(index: &IndexMaintenance, is_stopping: &AtomicBool) {
    while index.wait_for_work() {
        while !is_stopping.load(Ordering::Relaxed) {
            match index.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    warn!(%error, "a step of building the index failed and will be tried again; queries read the events instead");
                    thread::sleep(MAINTENANCE_PAUSE);
                }
            }
        }
    }
}

/// Ready at the first SIGINT or SIGTERM; the second one ends the process at once, as a crash would: nothing that was
/// acknowledged is lost by that.
fn shutdown_signal(format: LogFormat) -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can not be noticed")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can not be noticed")?;
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut stopping = Some(stopping);
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match stopping.take() {
                Some(stopping) => {
                    announce(format, "stopping; once more ends it at once");
                    // Nobody waits any more only when the server has ended already.
                    let _ended = stopping.send(()).is_err();
                }
                None => process::exit(i32::from(Exit::Error as u8)),
            }
        }
    });
    Ok(async {
        // An error means that the sender is gone, which is no reason to serve on.
        drop(stopped.await);
    })
}
