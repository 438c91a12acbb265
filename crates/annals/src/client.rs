//! Talking to a server: one HTTP client, bounded waits, answers as lines, refusals as errors that say what to do.
//!
//! Invariants: no redirect is followed (an append must not be sent twice, or elsewhere); a proxy from the environment is
//! not used for loopback; a line is at most [`LINE_BYTES_MAX`] long, so that no server can exhaust our memory.

use std::error::Error;
use std::time::Duration;

use annals_api::names::LOGS;
use annals_api::{Outcome, Problem};
use annals_store::LogName;
use anyhow::{Context, Result, bail};
use memchr::memchr;
use reqwest::header::{ACCEPT, LINK, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Failure;
use crate::settings::Settings;

/// For requests without a query.
pub(crate) const NO_QUERY: &[(&str, String)] = &[];
/// Longest line that is taken from a server or a file, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence while an answer is awaited or arrives. Well above the server's heartbeat of 15 s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Below the time after which servers close idle connections: a request sent into a closing one has an unknown outcome.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The `--url` of every command that talks to a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Server {
    /// Address of the server [default: http://127.0.0.1:8093] [env: ANNALS_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Server {
    /// A client for the server that flags and settings name.
    pub(crate) fn client(&self, settings: &Settings) -> Result<Client> {
        Client::new(&settings.url(self.url.as_deref()))
    }
}

/// The `--log` of a command that is about one log.
#[derive(Debug, clap::Args)]
pub(crate) struct OfLog {
    /// Which log [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) log: Option<LogName>,
}

/// A client of one server, or of one log of it.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    /// What stands in front of every path.
    prefix: String,
}

impl Client {
    /// Does not connect yet.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let base = parse_base(url)?;
        // Says no only when another provider is installed already, and that one is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("annals/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(Policy::none());
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build().context("the HTTP client can not be set up")?,
            base,
            prefix: String::new(),
        })
    }

    /// The same server, whose paths are now those of one log; `None` is the log that answers at the root.
    pub(crate) fn of_log(self, log: Option<&LogName>) -> Self {
        let prefix = log.map_or_else(String::new, |log| format!("{LOGS}/{log}"));
        Self { prefix, ..self }
    }

    /// The server, for messages.
    pub(crate) fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// `GET path?query`, with what is accepted.
    pub(crate) fn get(
        &self,
        path: &str,
        query: &[(impl AsRef<str>, String)],
        accept: &str,
    ) -> reqwest::RequestBuilder {
        let mut url = self.at(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.get(url).header(ACCEPT, accept)
    }

    /// `POST path`.
    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(self.at(path))
    }

    /// Sends a request that changes nothing and takes only a good answer.
    pub(crate) async fn fetch(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Refusal::of(response).await.into_error(self.name()))
    }

    /// What to say when no answer came.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Unreachable(format!(
            "{} can not be reached: {}; start a server with `annals serve`, or check the address",
            self.name(),
            cause(error)
        ))
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{base}{}{path}", self.prefix));
        url
    }
}

fn parse_base(url: &str) -> Result<Url> {
    let wrong = |why: &str| {
        Failure::Usage(format!(
            "\"{url}\" is no server address: {why}; use http://HOST:PORT"
        ))
    };
    let base = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(base.scheme(), "http" | "https") {
        bail!(wrong("it must begin with http:// or https://"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        bail!(wrong("it must not have a query or a fragment"));
    }
    Ok(base)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The query of the next page, as the answer's `Link` has it (RFC 8288); `None` when there is no further page.
///
/// Only the query is taken: whatever the link says, the next request goes to the same server and path.
pub(crate) fn next_page(response: &Response) -> Option<Vec<(String, String)>> {
    let link = response.headers().get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    parameters.contains("rel=\"next\"").then_some(())?;
    let query = target.split_once('?')?.1;
    let mut url = Url::parse("http://localhost/").ok()?;
    url.set_query(Some(query));
    Some(url.query_pairs().into_owned().collect())
}

/// The innermost reason, which is the one that helps: "connection refused" rather than "error sending request".
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A runtime for one command; client commands do one thing at a time.
pub(crate) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can not be started")
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// What the server says about it, as far as it could be read.
    pub(crate) problem: Option<Problem>,
    /// How long the server asks us to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// Reads the answer.
    pub(crate) async fn of(response: Response) -> Self {
        const PROBLEM_BYTES_MAX: usize = 1024 * 1024;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let mut text = Vec::new();
        let mut response = response;
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > PROBLEM_BYTES_MAX {
                break;
            }
        }
        Self {
            status,
            problem: serde_json::from_slice(&text).ok(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// What the server says.
    pub(crate) fn detail(&self) -> String {
        match &self.problem {
            Some(problem) if !problem.detail.is_empty() => problem.detail.clone(),
            _ => format!("the server answers {}", self.status),
        }
    }

    /// What the server says has become of the events of a refused append.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.problem.as_ref()?.outcome
    }

    /// As the end of a command.
    pub(crate) fn into_error(self, server: &str) -> anyhow::Error {
        let message = format!("{server}: {}", self.detail());
        let is_integrity = self
            .problem
            .as_ref()
            .is_some_and(|problem| problem.kind == "urn:annals:problem:integrity");
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::NotAllowed(message).into(),
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Failure::Unreachable(message).into(),
            _ if is_integrity => Failure::Integrity(message).into(),
            _ => anyhow::Error::msg(message),
        }
    }
}

/// Cuts what arrives in pieces into lines.
#[derive(Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes a piece and hands on every line that it completes, without its line end.
    pub(crate) fn feed(&mut self, piece: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut rest = piece;
        while let Some(end) = memchr(b'\n', rest) {
            if self.pending.is_empty() {
                each(without_return(&rest[..end]))?;
            } else {
                self.pending.extend_from_slice(&rest[..end]);
                each(without_return(&self.pending))?;
                self.pending.clear();
            }
            rest = &rest[end + 1..];
        }
        if self.pending.len() + rest.len() > LINE_BYTES_MAX {
            bail!("a line is longer than {LINE_BYTES_MAX} bytes");
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    /// The rest behind the last line end.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.pending
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `feed` forgets `pending.clear()`.
    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let text = b"one\r\n\ntwo\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines
                    .feed(piece, |line| {
                        found.push(String::from_utf8(line.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(found, ["one", "", "two"]);
            assert_eq!(lines.rest(), b"three");
        }
    }

    #[test]
    fn paths_are_put_behind_the_base() {
        for (base, url) in [
            ("http://127.0.0.1:8093", "http://127.0.0.1:8093/events?kind=a+b"),
            ("http://127.0.0.1:8093/", "http://127.0.0.1:8093/events?kind=a+b"),
            (
                "https://logs.example/audit/",
                "https://logs.example/audit/events?kind=a+b",
            ),
        ] {
            let client = Client::new(base).unwrap();
            let request = client
                .get("/events", &[("kind", String::from("a b"))], "x/y")
                .build()
                .unwrap();
            assert_eq!(request.url().as_str(), url);
            let of_log = client.of_log(Some(&"a-b".parse().unwrap()));
            let request = of_log.get("/events/1", NO_QUERY, "x/y").build().unwrap();
            let expected = url.replace("/events?kind=a+b", "/logs/a-b/events/1");
            assert_eq!(request.url().as_str(), expected);
        }
        for wrong in ["127.0.0.1:8093", "localhost:8093", "ftp://x", "http://x/?a=b", ""] {
            assert!(Client::new(wrong).is_err(), "{wrong}");
        }
    }
}
