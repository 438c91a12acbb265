//! Several logs in one answer, against a naive merge.

use std::sync::Arc;

use annals_log::{LogOptions, Logs, SystemClock};
use annals_store::Unindexed;
use annals_testkit::clock::SimClock;
use annals_testkit::events::{Random, batch_of};
use annals_testkit::memory::{LOG, MemoryEngine};
use axum::http::Uri;
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::Value;

use super::events::{counted, divided, events};
use crate::app::{App, blocking};
use crate::options::{Options, Parts};
use crate::problem::Refusal;
use crate::search::{Given, LogSet, Place, SearchLog};

const OTHERS: [&str; 7] = [
    "limit", "after", "order", "cursor", "format", "buckets", "interval",
];

/// Three logs whose events came in at the same times, or nearly, and one without any.
struct Room {
    app: Arc<App>,
    logs: LogSet,
    /// Receive time, log and id of every event, in their order, with its source.
    all: Vec<(i64, String, u64, String)>,
}

impl Room {
    /// Built where waiting for the log is allowed.
    async fn new(options: Options) -> Self {
        blocking(move || Self::build(&options)).await.unwrap()
    }

    fn build(options: &Options) -> Self {
        let clock = SimClock::default();
        let mut random = Random::new(5, 0);
        let names = ["b", "a", "empty", "c"];
        let engines = names.map(|_| MemoryEngine::default());
        let started = engines.each_ref().map(|engine| {
            let clock = clock.clone();
            let clock = Box::new(move || clock.now());
            annals_log::start(engine.journal(), LOG, clock, LogOptions::default()).unwrap()
        });
        let mut all = Vec::new();
        for _ in 0..200 {
            clock.advance(i64::try_from(random.below(3)).unwrap());
            let at = [0, 0, 1, 3][usize::try_from(random.below(4)).unwrap()];
            let source = if random.below(5) == 0 { "rare" } else { "usual" };
            let pad = "x".repeat(usize::try_from(random.below(3000)).unwrap());
            let text = format!(r#"{{"kind":"other","source":"{source}","payload":{{"pad":"{pad}"}}}}"#);
            let receipt = started[at].0.append(batch_of([text].into_iter())).unwrap().wait();
            assert!(receipt.is_ok());
            let id = started[at].0.head().size.0;
            all.push((clock.now().0, names[at].to_owned(), id, source.to_owned()));
        }
        all.sort();
        let search = |(name, engine): (&str, &MemoryEngine)| SearchLog {
            name: Arc::from(name),
            events: Arc::new(Unindexed::new(engine.reader())),
        };
        let logs = LogSet::new(names.into_iter().zip(&engines).map(search).collect()).unwrap();
        // The app's own logs are others: what is tested gets its logs by hand.
        let engine = MemoryEngine::default();
        let clock = Box::new(SystemClock);
        let (own, _) = Logs::start(engine.journal(), clock, LogOptions::default()).unwrap();
        let parts = Parts {
            logs: own,
            directory: Arc::new(engine),
        };
        let app = App::new(parts, options);
        Self { app, logs, all }
    }

    async fn get(&self, query: &str) -> Result<Response, Refusal> {
        let uri: Uri = query.parse().unwrap();
        let given = Given::of(&uri, Place::Root, &OTHERS)?;
        let path = uri.path().to_owned();
        match path.as_str() {
            "/events/count" => counted(&self.app, self.logs.clone(), &given).await,
            "/events/histogram" => divided(&self.app, self.logs.clone(), &given).await,
            _ => {
                let request = axum::http::Request::builder().uri(uri.clone()).body(()).unwrap();
                let (parts, ()) = request.into_parts();
                events(&self.app, self.logs.clone(), &given, &parts).await
            }
        }
    }

    async fn json(&self, query: &str) -> Value {
        let response = self.get(query).await.unwrap();
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    /// Logs and ids of all pages from `path` on.
    async fn pages(&self, path: &str) -> Vec<Vec<(String, u64)>> {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            assert!(all.len() < 1000, "{path} goes round");
            let response = self.get(&path).await.unwrap();
            let link = response.headers().get("link").cloned();
            next = link.map(|link| {
                let link = link.to_str().unwrap();
                link[1..link.find('>').unwrap()].to_owned()
            });
            let body = response.into_body().collect().await.unwrap().to_bytes();
            all.push(items(&serde_json::from_slice(&body).unwrap()));
        }
        all
    }

    fn expected(&self, source: Option<&str>) -> Vec<(String, u64)> {
        let wanted = |event: &&(i64, String, u64, String)| source.is_none_or(|source| event.3 == source);
        let named = |event: &(i64, String, u64, String)| (event.1.clone(), event.2);
        self.all.iter().filter(wanted).map(named).collect()
    }
}

fn items(answer: &Value) -> Vec<(String, u64)> {
    let item = |item: &Value| {
        assert_eq!(item.as_object().unwrap().len(), 2, "{item}");
        let log = item["log"].as_str().unwrap().to_owned();
        (log, item["event"]["event_id"].as_u64().unwrap())
    };
    answer.as_array().unwrap().iter().map(item).collect()
}

/// Red when: `pick` takes `min` for both orders, or `position` forgets the matches whose times were read.
#[tokio::test]
async fn logs_are_merged_by_time_name_and_id() {
    let room = Room::new(Options::default()).await;
    for (query, source) in [
        ("", None),
        ("&source=rare", Some("rare")),
        ("&text=RARE", Some("rare")),
    ] {
        let mut expected = room.expected(source);
        for limit in [1, 7, 64, 1000] {
            let last = expected[expected.len().saturating_sub(limit)..].to_vec();
            assert_eq!(
                items(&room.json(&format!("/events?limit={limit}{query}")).await),
                last
            );
        }
        for limit in [3, 50] {
            let pages = room
                .pages(&format!("/events?order=oldest&limit={limit}{query}"))
                .await;
            assert_eq!(pages.concat(), expected, "{query}");
            assert_eq!(pages.len(), expected.len().div_ceil(limit), "{query}");
        }
        expected.reverse();
        for limit in [3, 50] {
            let pages = room
                .pages(&format!("/events?order=newest&limit={limit}{query}"))
                .await;
            assert_eq!(pages.concat(), expected, "{query}");
        }
    }
}

/// Red when: a page that the budget ends picks from a log although another has nothing in hand (it goes on picking where
/// `is_incomplete` is set); the logs share one budget (the first uses it up again and again); or each has a whole one.
#[tokio::test]
async fn a_budget_ends_pages_and_changes_nothing() {
    let room = Room::new(Options {
        scan_bytes_max: 5_000,
        ..Options::default()
    })
    .await;
    for order in ["oldest", "newest"] {
        let mut expected = room.expected(Some("rare"));
        if order == "newest" {
            expected.reverse();
        }
        let pages = room
            .pages(&format!("/events?order={order}&limit=100&text=rare"))
            .await;
        assert!(pages.len() > 100, "{} pages", pages.len());
        assert_eq!(pages.concat(), expected, "{order}");
    }
}

#[tokio::test]
async fn counts_are_told_by_log() {
    let room = Room::new(Options::default()).await;
    let count = room.json("/events/count?source=rare").await;
    let expected = room.expected(Some("rare"));
    assert_eq!(count["count"], expected.len());
    assert!(count.get("as_of").is_none());
    let logs = count["logs"].as_array().unwrap();
    let names: Vec<_> = logs.iter().map(|log| log["log"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "empty"]);
    for log in logs {
        let name = log["log"].as_str().unwrap();
        let of_log = |events: &[(String, u64)]| events.iter().filter(|(log, _)| log == name).count();
        assert_eq!(log["count"], of_log(&expected), "{name}");
        assert_eq!(log["as_of"], of_log(&room.expected(None)), "{name}");
    }
    let histogram = room.json("/events/histogram?source=rare&buckets=9").await;
    let counts = histogram["buckets"].as_array().unwrap().iter();
    let sum: u64 = counts.map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert_eq!(sum, expected.len() as u64);
}

#[tokio::test]
async fn rows_and_lines_say_which_log() {
    let room = Room::new(Options::default()).await;
    let text = |query: &'static str| {
        let room = &room;
        async move {
            let response = room.get(query).await.unwrap();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(bytes.to_vec()).unwrap()
        }
    };
    let table = text("/events?format=csv&limit=3").await;
    assert!(table.starts_with("log,event_id,received_at,"), "{table}");
    let lines = text("/events?format=ndjson&limit=3").await;
    let mut of_lines = Vec::new();
    for line in lines.lines() {
        let event = &line[line.find(r#","event":{"#).unwrap() + 9..line.len() - 1];
        assert!(
            line.starts_with(r#"{"log":""#) && event.ends_with(r#""}"#),
            "{line}"
        );
        of_lines.extend(items(&Value::Array(vec![serde_json::from_str(line).unwrap()])));
    }
    let of_rows: Vec<(String, u64)> = table
        .lines()
        .skip(1)
        .map(|row| {
            let mut cells = row.split(',');
            (
                cells.next().unwrap().to_owned(),
                cells.next().unwrap().parse().unwrap(),
            )
        })
        .collect();
    assert_eq!(of_rows, of_lines);
    assert_eq!(of_rows, room.expected(None)[197..]);
}

#[tokio::test]
async fn an_id_behind_which_is_of_one_log() {
    let room = Room::new(Options::default()).await;
    assert!(room.get("/events?after=3").await.is_err());
    assert!(room.get("/events?after=3&order=oldest").await.is_err());
    let log = |name: &str| SearchLog {
        name: Arc::from(name),
        events: Arc::new(Unindexed::new(MemoryEngine::default().reader())),
    };
    let of = |names: &[&str]| LogSet::new(names.iter().map(|name| log(name)).collect());
    assert!(of(&["a", "b"]).is_some_and(|set| set.are_several()));
    assert!(of(&[]).is_none() && of(&["a", "a"]).is_none());
    let many: Vec<String> = (0..17).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(of(&many[..16]).is_some() && of(&many).is_none());
}
