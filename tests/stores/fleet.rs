//! A vendor, an identity provider, and several nodes that share a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Answer, Connection, once, request};
use super::process::{HANG, Program, Stream, until, valet};
use super::server::Server;
use super::stack::{Folder, Gateway, Idp, KEY, Vendor, bearer};
use super::stopwatch::Stopwatch;

/// What `/metrics` says while the store is in trouble.
const DEGRADED: &str = "valet_degraded{what=\"leases.store\"}";

/// Where a lease store is, as lines of `valet.toml`.
#[derive(Clone, Debug)]
pub struct Leases {
    /// Lines of `[leases]`.
    lines: Vec<String>,
    /// Lines of `[leases.redis]`.
    redis: Vec<String>,
    seal_keys: Vec<String>,
}

impl Leases {
    /// Shared at these addresses; a node mints for itself when they are gone.
    pub fn redis<S: AsRef<str>>(urls: &[S]) -> Self {
        let urls: Vec<String> = urls.iter().map(|url| format!("{:?}", url.as_ref())).collect();
        let redis = vec![format!("urls = [{}]", urls.join(", "))];
        Self { lines: vec!["store = \"redis\"".into()], redis, seal_keys: vec!["seal.key".into()] }.on_loss("local")
    }

    /// In `leases.redb` beside the configuration.
    pub fn file() -> Self {
        Self::file_at("leases.redb")
    }

    pub fn file_at(path: &str) -> Self {
        let lines = vec!["store = \"file\"".into(), format!("path = {path:?}")];
        Self { lines, redis: Vec::new(), seal_keys: vec!["seal.key".into()] }
    }

    /// In this process alone.
    pub fn memory() -> Self {
        Self { lines: vec!["store = \"memory\"".into()], redis: Vec::new(), seal_keys: Vec::new() }
    }

    /// `on_store_loss`.
    pub fn on_loss(mut self, what: &str) -> Self {
        self.lines.retain(|line| !line.starts_with("on_store_loss"));
        self.lines.push(format!("on_store_loss = {what:?}"));
        self
    }

    /// Calls may take very long: with both cores busy a store that is well can be slower than the 500 ms of a node as it ships, which mints for itself then.
    pub fn patient(self) -> Self {
        self.and("timeout = \"10s\"")
    }

    /// One more line of `[leases.redis]`.
    pub fn and(mut self, line: &str) -> Self {
        self.redis.push(line.to_owned());
        self
    }

    /// These files in place of `seal.key`.
    pub fn sealed_by(mut self, files: &[&str]) -> Self {
        self.seal_keys = files.iter().map(|file| (*file).to_owned()).collect();
        self
    }

    fn text(&self) -> String {
        let keys: Vec<String> = self.seal_keys.iter().map(|file| format!("{{ file = {file:?} }}")).collect();
        let mut text = format!("\n[leases]\n{}\n", self.lines.join("\n"));
        if !keys.is_empty() {
            text.push_str(&format!("seal_keys = [{}]\n", keys.join(", ")));
        }
        if !self.redis.is_empty() {
            text.push_str(&format!("\n[leases.redis]\n{}\n", self.redis.join("\n")));
        }
        text
    }
}

/// A seal key as its file holds it.
pub fn seal_key() -> String {
    format!("{}\n", STANDARD.encode((0..32).map(|_| fastrand::u8(..)).collect::<Vec<u8>>()))
}

/// The processes of a test.
pub struct Fleet {
    pub vendor: Vendor,
    pub idp: Idp,
    pub folder: Folder,
    pub nodes: Vec<Gateway>,
    /// Text of each node's file, and what stands in its place.
    replaced: Vec<(String, String)>,
    files: usize,
}

impl Fleet {
    /// So many ready nodes.
    pub fn start(nodes: usize, leases: &Leases) -> Self {
        let mut fleet = Self::empty();
        for _ in 0..nodes {
            fleet.add(leases);
        }
        fleet
    }

    /// So many ready nodes on a Redis of their own, with which they are patient; `None`: there is no Redis here.
    pub fn on_redis(nodes: usize) -> Option<(Server, Self)> {
        let server = Server::redis(&[])?;
        let fleet = Self::start(nodes, &Leases::redis(&[server.url()]).patient());
        Some((server, fleet))
    }

    /// Without a node yet.
    pub fn empty() -> Self {
        let folder = Folder::new();
        folder.write("seal.key", &seal_key());
        Self {
            vendor: Vendor::start(KEY),
            idp: Idp::start(),
            folder,
            nodes: Vec::new(),
            replaced: Vec::new(),
            files: 0,
        }
    }

    /// Nodes from now on have this text of their file replaced.
    pub fn replacing(mut self, text: &str, by: &str) -> Self {
        self.replaced.push((text.to_owned(), by.to_owned()));
        self
    }

    /// Writes one more configuration; its name.
    pub fn file(&mut self, leases: &Leases) -> String {
        self.files += 1;
        self.folder.configure(&self.vendor.url, &self.idp.url, KEY, |text| {
            let text = format!("{text}{}", leases.text()).replace("access = true", "access = false");
            self.replaced.iter().fold(text, |text, (from, to)| {
                assert!(text.contains(from), "nothing to replace: {from}");
                text.replace(from, to)
            })
        });
        let name = format!("node-{}.toml", self.files);
        std::fs::rename(self.folder.path().join("valet.toml"), self.folder.path().join(&name)).expect("our file");
        name
    }

    /// Starts one more node and waits until it is ready; its number.
    pub fn add(&mut self, leases: &Leases) -> usize {
        let number = self.add_unready(leases);
        self.nodes[number].until_ready();
        number
    }

