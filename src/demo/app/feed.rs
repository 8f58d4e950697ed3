//! The gateway's access lines, on their way to where they go.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

/// More than a person reads.
const KEPT: usize = 40;

/// A line is far shorter; what is longer is none.
const MAX_LINE: usize = 16 * 1024;

/// What the page shows beside the app asks below this path, and is not what it shows.
const BESIDE: &str = "/demo/";

/// The last access lines, except those of the page's own live part. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Feed(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    count: u64,
    kept: VecDeque<Value>,
    /// The begin of a line whose end has not come.
    begun: Vec<u8>,
}

impl Feed {
    /// What is written to the result goes to `out`, and is read here on its way.
    pub fn tee<W: Write>(&self, out: W) -> Tee<W> {
        Tee { out, feed: self.clone() }
    }

    /// The last lines, newest first, each with its number `n`.
    pub fn last(&self) -> Vec<Value> {
        self.0.lock().kept.iter().rev().cloned().collect()
    }

    fn read(&self, bytes: &[u8]) {
        let mut lines = self.0.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            lines.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut lines.begun);
                lines.keep(&line);
            } else if lines.begun.len() > MAX_LINE {
                lines.begun.clear();
            }
        }
    }
}

impl Lines {
    fn keep(&mut self, line: &[u8]) {
        let Ok(Value::Object(mut line)) = serde_json::from_slice(line) else { return };
        if line.get("path").and_then(Value::as_str).is_some_and(|path| path.starts_with(BESIDE)) {
            return;
        }
        self.count += 1;
        line.insert("n".into(), self.count.into());
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Value::Object(line));
    }
}

/// See [`Feed::tee`].
pub struct Tee<W> {
    out: W,
    feed: Feed,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.feed.read(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_passed_on_and_read_wherever_they_are_cut() {
        let feed = Feed::default();
        let mut out = feed.tee(Vec::new());
        for piece in ["{\"a\":1}\n{\"a\"", ":2", "}\nno json\n{\"a\":3}\n{"] {
            out.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(out.out, b"{\"a\":1}\n{\"a\":2}\nno json\n{\"a\":3}\n{");
        let seen: Vec<(u64, u64)> =
            feed.last().iter().map(|line| (line["n"].as_u64().unwrap(), line["a"].as_u64().unwrap())).collect();
        assert_eq!(seen, [(3, 3), (2, 2), (1, 1)]);
    }

    #[test]
    fn what_the_live_part_asks_is_passed_on_and_not_kept() {
        let feed = Feed::default();
        let mut out = feed.tee(Vec::new());
        let lines = b"{\"path\":\"/demo/feed\"}\n{\"path\":\"/demo\"}\n{\"path\":null}\n";
        out.write_all(lines).unwrap();
        assert_eq!(out.out, lines);
        let kept: Vec<Value> = feed.last().iter().map(|line| line["path"].clone()).collect();
        assert_eq!(kept, [Value::Null, Value::from("/demo")]);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_a_line_without_end_is_given_up() {
        let feed = Feed::default();
        let mut out = feed.tee(io::sink());
        for _ in 0..KEPT + 5 {
            out.write_all(b"{}\n").unwrap();
        }
        assert_eq!(feed.last().len(), KEPT);
        out.write_all(&vec![b'x'; 3 * MAX_LINE]).unwrap();
        assert!(feed.0.lock().begun.len() <= MAX_LINE);
    }
}
