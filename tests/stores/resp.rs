//! The protocol of Redis, spoken by hand: the tests share no code with what they test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::process::HANG;

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Nil,
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<Reply>),
    Error(String),
}

impl Reply {
    /// The text of a string; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Number(number) => number.to_string(),
            Self::Error(fault) => fault.clone(),
            Self::Nil | Self::List(_) => String::new(),
        }
    }

    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("no number: {other:?}"),
        }
    }

    pub fn list(self) -> Vec<Reply> {
        match self {
            Self::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Every byte in it, in order.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::List(list) => list.iter().flat_map(|reply| [reply.bytes(), vec![b'\n']].concat()).collect(),
            other => other.text().into_bytes(),
        }
    }
}

/// One connection.
pub struct Resp {
    socket: BufReader<TcpStream>,
}

impl Resp {
    /// `None` if nobody listens.
    pub fn open(port: u16) -> Option<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let (soon, quick) = (Some(HANG), Some(Duration::from_secs(5)));
        socket.set_read_timeout(soon).and_then(|()| socket.set_write_timeout(quick)).expect("a socket");
        Some(Self { socket: BufReader::new(socket) })
    }

    /// `None` if the connection ended.
    pub fn ask(&mut self, words: &[&[u8]]) -> Option<Reply> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        self.socket.get_mut().write_all(&command).ok()?;
        self.reply()
    }

    /// Waits no longer than this for what comes next.
    pub fn patience(&mut self, span: Duration) {
        self.socket.get_mut().set_read_timeout(Some(span)).expect("a socket");
    }

    /// The next answer; on a connection that listens, also what it hears.
    pub fn reply(&mut self) -> Option<Reply> {
        let mut line = String::new();
        self.socket.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let length = || rest.parse::<i64>().ok();
        Some(match kind {
            "+" => Reply::Bytes(rest.as_bytes().to_vec()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(length()?),
            "$" | "*" if length()? < 0 => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; usize::try_from(length()?).ok()? + 2];
                self.socket.read_exact(&mut bytes).ok()?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            "*" => Reply::List((0..length()?).map(|_| self.reply()).collect::<Option<_>>()?),
            _ => panic!("not the protocol: {line}"),
        })
    }
}