    /// The same without waiting.
    pub fn add_unready(&mut self, leases: &Leases) -> usize {
        let command = self.command(leases);
        self.add_by(command)
    }

    /// What starts one more node.
    pub fn command(&mut self, leases: &Leases) -> Command {
        let file = self.file(leases);
        valet(self.folder.path(), &["run", "--config", &file])
    }

    /// A node that is started in a way of its own.
    pub fn add_by(&mut self, command: Command) -> usize {
        self.nodes.push(Gateway::serving(Program::start(command)));
        self.nodes.len() - 1
    }

    /// Kills a node; the others keep their numbers only if it is the last one.
    pub fn kill(&mut self, number: usize) {
        drop(self.nodes.remove(number));
    }

    /// Tokens for so many users: `NAME-0` and so on.
    pub fn tokens(&self, name: &str, users: usize) -> Vec<String> {
        (0..users).map(|user| self.idp.token(&format!("{name}-{user}"))).collect()
    }

    /// Opens the plug-in for this token at a node; the URL.
    #[track_caller]
    pub fn url(&self, node: usize, token: &str) -> String {
        let answer = self.nodes[node].open(token);
        assert_eq!(answer.status, 302, "node {node}: {answer:?}");
        answer.location().to_owned()
    }

    /// The same, not waited for: the vendor has been asked for the first URL, and takes this long.
    pub fn minting(&self, node: usize, token: &str, delay: &str) -> Connection {
        self.slow_mints(delay);
        let asked = self.asking(node, token);
        until("the first mint is under way", || (self.mints() == 1).then_some(()));
        asked
    }

    /// The same, not waited for.
    pub fn asking(&self, node: usize, token: &str) -> Connection {
        let mut connection = Connection::open(&self.nodes[node].address);
        assert!(connection.send(open(token)));
        connection
    }

    /// The same for many, on one connection.
    #[track_caller]
    pub fn urls(&self, node: usize, tokens: &[String]) -> Vec<String> {
        let mut connection = Connection::open(&self.nodes[node].address);
        let ask = |token: &String| {
            let answer = connection.ask(&open(token));
            assert_eq!(answer.status, 302, "node {node}: {answer:?}");
            answer.location().to_owned()
        };
        tokens.iter().map(ask).collect()
    }

    /// "Scan again" at a node.
    pub fn again(&self, node: usize, token: &str) -> String {
        let answer = once(&self.nodes[node].address, "POST", "/plugins/face-scan", &[&bearer(token)], "");
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.location().to_owned()
    }

    /// How many mints the vendor was asked for.
    pub fn mints(&self) -> u64 {
        self.vendor.mint_calls()
    }

    /// Mints wait so long at the vendor.
    pub fn slow_mints(&self, delay: &str) {
        self.vendor.faults(json!({ "on": "mint", "delay": delay }));
    }

    /// Whether a node says that it has no store.
    pub fn degraded(&self, node: usize) -> bool {
        self.nodes[node].metric(DEGRADED) == 1
    }

    /// Waits until every node says so, or none does; how long the slowest took.
    pub fn until_degraded(&self, degraded: bool) -> Duration {
        let began = Stopwatch::start();
        for node in 0..self.nodes.len() {
            let what = format!("node {node} says {} leases.store", if degraded { "" } else { "no more" });
            until(&what, || (self.degraded(node) == degraded).then_some(()));
        }
        began.elapsed()
    }

    /// Waits for lines of a node's log that hold all these words.
    pub fn says(&self, node: usize, words: &[&str]) -> Value {
        self.nodes[node].program.line(Stream::Stderr, |line| {
            words.iter().all(|word| line.contains(word)).then(|| serde_json::from_str(line).expect("JSON"))
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The request that opens the plug-in.
pub fn open(token: &str) -> String {
    request("GET", "/plugins/face-scan", &[&bearer(token)], "")
}

/// An answer, and for how long the machine ran meanwhile.
pub fn timed(ask: impl FnOnce() -> Answer) -> (Answer, Duration) {
    let began = Stopwatch::start();
    (ask(), began.elapsed())
}

/// Whose each URL is, seen so far: no URL may ever reach two users.
#[derive(Default)]
pub struct Owners {
    of: BTreeMap<String, String>,
}

impl Owners {
    #[track_caller]
    pub fn saw(&mut self, user: &str, url: &str) {
        let owner = self.of.entry(url.to_owned()).or_insert_with(|| user.to_owned());
        assert_eq!(owner, user, "one URL for two users");
    }
}

/// The one URL in these.
#[track_caller]
pub fn only(urls: impl IntoIterator<Item = String>) -> String {
    let urls: BTreeSet<String> = urls.into_iter().collect();
    assert_eq!(urls.len(), 1, "{urls:?}");
    urls.into_iter().next().expect("one")
}

/// Waits until all nodes hand out one URL, and tells it.
pub fn settled(fleet: &Fleet, token: &str) -> String {
    let deadline = Instant::now() + HANG;
    loop {
        let urls: BTreeSet<String> = (0..fleet.nodes.len()).map(|node| fleet.url(node, token)).collect();
        match urls.len() {
            1 => return urls.into_iter().next().expect("one"),
            _ => assert!(Instant::now() < deadline, "the nodes never agree: {urls:?}"),
        }
        // Pause: between two looks for a sign.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The same call of another build of the program, if there is one in the environment: `PROGRAM=target/dist/valet` measures what ships.
pub fn as_it_ships(command: Command) -> Command {
    let Ok(program) = std::env::var("PROGRAM") else { return command };
    let mut other = Command::new(std::fs::canonicalize(program).expect("a program"));
    other.args(command.get_args()).current_dir(command.get_current_dir().expect("its folder"));
    other
}
