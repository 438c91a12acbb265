//! A server that answers as it is told, for what a real one does only under stress.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// What to do with one request.
pub(crate) enum Answer {
    /// Send this, status line and all.
    Send(String),
    /// 201 with receipts from this id on.
    Receipts(u64),
    /// Cut the connection without a word.
    Cut,
    /// As [`Answer::Receipts`] from 1 on, but only once it is released.
    Held {
        /// Told when the request has arrived.
        arrived: mpsc::Sender<()>,
        /// Releases the answer.
        release: mpsc::Receiver<()>,
    },
}

/// The server.
pub(crate) struct Scripted {
    pub(crate) url: String,
    thread: JoinHandle<Vec<Request>>,
}

/// What was asked.
pub(crate) struct Request {
    /// Method, path and query.
    pub(crate) line: String,
    pub(crate) body: String,
}

impl Scripted {
    /// Answers one request after the other, each on a connection of its own.
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            answers
                .into_iter()
                .map(|answer| serve(&mut listener.accept().unwrap().0, &answer))
                .collect()
        });
        Self { url, thread }
    }

    /// The bodies of the requests, once all answers were given.
    pub(crate) fn bodies(self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.body).collect()
    }

    /// The requests, once all answers were given.
    pub(crate) fn requests(self) -> Vec<Request> {
        self.thread.join().unwrap()
    }
}

/// An answer with this status line, further headers and body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Answer {
    let len = body.len();
    Answer::Send(format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {len}\r\n\r\n{body}"
    ))
}

fn serve(stream: &mut TcpStream, answer: &Answer) -> Request {
    let request = read_request(stream);
    let text = match answer {
        Answer::Cut => {
            stream.shutdown(Shutdown::Both).unwrap();
            return request;
        }
        Answer::Send(text) => text.clone(),
        Answer::Held { arrived, release } => {
            arrived.send(()).unwrap();
            release.recv().unwrap();
            receipts(1, &request.body)
        }
        Answer::Receipts(first) => receipts(*first, &request.body),
    };
    stream.write_all(text.as_bytes()).unwrap();
    request
}

fn receipts(first: u64, body: &str) -> String {
    let ids = (first..).take(body.lines().count());
    let receipts: String = ids
        .map(|id| format!("{{\"event_id\":{id},\"timestamp\":\"t\",\"hash\":\"h{id}\"}}\n"))
        .collect();
    format!(
        "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{receipts}",
        receipts.len()
    )
}

fn read_request(stream: &mut TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut len = 0;
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let first = first.trim_end().trim_end_matches(" HTTP/1.1");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    Request {
        line: first.to_owned(),
        body: String::from_utf8(body).unwrap(),
    }
}
