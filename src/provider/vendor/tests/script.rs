//! A vendor for tests: a raw loopback server that answers as a closure says and remembers the bytes of each call.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::super::super::compile;
use super::*;
use crate::clock::ClockControl;
use crate::secret::SecretSource;

/// The first and the second key.
pub(super) const KEYS: [&str; 2] = ["canary-key-one", "canary-key-two"];

/// A call as it arrived.
#[derive(Clone)]
pub(super) struct Seen {
    /// The head, whole.
    pub(super) head: String,
    pub(super) body: String,
    /// How many calls came before it over the same connection.
    pub(super) earlier: usize,
}

impl Seen {
    /// Method and target.
    pub(super) fn line(&self) -> &str {
        self.head.split(" HTTP/1.1\r\n").next().unwrap()
    }

    /// The first key's call, or the second's.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.head.contains(&format!("\r\nx-api-key: {key}\r\n"))
    }

    pub(super) fn is_registration(&self) -> bool {
        self.line() == "POST /users"
    }
}

/// What the vendor does with a call.
#[derive(Clone)]
pub(super) enum Reply {
    /// Status, header lines, body.
    Is(u16, &'static str, String),
    /// Never answers.
    Silence,
    /// Closes the connection.
    HangUp,
    /// Answers with a good URL once told to.
    When(Arc<Notify>),
}

/// A URL that ends at this second.
pub(super) fn url_until(exp: i64) -> String {
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
    format!("https://plugin.acme.example/?action_token=canary.{payload}.sig")
}

/// When the tests' clock starts.
pub(super) const START: i64 = 1_767_000_000;

/// An answer with a URL of six hours.
pub(super) fn good() -> Reply {
    Reply::Is(200, "", url_until(START + 6 * 3600))
}

/// An answer with this status and nothing of use.
pub(super) fn status(status: u16) -> Reply {
    Reply::Is(status, "", "canary of an error body".into())
}

/// Time stands still until this is dropped: no time-out comes, however long the machine takes for what is to come first. Then time goes on whenever
/// nothing else happens.
pub(super) struct StandStill {
    /// Tokio lets no paused time go on while work of this kind is under way.
    _work: std::sync::mpsc::Sender<()>,
}

impl StandStill {
    pub(super) fn begin() -> Self {
        tokio::time::pause();
        let (work, end) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || end.recv());
        Self { _work: work }
    }
}

/// A scripted vendor, and the provider that calls it.
pub(super) struct Stage {
    pub(super) vendor: Vendor,
    pub(super) clock_control: Arc<ClockControl>,
    pub(super) metrics: Metrics,
    pub(super) keys: Vec<Arc<SecretCell>>,
    pub(super) directory: tempfile::TempDir,
    calls: Arc<Mutex<Vec<Seen>>>,
    arrived: Arc<Notify>,
}

impl Stage {
    /// A vendor with registration and one mint, `embed`. `extra`: more keys of the provider, before its tables.
    pub(super) async fn start(extra: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let register = "[register]\npath = '/users'\njson = { id = '{subject}' }\naccept = [200, 201]\n\
                        accept_if = [{ status = 400, body_contains = 'already exists' }]";
        Self::with_tables("{ header = 'x-api-key' }", extra, register, script).await
    }

    /// The same without registration.
    pub(super) async fn without_registration(
        extra: &str,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with_tables("{ header = 'x-api-key' }", extra, "", script).await
    }

    /// The same with the key in another place.
    pub(super) async fn with_auth(auth: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_tables(auth, "", "", script).await
    }

    async fn with_tables(
        auth: &str,
        extra: &str,
        tables: &str,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let recipe = format!(
            "auth = {auth}\n{extra}\n{tables}\n\
             [mint.embed]\npath = '/embed'\nquery = {{ id = '{{subject}}', language = '{{language}}' }}\nurl = 'text'\n\
             expires = 'jwt:action_token'\n"
        );
        Self::with_recipe(&recipe, KEYS, script).await
    }

