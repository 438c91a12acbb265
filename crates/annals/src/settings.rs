//! Settings: flags > environment > `annals.toml` > defaults.
//!
//! Invariants: an unknown key in the file is an error that names it; an environment variable that is empty counts as not
//! set; whatever is wrong is reported together with the place that it came from.

use std::env;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;

use crate::exit::Failure;

/// The file that is read from the working directory when no other is named.
const DEFAULT_FILE: &str = "annals.toml";
const DEFAULT_URL: &str = "http://127.0.0.1:8093";
const DEFAULT_DATA_DIR: &str = "./annals-data";
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = annals_api::names::DEFAULT_PORT;
/// Each log is a directory, and a little memory; above the largest of these, a start would take minutes.
const LOGS_MAX: std::ops::RangeInclusive<usize> = 1..=1_000_000;
const DEFAULT_LOGS_MAX: usize = 10_000;
const DEFAULT_JOURNAL_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Below this a file holds hardly more than its header; above, it could take minutes to make one.
const JOURNAL_FILE_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=4 * 1024 * 1024 * 1024;

/// What `annals.toml` may say; every key is optional.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Address of the server that the client commands talk to.
    url: Option<String>,
    /// Where `serve` and `verify` find the data.
    data_dir: Option<PathBuf>,
    /// Where `serve` listens, `HOST:PORT`.
    listen: Option<String>,
    /// Let `serve` listen on addresses that other machines can reach.
    allow_unauthenticated: Option<bool>,
    /// Length of a journal file of `serve`.
    journal_file_bytes: Option<u64>,
    /// Most logs that `serve` has.
    logs_max: Option<usize>,
    /// Form of the log lines of `serve`.
    log_format: Option<LogFormat>,
    /// How much `serve` says.
    log_level: Option<LogLevel>,
}

/// Form of the log lines of `serve`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much `serve` says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// Only failures.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And starts, stops, recoveries.
    #[default]
    Info,
    /// And every request.
    Debug,
    /// Everything.
    Trace,
}

/// The environment and the file; flags are passed to each question.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    environment: Environment,
    file: File,
}

/// The variables that are looked at.
#[derive(Debug, Default, Clone)]
struct Environment {
    url: Option<String>,
    data_dir: Option<String>,
    listen: Option<String>,
    host: Option<String>,
    port: Option<String>,
    allow_unauthenticated: Option<String>,
    journal_file_bytes: Option<String>,
    logs_max: Option<String>,
    log_format: Option<String>,
    log_level: Option<String>,
}

impl Environment {
    fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        Self {
            url: get("ANNALS_URL"),
            data_dir: get("ANNALS_DATA_DIR"),
            listen: get("ANNALS_LISTEN"),
            host: get("HOST"),
            port: get("PORT"),
            allow_unauthenticated: get("ANNALS_ALLOW_UNAUTHENTICATED"),
            journal_file_bytes: get("ANNALS_JOURNAL_FILE_BYTES"),
            logs_max: get("ANNALS_LOGS_MAX"),
            log_format: get("ANNALS_LOG_FORMAT"),
            log_level: get("ANNALS_LOG_LEVEL"),
        }
    }
}

