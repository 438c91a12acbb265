//! SIGKILL under producers that send again what was not answered, with keys and in an order of their own, to two logs:
//! nothing is stored twice, nothing is lost, and what was answered once is answered alike.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Choices, Client, Launch, PATIENCE, Server, is_long, segment_names, strace, verify_dir,
    verify_server,
};

/// Room for a few batches, so that keys and positions go through rotation and release of journal files.
const JOURNAL_FILE_BYTES: u64 = 256 * 1024;
const LOGS: [&str; 2] = ["default", "other"];

/// Red when: `Planner::known` or `Planner::position` does not ask the table; `FileJournal::take_cells` gives an empty one; the
/// cells of released frames are not kept (`Maintenance::release`).
#[test]
fn what_is_sent_again_is_stored_once_however_often_the_process_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = scratch.path().join("data");
    make_logs(&data_dir);
    let mut producers: Vec<Producer> = LOGS
        .into_iter()
        .flat_map(|log| Way::ALL.map(|way| Producer::new(log, way)))
        .collect();
    let mut choices = Choices::new(77);
    let rounds = if is_long() { 200 } else { 16 };
    for round in 0..rounds {
        // Half of the kills come with a sync: then what waits for it is written, and nobody has heard of it.
        let (server, answers_until_kill) = if round % 2 == 0 {
            (start(&data_dir, Vec::new()), choices.pick(1..120))
        } else {
            (start(&data_dir, kill_at_sync(choices.pick(2..25))), usize::MAX)
        };
        let ended = kill_under_load(server, answers_until_kill, &mut producers);
        assert!(ended, "round {round} ended before the kill");
    }
    assert!(
        !segment_names(&data_dir).is_empty(),
        "journal files were released"
    );
    let server = start(&data_dir, Vec::new());
    for producer in &mut producers {
        let mut client = Client::connect(server.address).unwrap();
        producer.send(&mut client).unwrap();
        // The oldest request's cells have long left the journal with their frames.
        for serial in [0, producer.serial - 1] {
            producer.ask_again(&mut client, serial).unwrap();
        }
    }
    for log in LOGS {
        check(server.address, log, &producers);
    }
    verify_server(server.address).intact();
    assert_eq!(server.stop().code(), Some(0));
    verify_dir(&data_dir).intact();
    for way in Way::ALL {
        let of_way = || producers.iter().filter(|producer| producer.way == way);
        let seen: usize = of_way().map(|producer| producer.seen).sum();
        assert!(seen > 0, "no kill came between commit and answer of {way:?}");
    }
    let again: usize = producers
        .iter()
        .map(|producer| producer.stored_when_sent_again)
        .sum();
    assert!(again > 0, "no kill came before a commit");
}

fn start(data_dir: &Path, strace: Vec<String>) -> Server {
    let launch = Launch::new(data_dir).journal_file_bytes(JOURNAL_FILE_BYTES);
    launch.under_strace(strace).start()
}

fn make_logs(data_dir: &Path) {
    let server = start(data_dir, Vec::new());
    let mut client = Client::connect(server.address).unwrap();
    for log in &LOGS[1..] {
        let new = json!({"name": log}).to_string();
        let made = client.post("/logs", "application/json", new.as_bytes()).unwrap();
        assert_eq!(made.status, 201, "{made:?}");
    }
    assert_eq!(server.stop().code(), Some(0));
}

/// strace's arguments for a kill when a thread begins its `nth` sync.
fn kill_at_sync(nth: usize) -> Vec<String> {
    let mut arguments = strace(Path::new("/dev/null"), "fdatasync");
    arguments.extend([
        "-e".to_owned(),
        format!("inject=fdatasync:signal=KILL:when={nth}"),
    ]);
    arguments
}

/// Lets producers loose until the server is killed, after so many answers or by itself. True when it was a kill that ended it.
fn kill_under_load(mut server: Server, answers_until_kill: usize, producers: &mut [Producer]) -> bool {
    let address = server.address;
    let (sender, answers) = mpsc::channel();
    thread::scope(|scope| {
        for producer in producers {
            let sender = sender.clone();
            scope.spawn(move || producer.produce(address, &sender));
        }
        drop(sender);
        for count in 1.. {
            if answers.recv().is_err() {
                return;
            }
            if count == answers_until_kill {
                server.kill();
            }
        }
    });
    server.wait_for_end().was_killed()
}