    /// A vendor that is called by this recipe. `BASE` in it is its address.
    pub(super) async fn with_recipe(
        recipe: &str,
        secrets: [&str; 2],
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (address, calls, arrived) = serve(script).await;
        let recipe = recipe.replace("BASE", &format!("http://{address}"));
        let settings: ProviderSettings = toml::from_str(&format!(
            "name = 'acme'\nbase_url = 'http://{address}'\napi_key = [{{ file = '0' }}, {{ file = '1' }}]\n\
             redirect_hosts = ['*.acme.example', '127.0.0.1']\n{recipe}"
        ))
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let keys = [0, 1].map(|at| {
            std::fs::write(directory.path().join(at.to_string()), secrets[at]).unwrap();
            Arc::new(SecretCell::open(SecretSource::File(at.to_string().into()), directory.path()).unwrap())
        });
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(START));
        let metrics = Metrics::new("0", "test").unwrap();
        let client = Client::new().unwrap();
        let recipe = compile(&settings).unwrap();
        let secrets = VendorSecrets {
            keys: keys.to_vec(),
            subject: Some(keys[0].clone()),
            headers: settings.secret_headers.keys().map(|_| keys[1].clone()).collect(),
        };
        let vendor = Vendor::new(&settings, recipe, secrets, client, clock, &metrics);
        Self { vendor, clock_control, metrics, keys: keys.to_vec(), directory, calls, arrived }
    }

    /// A mint for Ada.
    pub(super) async fn mint(&self) -> Result<Minted, MintFailure> {
        self.mint_for(&person("https://idp.example", "ada")).await
    }

    /// A mint whose last call, after so many in all, the vendor reads and does not answer.
    pub(super) async fn mint_in_vain(&self, calls: usize) -> Result<Minted, MintFailure> {
        let still = StandStill::begin();
        let read = async {
            while self.calls().len() < calls {
                self.call_arrived().await;
            }
            drop(still);
        };
        let (minted, ()) = tokio::join!(self.mint(), read);
        tokio::time::resume();
        minted
    }

    pub(super) async fn mint_for(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        self.vendor.minter("embed").unwrap().mint(input).await
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<Seen> {
        self.calls.lock().clone()
    }

    /// `R` for each registration, `M` for each mint.
    pub(super) fn story(&self) -> String {
        self.calls().iter().map(|call| if call.is_registration() { 'R' } else { 'M' }).collect()
    }

    /// Returns when the vendor has read a call since the last time.
    pub(super) async fn call_arrived(&self) {
        self.arrived.notified().await;
    }

    /// `valet_mints_total` of this outcome.
    pub(super) fn counted(&self, outcome: &str) -> u64 {
        self.metrics.mints.with_label_values(&["acme", outcome]).get()
    }

    /// `valet_degraded`.
    pub(super) fn degraded(&self) -> i64 {
        self.metrics.degraded.with_label_values(&["provider:acme"]).get()
    }

    pub(super) fn pass(&self, millis: u64) {
        self.clock_control.advance(Duration::from_millis(millis));
    }
}

/// Somebody whom the vendor knows under the subject itself.
pub(super) fn person(issuer: &str, subject: &str) -> MintInput {
    MintInput {
        external_id: subject.into(),
        issuer: issuer.into(),
        subject: subject.into(),
        language: None,
        claims: [].into(),
        parameters: [].into(),
        context: Default::default(),
    }
}

type Served = (std::net::SocketAddr, Arc<Mutex<Vec<Seen>>>, Arc<Notify>);

/// Serves until the test's runtime ends.
pub(super) async fn serve(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls, arrived, script) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()), Arc::new(script));
    let served = (address, calls.clone(), arrived.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (calls, arrived, script) = (calls.clone(), arrived.clone(), script.clone());
            tokio::spawn(async move {
                let mut earlier = 0;
                while let Some(seen) = read(&mut stream, earlier).await {
                    earlier += 1;
                    calls.lock().push(seen.clone());
                    let reply = script(&seen);
                    arrived.notify_one();
                    answer(&mut stream, reply).await?;
                }
                Some(())
            });
        }
    });
    served
}

async fn read(stream: &mut TcpStream, earlier: usize) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.split("content-length: ").nth(1).map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { head, body: String::from_utf8(body).unwrap(), earlier })
}

/// `None`: the connection is over.
async fn answer(stream: &mut TcpStream, reply: Reply) -> Option<()> {
    let (status, fields, body) = match reply {
        Reply::Is(status, fields, body) => (status, fields, body),
        Reply::Silence => std::future::pending().await,
        Reply::HangUp => return None,
        Reply::When(told) => {
            told.notified().await;
            (200, "", url_until(START + 6 * 3600))
        }
    };
    let text = format!("HTTP/1.1 {status} Some\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok()
}