impl Settings {
    /// Reads the environment and the file: `config`, else the file that `ANNALS_CONFIG` names, else `annals.toml` if there
    /// is one.
    pub(crate) fn load(config: Option<&Path>) -> Result<Self> {
        let named = config.map(Path::to_owned).or_else(|| {
            env::var_os("ANNALS_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let file = match &named {
            Some(path) => read_file(path)?.ok_or_else(|| {
                Failure::Usage(format!(
                    "there is no file {}; name another one with --config",
                    path.display()
                ))
            })?,
            None => read_file(Path::new(DEFAULT_FILE))?.unwrap_or_default(),
        };
        Ok(Self {
            environment: Environment::read(|name| env::var(name).ok()),
            file,
        })
    }

    /// The server's address.
    pub(crate) fn url(&self, flag: Option<&str>) -> String {
        flag.or(self.environment.url.as_deref())
            .or(self.file.url.as_deref())
            .unwrap_or(DEFAULT_URL)
            .to_owned()
    }

    /// The data directory.
    pub(crate) fn data_dir(&self, flag: Option<&Path>) -> PathBuf {
        flag.or(self.environment.data_dir.as_deref().map(Path::new))
            .or(self.file.data_dir.as_deref())
            .unwrap_or(Path::new(DEFAULT_DATA_DIR))
            .to_owned()
    }

    /// Where to listen, and which setting says so.
    pub(crate) fn listen(&self, flag: Option<&str>) -> Result<Listen> {
        if let Some(text) = flag {
            return Listen::parse(text, "--listen");
        }
        let Environment {
            listen, host, port, ..
        } = &self.environment;
        if let Some(text) = listen {
            return Listen::parse(text, "ANNALS_LISTEN");
        }
        let file = self
            .file
            .listen
            .as_deref()
            .map(|text| Listen::parse(text, "`listen` in the settings file"))
            .transpose()?;
        let (host_set, port_set) = (host.is_some(), port.is_some());
        let base = file.unwrap_or(Listen {
            host: DEFAULT_HOST.to_owned(),
            port: DEFAULT_PORT,
            from: "the default",
        });
        let port = port
            .as_deref()
            .map(|text| parse_port(text, "PORT"))
            .transpose()?
            .unwrap_or(base.port);
        let from = match (host_set, port_set) {
            (true, true) => "HOST and PORT",
            (true, false) => "HOST",
            (false, true) => "PORT",
            (false, false) => base.from,
        };
        Ok(Listen {
            host: host.clone().unwrap_or(base.host),
            port,
            from,
        })
    }

    /// Whether to listen where other machines can reach the server.
    pub(crate) fn allow_unauthenticated(&self, flag: bool) -> Result<bool> {
        if flag {
            return Ok(true);
        }
        match self.environment.allow_unauthenticated.as_deref() {
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Failure::Usage(format!(
                "ANNALS_ALLOW_UNAUTHENTICATED must be true or false, not \"{other}\""
            ))
            .into()),
            None => Ok(self.file.allow_unauthenticated.unwrap_or(false)),
        }
    }

    /// Length of a journal file, in bytes.
    pub(crate) fn journal_file_bytes(&self, flag: Option<u64>) -> Result<u64> {
        let from_environment = self.environment.journal_file_bytes.as_deref().map(|text| {
            text.parse().map_err(|_| {
                Failure::Usage(format!(
                    "ANNALS_JOURNAL_FILE_BYTES: \"{text}\" is no number of bytes"
                ))
            })
        });
        let bytes = match (flag, from_environment) {
            (Some(bytes), _) => bytes,
            (None, Some(bytes)) => bytes?,
            (None, None) => self.file.journal_file_bytes.unwrap_or(DEFAULT_JOURNAL_FILE_BYTES),
        };
        if !JOURNAL_FILE_BYTES.contains(&bytes) {
            let (min, max) = JOURNAL_FILE_BYTES.into_inner();
            let message =
                format!("a journal file has {min} to {max} bytes, not {bytes}; see --journal-file-bytes");
            return Err(Failure::Usage(message).into());
        }
        Ok(bytes)
    }

    /// Most logs that there may be.
    pub(crate) fn logs_max(&self, flag: Option<usize>) -> Result<usize> {
        let from_environment = self.environment.logs_max.as_deref().map(|text| {
            text.parse()
                .map_err(|_| Failure::Usage(format!("ANNALS_LOGS_MAX: \"{text}\" is no number of logs")))
        });
        let logs = match (flag, from_environment) {
            (Some(logs), _) => logs,
            (None, Some(logs)) => logs?,
            (None, None) => self.file.logs_max.unwrap_or(DEFAULT_LOGS_MAX),
        };
        if !LOGS_MAX.contains(&logs) {
            let (min, max) = LOGS_MAX.into_inner();
            let message = format!("there may be {min} to {max} logs, not {logs}; see --logs-max");
            return Err(Failure::Usage(message).into());
        }
        Ok(logs)
    }

    /// Form of the log lines.
    pub(crate) fn log_format(&self, flag: Option<LogFormat>) -> Result<LogFormat> {
        choose(
            flag,
            self.environment.log_format.as_deref(),
            "ANNALS_LOG_FORMAT",
            self.file.log_format,
        )
    }

    /// How much is logged.
    pub(crate) fn log_level(&self, flag: Option<LogLevel>) -> Result<LogLevel> {
        choose(
            flag,
            self.environment.log_level.as_deref(),
            "ANNALS_LOG_LEVEL",
            self.file.log_level,
        )
    }
}

fn choose<T: ValueEnum + Default>(
    flag: Option<T>,
    text: Option<&str>,
    name: &str,
    file: Option<T>,
) -> Result<T> {
    if let Some(value) = flag {
        return Ok(value);
    }
    let Some(text) = text else {
        return Ok(file.unwrap_or_default());
    };
    T::from_str(text, false).map_err(|_| {
        let known: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|value| value.to_possible_value().map(|value| value.get_name().to_owned()))
            .collect();
        Failure::Usage(format!(
            "{name} must be one of {}, not \"{text}\"",
            known.join(", ")
        ))
        .into()
    })
}