/// By what a producer's requests are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One event with `Idempotency-Key`.
    Key,
    /// A batch with `Idempotency-Key`.
    BatchKey,
    /// A batch whose items have keys.
    ItemKeys,
    /// One event with its place in the producer's order.
    Sequence,
    /// A batch that is a range of the order.
    Range,
    /// A batch with a place for each event.
    Each,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Key,
        Self::BatchKey,
        Self::ItemKeys,
        Self::Sequence,
        Self::Range,
        Self::Each,
    ];

    fn is_ordered(self) -> bool {
        matches!(self, Self::Sequence | Self::Range | Self::Each)
    }
}

/// One producer, which has one request on its way at a time and sends it until it is answered.
struct Producer {
    log: &'static str,
    way: Way,
    /// The request that is to be answered next.
    serial: usize,
    /// How often it was sent.
    sent: usize,
    /// Event id and hash, as they were told.
    receipts: HashMap<String, (u64, String)>,
    /// Requests that turned out to be stored when they were sent again.
    seen: usize,
    stored_when_sent_again: usize,
}

struct Request {
    ids: Vec<String>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Producer {
    fn new(log: &'static str, way: Way) -> Self {
        Self {
            log,
            way,
            serial: 0,
            sent: 0,
            receipts: HashMap::new(),
            seen: 0,
            stored_when_sent_again: 0,
        }
    }

    /// Sends one request after the other until the connection breaks.
    fn produce(&mut self, address: SocketAddr, told: &Sender<()>) {
        let Ok(mut client) = Client::connect(address) else {
            return;
        };
        while self.send(&mut client).is_ok() {
            told.send(()).unwrap();
            let last = self.serial - 1;
            if self.serial.is_multiple_of(5) && self.ask_again(&mut client, last).is_err() {
                return;
            }
        }
    }

    /// Sends the request that is to be answered next.
    fn send(&mut self, client: &mut Client) -> io::Result<()> {
        let request = self.request(self.serial);
        self.sent += 1;
        let answer = self.ask(client, &request)?;
        let was_seen = match answer.status {
            200 => {
                assert!(self.way.is_ordered(), "{answer:?}");
                let through = format!("{{\"duplicate_through\":\"{}\"}}", self.position(self.serial));
                assert_eq!(String::from_utf8_lossy(&answer.body), through);
                true
            }
            _ => {
                assert_eq!(answer.status, 201, "{answer:?}");
                let receipts = answer
                    .body
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty());
                let receipts: Vec<_> = receipts
                    .map(|line| receipt(&serde_json::from_slice(line).unwrap()))
                    .collect();
                assert_eq!(receipts.len(), request.ids.len(), "{answer:?}");
                self.receipts.extend(request.ids.into_iter().zip(receipts));
                answer.is_replayed
            }
        };
        match (was_seen, self.sent) {
            (true, 1) => panic!("{} was never sent and is a repeat", self.serial),
            (true, _) => self.seen += 1,
            (false, 1) => {}
            (false, _) => self.stored_when_sent_again += 1,
        }
        self.serial += 1;
        self.sent = 0;
        Ok(())
    }

    /// Sends a request again although it was answered.
    fn ask_again(&self, client: &mut Client, serial: usize) -> io::Result<()> {
        let request = self.request(serial);
        let answer = self.ask(client, &request)?;
        if self.way.is_ordered() {
            assert_eq!(answer.status, 200, "{answer:?}");
            return Ok(());
        }
        assert_eq!((answer.status, answer.is_replayed), (201, true), "{answer:?}");
        let lines = answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        for (line, id) in lines.zip(&request.ids) {
            assert_eq!(receipt(&serde_json::from_slice(line).unwrap()), self.receipts[id]);
        }
        Ok(())
    }

