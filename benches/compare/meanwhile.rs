//! What Valet has to do beside its answers, in the row of many leases: the sweep of those that have ended, other keys of the issuer, another configuration.
//! Each is shown to have happened within the load.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cases::target;
use crate::client::{Client, Request, Way};
use crate::load::{Load, once};
use crate::peers::Started;
use crate::site::Site;
use crate::stage::Stage;

/// Users whose tokens are made at once.
const BATCH: usize = 20_000;

/// How long a lease of the plug-in `short` lives, by its configuration.
const SHORT: Duration = Duration::from_secs(30);

/// The first of them end this long after the load has begun.
const LEAD: Duration = Duration::from_secs(4);

/// Read again and put in force: one more plug-in, and another pool of an app.
const ADDED: &str = r#"
[[plugin]]
name = "added"
provider = "vendor"
mint = "face-scan"
path = "/plugins/added"
reuse = "user"
[[app]]
name = "portal"
path = "/app"
upstreams = ["127.0.0.1:9"]
"#;

/// Asks for a URL of each of these users.
pub fn fill(stage: &Stage, server: &Started, site: &Site, path: &str, users: Range<usize>) -> Result<()> {
    for from in users.clone().step_by(BATCH) {
        let batch = from..users.end.min(from + BATCH);
        let load = Load {
            target: target(server, site, Way::Http1),
            requests: batch.map(|user| Request::get(path, Some(&site.token_of_many(user)))).collect(),
            status: 302,
            connections: 32,
            streams: 1,
        };
        stage.runtime.block_on(once(&load))?;
    }
    Ok(())
}

/// What stood in the metrics when the load began, and what will be done during it.
pub struct Meanwhile<'a> {
    stage: &'a Stage,
    server: &'a Started,
    site: &'a Site,
    length: Duration,
    short: usize,
    before: Counts,
}

/// Of the metrics.
#[derive(Clone, Copy)]
struct Counts {
    held: f64,
    evicted: f64,
    fetched: f64,
    reloaded: f64,
}

impl<'a> Meanwhile<'a> {
    /// The keys that the issuer has before it rotates.
    pub fn prepare(stage: &Stage, site: &Site) -> std::result::Result<(), String> {
        put(stage.origin.address, "/keys", &site.key_set(&["key-0", "key-1"])).map_err(|fault| fault.to_string())
    }

    /// Fills in leases that will end within the load, and waits until that is soon.
    pub fn begin(stage: &'a Stage, server: &'a Started, site: &'a Site, length: Duration) -> Result<Self> {
        for (key, wanted) in [("key-0", true), ("key-2", false)] {
            expect(opens(stage, server, site, "/plugins/face-scan", key)? == wanted, "the keys are others before")?;
        }
        let (began, short) = (Instant::now(), (site.users / 10).max(100));
        fill(stage, server, site, "/plugins/short", 0..short)?;
        expect(began.elapsed() + LEAD < SHORT, "filling in what is to be swept took too long")?;
        std::thread::sleep((SHORT - LEAD).saturating_sub(began.elapsed()));
        Ok(Self { stage, server, site, length, short, before: Counts::of(server.admin)? })
    }

    /// Runs the load, does all of it meanwhile, and says in words what has happened.
    pub fn during<T>(self, load: impl FnOnce() -> Result<T>) -> Result<(T, String)> {
        let (server, site, length) = (self.server, self.site, self.length);
        let set = site.key_set(&["key-1", "key-2"]);
        let (origin, configuration) = (self.stage.origin.address, configuration(site));
        let process = server.running.child.id();
        let acting = std::thread::spawn(move || -> Result<()> {
            // Pause: load that comes at a rate goes on; the keys are fetched each 10 s.
            std::thread::sleep(length / 10);
            put(origin, "/keys", &set)?;
            std::thread::sleep(length / 2);
            let text = std::fs::read_to_string(&configuration)?;
            let before = text.split("[[app]]").next().unwrap_or_default();
            std::fs::write(&configuration, format!("{before}{ADDED}"))?;
            crate::running::reload(process);
            Ok(())
        });
        let came = load()?;
        // Before anything else: what happens behind the load does not count.
        let after = Counts::of(server.admin)?;
        acting.join().map_err(|_| Error::other("what was to happen meanwhile panicked"))??;
        let swept = self.before.held - after.held;
        let fetched = after.fetched - self.before.fetched;
        expect(swept >= self.short as f64 && after.evicted == self.before.evicted, "what has ended was not swept")?;
        expect(fetched >= 1.0, "no keys were fetched")?;
        expect(after.reloaded - self.before.reloaded == 1.0, "the configuration was not read again")?;
        for (key, wanted) in [("key-0", false), ("key-2", true)] {
            expect(
                opens(self.stage, server, site, "/plugins/face-scan", key)? == wanted,
                "the keys are still those before",
            )?;
        }
        expect(opens(self.stage, server, site, "/plugins/added", "key-2")?, "the added plug-in is not there")?;
        Ok((came, format!("{swept:.0} leases swept, keys fetched {fetched:.0} times and rotated, 1 reload")))
    }
}

/// Where Valet's configuration of this row lies.
fn configuration(site: &Site) -> PathBuf {
    site.files().join("Valet-valet-leases.toml")
}

/// Whether a token that this key signed leads to a URL.
fn opens(stage: &Stage, server: &Started, site: &Site, path: &str, key: &str) -> Result<bool> {
    let request = Request::get(path, Some(&site.token_of(1, key)));
    let target = target(server, site, Way::Http1);
    stage.runtime.block_on(async { Ok(Client::open(&target).await?.ask(&request).await? == 302) })
}

impl Counts {
    fn of(admin: SocketAddr) -> Result<Self> {
        let text = get(admin, "/metrics")?;
        let sum = |start: &str, part: &str| {
            let lines = text.lines().filter(|line| line.starts_with(start) && line.contains(part));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok(Self {
            held: sum("valet_leases_held", ""),
            evicted: sum("valet_leases_evicted_total", ""),
            fetched: sum("valet_jwks_fetches_total", "outcome=\"ok\""),
            reloaded: sum("valet_reloads_total", "outcome=\"applied\""),
        })
    }
}

fn expect(good: bool, fault: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::other(fault.to_owned())) }
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    talk(address, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
}

fn put(address: SocketAddr, path: &str, body: &str) -> Result<()> {
    let length = body.len();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {length}"
    );
    talk(address, &format!("{head}\r\n\r\n{body}")).map(drop)
}

/// One request and its whole answer, which must be a 200.
fn talk(address: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    expect(answer.starts_with("HTTP/1.1 200 "), "no 200")?;
    Ok(answer)
}