fn read_file(path: &Path) -> Result<Option<File>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} can not be read", path.display())),
    };
    let file =
        toml::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    Ok(Some(file))
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    host: String,
    port: u16,
    /// Which setting says so.
    pub(crate) from: &'static str,
}

impl Listen {
    fn parse(text: &str, from: &'static str) -> Result<Self> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| {
            Failure::Usage(format!(
                "{from} must be HOST:PORT, such as 127.0.0.1:8093, not \"{text}\""
            ))
        })?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(Failure::Usage(format!("{from} needs a host: use 127.0.0.1:{port}")).into());
        }
        Ok(Self {
            host: host.to_owned(),
            port: parse_port(port, from)?,
            from,
        })
    }

    /// The addresses that this means.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses: Vec<_> = addresses.map(Iterator::collect).unwrap_or_default();
        if addresses.is_empty() {
            let Self { host, from, .. } = self;
            return Err(Failure::Usage(format!(
                "\"{host}\" (from {from}) is no address and no known host name"
            ))
            .into());
        }
        Ok(addresses)
    }
}

fn parse_port(text: &str, from: &str) -> Result<u16> {
    text.parse()
        .map_err(|_| Failure::Usage(format!("{from}: \"{text}\" is no port (0 to 65535)")).into())
}

/// The keys of the settings file, as its parser knows them.
#[cfg(test)]
pub(crate) fn keys() -> Vec<String> {
    let error = toml::from_str::<File>("no_such_key = 1").map_err(|error| error.message().to_owned());
    let expected = error.expect_err("the key is unknown");
    // unknown field `no_such_key`, expected one of `url`, …
    expected
        .split('`')
        .skip(3)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(environment: &[(&str, &str)], file: &str) -> Settings {
        let get = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings {
            environment: Environment::read(get),
            file: toml::from_str(file).unwrap(),
        }
    }

    fn shown(listen: &Listen) -> String {
        format!("{}|{}|{}", listen.host, listen.port, listen.from)
    }

    /// Red when: two of the `or`s in `url` or `data_dir` change places; `choose` or `allow_unauthenticated` asks the file
    /// before the environment; `Environment::read` takes an empty variable for one that is set.
    #[test]
    fn flags_beat_the_environment_beats_the_file_beats_the_default() {
        let file =
            "url = 'http://file'\ndata_dir = '/file'\nlog_level = 'warn'\nallow_unauthenticated = true";
        let environment = [
            ("ANNALS_URL", "http://env"),
            ("ANNALS_DATA_DIR", "/env"),
            ("ANNALS_LOG_LEVEL", "debug"),
            ("ANNALS_ALLOW_UNAUTHENTICATED", "false"),
        ];
        let all = settings(&environment, file);
        assert_eq!(all.url(Some("http://flag")), "http://flag");
        assert_eq!(all.url(None), "http://env");
        assert_eq!(all.data_dir(Some(Path::new("/flag"))), Path::new("/flag"));
        assert_eq!(all.data_dir(None), Path::new("/env"));
        assert_eq!(all.log_level(Some(LogLevel::Error)).unwrap(), LogLevel::Error);
        assert_eq!(all.log_level(None).unwrap(), LogLevel::Debug);
        assert!(all.allow_unauthenticated(true).unwrap());
        assert!(!all.allow_unauthenticated(false).unwrap());

        let only_file = settings(&[("ANNALS_URL", "")], file);
        assert_eq!(only_file.url(None), "http://file");
        assert_eq!(only_file.data_dir(None), Path::new("/file"));
        assert_eq!(only_file.log_level(None).unwrap(), LogLevel::Warn);
        assert!(only_file.allow_unauthenticated(false).unwrap());

        let nothing = settings(&[], "");
        assert_eq!(nothing.url(None), DEFAULT_URL);
        assert_eq!(nothing.data_dir(None), Path::new(DEFAULT_DATA_DIR));
        assert_eq!(nothing.log_format(None).unwrap(), LogFormat::Text);
        assert_eq!(
            shown(&nothing.listen(None).unwrap()),
            "127.0.0.1|8093|the default"
        );
    }

    /// Red when: `journal_file_bytes` asks the environment before the flag, or the file before the environment.
    #[test]
    fn the_nearest_length_of_a_journal_file_counts() {
        let file = "journal_file_bytes = 100000";
        let environment = [("ANNALS_JOURNAL_FILE_BYTES", "200000")];
        let bytes = |settings: &Settings, flag| settings.journal_file_bytes(flag).unwrap();
        let all = settings(&environment, file);
        assert_eq!(bytes(&all, Some(300_000)), 300_000);
        assert_eq!(bytes(&all, None), 200_000);
        assert_eq!(
            bytes(&settings(&[("ANNALS_JOURNAL_FILE_BYTES", "")], file), None),
            100_000
        );
        assert_eq!(bytes(&settings(&[], file), None), 100_000);
        assert_eq!(bytes(&settings(&[], ""), None), 64 * 1024 * 1024);
        // What a nearer setting hides need not be right.
        let hidden = settings(&[("ANNALS_JOURNAL_FILE_BYTES", "many")], "journal_file_bytes = 1");
        assert_eq!(bytes(&hidden, Some(300_000)), 300_000);
        assert_eq!(
            bytes(&settings(&environment, "journal_file_bytes = 1"), None),
            200_000
        );
    }

    /// Red when: `logs_max` asks the environment before the flag, or the file before the environment; a bound of `LOGS_MAX`
    /// moves by one.
    #[test]
    fn the_nearest_number_of_logs_counts() {
        let logs = |settings: &Settings, flag| settings.logs_max(flag).ok();
        let all = settings(&[("ANNALS_LOGS_MAX", "20")], "logs_max = 10");
        assert_eq!(logs(&all, Some(30)), Some(30));
        assert_eq!(logs(&all, None), Some(20));
        assert_eq!(logs(&settings(&[], "logs_max = 10"), None), Some(10));
        assert_eq!(logs(&settings(&[], ""), None), Some(10_000));
        for (given, taken) in [
            ("0", false),
            ("1", true),
            ("1000000", true),
            ("1000001", false),
            ("few", false),
        ] {
            let settings = settings(&[("ANNALS_LOGS_MAX", given)], "");
            assert_eq!(logs(&settings, None).is_some(), taken, "{given}");
        }
    }

    /// Red when: a bound of `JOURNAL_FILE_BYTES` moves by one, or only the flag is compared with them.
    #[test]
    fn the_length_of_a_journal_file_has_bounds_wherever_it_comes_from() {
        const MIN: u64 = 65_536;
        const MAX: u64 = 4_294_967_296;
        for (bytes, is_right) in [
            (0, false),
            (MIN - 1, false),
            (MIN, true),
            (MAX, true),
            (MAX + 1, false),
            (u64::MAX, false),
        ] {
            let environment = bytes.to_string();
            let environment = settings(&[("ANNALS_JOURNAL_FILE_BYTES", &environment)], "");
            let mut answers = vec![
                settings(&[], "").journal_file_bytes(Some(bytes)),
                environment.journal_file_bytes(None),
            ];
            // A TOML integer ends at 2^63 - 1.
            if i64::try_from(bytes).is_ok() {
                let file = settings(&[], &format!("journal_file_bytes = {bytes}"));
                answers.push(file.journal_file_bytes(None));
            }
            for answer in answers {
                match answer {
                    Ok(taken) => assert!(is_right && taken == bytes, "{bytes}"),
                    Err(error) => {
                        let says =
                            format!("65536 to 4294967296 bytes, not {bytes}; see --journal-file-bytes");
                        assert!(!is_right && error.to_string().contains(&says), "{error}");
                    }
                }
            }
        }
        for wrong in ["many", "-1", "64k", "18446744073709551616"] {
            let error = settings(&[("ANNALS_JOURNAL_FILE_BYTES", wrong)], "")
                .journal_file_bytes(None)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("ANNALS_JOURNAL_FILE_BYTES") && error.contains(wrong),
                "{error}"
            );
        }
    }

    /// Red when: `listen` asks the file before `PORT`, or `HOST` and `PORT` before `ANNALS_LISTEN`; `Listen::parse` takes an
    /// empty host, or keeps the brackets of one.
    #[test]
    fn the_address_to_listen_on_is_put_together() {
        let file = "listen = '127.0.0.2:1'";
        let host_port = [("HOST", "::1"), ("PORT", "9")];
        assert_eq!(
            shown(&settings(&host_port, file).listen(Some("[::1]:7")).unwrap()),
            "::1|7|--listen"
        );
        let both = [("HOST", "::1"), ("PORT", "9"), ("ANNALS_LISTEN", "a:8")];
        assert_eq!(
            shown(&settings(&both, file).listen(None).unwrap()),
            "a|8|ANNALS_LISTEN"
        );
        assert_eq!(
            shown(&settings(&host_port, file).listen(None).unwrap()),
            "::1|9|HOST and PORT"
        );
        assert_eq!(
            shown(&settings(&[("PORT", "9")], file).listen(None).unwrap()),
            "127.0.0.2|9|PORT"
        );
        assert_eq!(
            shown(&settings(&[("HOST", "h")], "").listen(None).unwrap()),
            "h|8093|HOST"
        );
        assert_eq!(
            shown(&settings(&[], file).listen(None).unwrap()),
            "127.0.0.2|1|`listen` in the settings file"
        );
        for wrong in ["8093", ":8093", "host:", "host:70000", "host:-1"] {
            assert!(settings(&[], "").listen(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(settings(&[("PORT", "http")], "").listen(None).is_err());
    }

    /// Red when: `deny_unknown_fields` is left out; `choose` takes the default for a value that it does not know.
    #[test]
    fn a_mistyped_key_or_value_is_named() {
        let error = toml::from_str::<File>("url = 'x'\nlissten = 'y'")
            .unwrap_err()
            .to_string();
        assert!(error.contains("lissten") && error.contains("listen"), "{error}");
        let error = settings(&[("ANNALS_LOG_LEVEL", "loud")], "")
            .log_level(None)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "ANNALS_LOG_LEVEL must be one of error, warn, info, debug, trace, not \"loud\""
        );
    }
}
