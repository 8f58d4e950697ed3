//! What a stack is made of.

use std::sync::Arc;

use valet_gateway::clock::{Clock, ClockControl, Timestamp};
use valet_gateway::config::Config;
use valet_gateway::demo::idp::{self, IdpFaults, IdpOptions, IdpSim};
use valet_gateway::demo::provider::{self, ProviderOptions, ProviderSim};
use valet_gateway::logging::LineSink;
use valet_gateway::server::{self, Limits, Options};
use valet_gateway::telemetry::Metrics;

use super::ADMIN_TOKEN;
use super::app::App;
use super::lines::Lines;
use super::reload;
use super::stack::Stack;

/// Where a manual clock starts: 2027-01-15T08:00:00Z.
pub const START: i64 = 1_800_000_000;

/// A stack to be started. Every text is lines of TOML for its table.
pub struct Setup {
    preset: &'static str,
    server: String,
    listener: String,
    files: Vec<(String, String)>,
    admin: String,
    session: String,
    provider: String,
    plugin: String,
    tables: String,
    /// `external_id` of each issuer.
    issuers: Vec<Option<String>>,
    moved: bool,
    of_idps: Option<fn(&[String]) -> String>,
    keys_in_file: Option<Vec<String>>,
    vendor: ProviderOptions,
    idp: IdpFaults,
    limits: Limits,
    clock: Clock,
    clock_control: Option<Arc<ClockControl>>,
}

