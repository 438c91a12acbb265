//! Server-sent events, as far as `GET /stream` uses them (WHATWG HTML, section 9.2.6).

use crate::place::Place;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where a reader is that has seen it.
    pub(crate) id: Place,
    /// The event as JSON.
    pub(crate) data: Vec<u8>,
}

/// Puts messages together from lines.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    id: Option<Place>,
    data: Vec<u8>,
}

impl Parser {
    /// Takes one line without its line end; an empty one ends a message.
    pub(crate) fn line(&mut self, line: &[u8]) -> Option<Message> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let id = self.id.take()?;
            return (!data.is_empty()).then_some(Message { id, data });
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"id" => self.id = std::str::from_utf8(value).ok().and_then(Place::parse),
            b"data" => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // Comments (an empty name) and the event's kind, which the data has as well.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together() {
        let text = ": heartbeat\n\nevent: other\nid: 7\ndata: {\"a\":\ndata: 1}\n\nid: 8\n\ndata:x\nid:9\n\ndata: no id\n\n";
        let mut parser = Parser::default();
        let found: Vec<Message> = text
            .lines()
            .filter_map(|line| parser.line(line.as_bytes()))
            .collect();
        assert_eq!(
            found,
            [
                Message {
                    id: Place::parse("7").unwrap(),
                    data: b"{\"a\":\n1}".to_vec()
                },
                Message {
                    id: Place::parse("9").unwrap(),
                    data: b"x".to_vec()
                }
            ]
        );
    }
}