    /// Sends a request until the log is not too busy for it.
    fn ask(&self, client: &mut Client, request: &Request) -> io::Result<Answer> {
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let path = match self.log {
            "default" => String::from("/events"),
            log => format!("/logs/{log}/events"),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.request("POST", &path, &headers, &request.body)?;
            if answer.status != 503 {
                return Ok(answer);
            }
            // Packing is behind, and nothing of it is stored.
            assert_eq!(answer.json()["outcome"], "not_stored", "{answer:?}");
            assert!(Instant::now() < deadline, "busy for too long");
        }
    }

    /// The same bytes for the same number, however often they are asked for.
    fn request(&self, serial: usize) -> Request {
        let name = format!("{:?}-{serial}", self.way);
        let mut choices = Choices::new((serial * 7 + 1) as u64);
        let is_one = matches!(self.way, Way::Key | Way::Sequence);
        let len = if is_one { 1 } else { choices.pick(1..40) };
        let fill = "x".repeat(choices.pick(0..1500));
        let ids: Vec<String> = (0..len).map(|index| format!("{name}-{index}")).collect();
        let mut body = Vec::new();
        for id in &ids {
            let mut event = json!({"kind": "other", "source": "proofs", "payload": {"id": id, "fill": fill}});
            if self.way == Way::ItemKeys {
                event["idempotency_key"] = json!(id);
            }
            serde_json::to_writer(&mut body, &event).unwrap();
            body.push(b'\n');
        }
        let media_type = if is_one {
            "application/json"
        } else {
            "application/x-ndjson"
        };
        let mut headers = vec![("content-type", media_type.to_owned())];
        match self.way {
            Way::Key | Way::BatchKey => headers.push(("idempotency-key", name)),
            Way::ItemKeys => {}
            Way::Sequence => headers.push(("annals-sequence", self.position(serial))),
            Way::Range => headers.push((
                "annals-sequence",
                format!("{serial}.1..{}", self.position(serial)),
            )),
            Way::Each => {
                let places: Vec<String> = (1..=len).map(|index| format!("{serial}.{index}")).collect();
                headers.push(("annals-sequence", places.join(",")));
            }
        }
        if self.way.is_ordered() {
            headers.push(("annals-producer", format!("{:?}", self.way)));
        }
        Request { ids, headers, body }
    }

    /// Where the producer is after that request.
    fn position(&self, serial: usize) -> String {
        match self.way {
            Way::Each => {
                let len = Choices::new((serial * 7 + 1) as u64).pick(1..40);
                format!("{serial}.{len}")
            }
            Way::Range => format!("{serial}.9"),
            _ => serial.to_string(),
        }
    }
}

fn receipt(value: &Value) -> (u64, String) {
    let hash = value["hash"].as_str().unwrap().to_owned();
    (value["event_id"].as_u64().unwrap(), hash)
}

/// The log holds what its producers sent, each event once and in its producer's order, and nothing else.
#[track_caller]
fn check(address: SocketAddr, log: &str, producers: &[Producer]) {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    let mut told: HashMap<String, (u64, String)> = HashMap::new();
    let mut client = Client::connect(address).unwrap();
    loop {
        let after = told.len();
        let path = format!("/logs/{log}/events?after={after}&limit=20000");
        let page = client.get(&path).unwrap();
        assert_eq!(page.status, 200, "{page:?}");
        for line in page
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let event: Value = serde_json::from_slice(line).unwrap();
            let id = event["payload"]["id"].as_str().unwrap().to_owned();
            let way = id.split('-').next().unwrap().to_owned();
            found.entry(way).or_default().push(id.clone());
            let twice = told.insert(id, receipt(&event));
            assert_eq!(twice, None, "stored twice: {event}");
        }
        if told.len() == after {
            break;
        }
    }
    for producer in producers.iter().filter(|producer| producer.log == log) {
        let expected: Vec<String> = (0..producer.serial)
            .flat_map(|serial| producer.request(serial).ids)
            .collect();
        let found = found.remove(&format!("{:?}", producer.way)).unwrap_or_default();
        assert_eq!(found, expected, "{:?} of {log}", producer.way);
        for (id, receipt) in &producer.receipts {
            assert_eq!(told.get(id), Some(receipt), "{id} is not where its receipt says");
        }
    }
    assert!(found.is_empty(), "events that nobody sent: {found:?}");
}