impl Setup {
    /// One vendor, one identity provider, the plug-in `face-scan` with `reuse = "user"`, a clock that stands still.
    #[allow(clippy::new_without_default)] // A stack is asked for, not defaulted to.
    pub fn new() -> Self {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(START));
        Self {
            preset: "intelliprove-v2",
            server: String::new(),
            listener: String::new(),
            files: Vec::new(),
            admin: String::new(),
            session: String::new(),
            provider: String::new(),
            plugin: String::new(),
            tables: String::new(),
            issuers: vec![None],
            moved: false,
            of_idps: None,
            keys_in_file: None,
            vendor: ProviderOptions::default(),
            idp: IdpFaults::default(),
            limits: Limits::default(),
            clock,
            clock_control: Some(clock_control),
        }
    }

    /// With the machine's clock.
    #[must_use]
    pub fn real_time(self) -> Self {
        Self { clock: Clock::system(), clock_control: None, ..self }
    }

    #[must_use]
    pub fn preset(self, preset: &'static str) -> Self {
        Self { preset, ..self }
    }

    #[must_use]
    pub fn server(self, lines: &str) -> Self {
        Self { server: self.server + lines + "\n", ..self }
    }

    #[must_use]
    pub fn listener(self, lines: &str) -> Self {
        Self { listener: self.listener + lines + "\n", ..self }
    }

    /// A file beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// A directory of policies, and that it is asked.
    #[must_use]
    pub fn policies(mut self, files: &[(&str, &str)]) -> Self {
        // One that is ignored, so that the directory is there though it has no policy.
        self = self.file("policies/README", "");
        for (name, content) in files {
            self = self.file(&format!("policies/{name}"), content);
        }
        self.tables("[policies]\ndirectory = \"policies\"")
    }

    /// With administration, for [`Stack::admin_post`].
    #[must_use]
    pub fn administered(self) -> Self {
        let admin = "token = { file = \"admin.token\" }".to_owned();
        Self { admin, ..self.file("admin.token", ADMIN_TOKEN) }
    }

    #[must_use]
    pub fn session(self, lines: &str) -> Self {
        Self { session: self.session + lines + "\n", ..self }
    }

    #[must_use]
    pub fn provider(self, lines: &str) -> Self {
        Self { provider: self.provider + lines + "\n", ..self }
    }

    /// For the plug-in `face-scan`.
    #[must_use]
    pub fn plugin(self, lines: &str) -> Self {
        Self { plugin: self.plugin + lines + "\n", ..self }
    }

    /// Whole tables at the end of the file.
    #[must_use]
    pub fn tables(self, text: &str) -> Self {
        Self { tables: self.tables + text + "\n", ..self }
    }

    /// An app of these lines; its upstream is this one.
    #[must_use]
    pub fn app(self, app: &App, lines: &str) -> Self {
        let name = if lines.contains("name =") { "" } else { "name = \"portal\"\n" };
        let upstream = &app.address;
        self.tables(&format!("[[app]]\n{name}upstreams = [\"{upstream}\"]\n{lines}"))
    }

    /// Tables that want to know the identity providers' addresses.
    #[must_use]
    pub fn session_tables(self, tables: fn(&[String]) -> String) -> Self {
        Self { of_idps: Some(tables), ..self }
    }

    /// One identity provider for each of these `external_id`s.
    #[must_use]
    pub fn issuers(self, external_ids: &[&str]) -> Self {
        Self { issuers: external_ids.iter().map(|id| Some((*id).to_owned())).collect(), ..self }
    }

    /// Two identity providers; the subjects of the second are those of the first.
    #[must_use]
    pub fn moved_issuer(self) -> Self {
        Self { issuers: vec![None, None], moved: true, ..self }
    }

    /// The keys in the gateway's key files, where they are not those of the vendor.
    #[must_use]
    pub fn keys_in_file(self, keys: &[&str]) -> Self {
        Self { keys_in_file: Some(keys.iter().map(|key| (*key).to_owned()).collect()), ..self }
    }

    #[must_use]
    pub fn vendor(mut self, change: impl FnOnce(&mut ProviderOptions)) -> Self {
        change(&mut self.vendor);
        self
    }

    /// What the identity providers do wrong from the start.
    #[must_use]
    pub fn idp_faults(self, faults: IdpFaults) -> Self {
        Self { idp: faults, ..self }
    }

    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Starts all of it. Accepts connections when it returns; keys may still be on their way.
    pub async fn start(self) -> Stack {
        let loopback = || "127.0.0.1:0".parse().expect("an address");
        let vendor = ProviderSim::new(ProviderOptions { clock: self.clock.clone(), ..self.vendor.clone() });
        let vendor = provider::spawn(loopback(), vendor).await.expect("a vendor");
        let mut idps = Vec::new();
        for _ in &self.issuers {
            let options = IdpOptions { clock: self.clock.clone(), faults: self.idp.clone(), ..IdpOptions::default() };
            let idp = IdpSim::with(options).expect("an identity provider");
            idps.push(idp::spawn(loopback(), idp).await.expect("an identity provider"));
        }

        let directory = tempfile::tempdir().expect("a folder");
        let keys = self.keys_in_file.clone().unwrap_or_else(|| vendor.sim.keys());
        for (n, key) in keys.iter().enumerate() {
            std::fs::write(directory.path().join(format!("key-{n}")), key).expect("a key file");
        }
        for (name, content) in &self.files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
        let text = self.text(&vendor.url(), &idps.iter().map(|idp| idp.url()).collect::<Vec<_>>(), keys.len());
        std::fs::write(directory.path().join(reload::FILE), &text).expect("a configuration");
        let config = Config::parse(&text, reload::FILE, directory.path());
        let config = config.unwrap_or_else(|faults| panic!("{faults:#?} in:\n{text}"));

        let metrics = Metrics::new("0.0.0", "test").expect("metrics");
        let lines = Lines::default();
        let sink = LineSink::new(lines.clone(), metrics.log_lines_lost.with_label_values(&["access"]));
        let options = Options {
            clock: self.clock,
            access_log: Some(sink.expect("a log")),
            limits: self.limits,
            metrics: metrics.clone(),
        };
        let gateway = server::start(config, options).unwrap_or_else(|fault| panic!("{fault}"));
        gateway.reload_from(reload::source(directory.path()));
        Stack::new(vendor, idps, gateway, self.clock_control, lines, metrics, directory)
    }

    /// The file that an operator would write.
    fn text(&self, vendor: &str, idps: &[String], keys: usize) -> String {
        let Self { preset, server, listener, admin, session, provider, plugin, tables, .. } = self;
        let keys: Vec<String> = (0..keys).map(|n| format!("{{ file = \"key-{n}\" }}")).collect();
        let keys = match keys.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let mut issuers = String::new();
        for (issuer, external_id) in idps.iter().zip(&self.issuers) {
            issuers.push_str(&format!("[[session.issuer]]\nissuer = \"{issuer}\"\naudiences = [\"my-app\"]\n"));
            issuers.push_str("algorithms = [\"ES256\"]\nkeys = { discovery = true }\n");
            issuers.extend(external_id.iter().map(|id| format!("external_id = \"{id}\"\n")));
            if self.moved && *issuer != idps[0] {
                issuers.push_str(&format!("subjects_of = \"{}\"\n", idps[0]));
            }
        }
        issuers.extend(self.of_idps.iter().map(|tables| tables(idps)));
        let public = if server.contains("public_url") { "" } else { "public_url = \"https://app.example.com\"" };
        let reuse = if plugin.contains("reuse") { "" } else { "reuse = \"user\"" };
        format!(
            r#"
[server]
{public}
{server}
[[listener]]
address = "127.0.0.1:0"
{listener}
[admin]
address = "127.0.0.1:0"
{admin}
[session]
{session}
{issuers}
[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "/plugins/face-scan"
{reuse}
{plugin}
[[provider]]
name = "intelliprove"
preset = "{preset}"
base_url = "{vendor}"
api_key = {keys}
redirect_hosts = ["127.0.0.1"]
{provider}
{tables}
"#
        )
    }
}
