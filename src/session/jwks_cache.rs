//! The JWKS cache of one entry of an issuer's keys (RFC 7517): the keys in force, when a remote set is fetched, with which backoff, how long it is
//! believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::watch;

use super::key_set::{Candidates, KeySet};
use super::key_settings::fingerprint;
use super::keys::Key;
use super::local::Local;
use super::remote::{FetchFault, KeyClient, Place};
use super::settings::{IssuerSettings, KeysSettings, SignatureAlgorithm};
use super::shown;
use crate::clock::{Clock, Tick};
use crate::telemetry::{Metrics, Outcome};

/// Keys that were never had are tried for after 1 s, 2 s, 4 s, … up to the cool-down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// When remote keys are fetched, and how long they are believed.
struct RefreshPolicy {
    refresh: Duration,
    cool_down: Duration,
    max_stale: Duration,
}

/// Where the keys come from.
enum Source {
    Remote(Place, Arc<dyn KeyClient>),
    Local(Local),
}

/// The keys of one entry of an issuer's `keys`.
pub(super) struct JwksCache {
    /// Of the settings and of what they name: rings alike can take each other's place.
    settings: u64,
    issuer: Arc<str>,
    algorithms: Box<[SignatureAlgorithm]>,
    source: Source,
    refresh_policy: RefreshPolicy,
    clock: Clock,
    metrics: Metrics,
    keys: ArcSwap<KeySet>,
    /// Held while `keys` is replaced.
    replacing: Mutex<()>,
    /// The tick (in ms) from which the keys are not believed any more: none ever had, `i64::MIN`; local ones, `i64::MAX`.
    believed_until: AtomicI64,
    failing: AtomicBool,
    trouble: Arc<Trouble>,
    failures: AtomicU32,
    attempt: Mutex<Attempt>,
    /// What was last said of unusable keys, so that it is said once.
    complaints: Mutex<(Vec<String>, Vec<String>)>,
}

/// `valet_degraded{what="keys:ISSUER"}`: 1 while any of the issuer's entries is in trouble.
pub(super) struct Trouble {
    entries: Mutex<usize>,
    gauge: IntGauge,
}

impl Trouble {
    /// None of the issuer's entries is in trouble yet.
    pub(super) fn of(issuer: &str, metrics: &Metrics) -> Arc<Self> {
        let gauge = metrics.degraded.with_label_values(&[&format!("keys:{issuer}")]);
        gauge.set(0);
        Arc::new(Self { entries: Mutex::new(0), gauge })
    }

    /// Notes in an entry's flag whether it is in trouble, and counts it.
    fn note(&self, flag: &AtomicBool, failing: bool) {
        // Flag and count change together, or two fetches that end at once would leave a count that nothing takes back.
        let mut entries = self.entries.lock();
        if flag.swap(failing, Ordering::AcqRel) != failing {
            *entries = if failing { *entries + 1 } else { entries.saturating_sub(1) };
        }
        self.gauge.set(i64::from(*entries > 0));
    }

    /// One that is well says nothing: an issuer and a transmitter of one name share the gauge.
    fn show(&self) {
        self.gauge.set(self.gauge.get().max(i64::from(*self.entries.lock() > 0)));
    }
}

#[derive(Default)]
struct Attempt {
    last: Option<Tick>,
    /// Open while a fetch is under way.
    under_way: Option<watch::Receiver<()>>,
}

impl JwksCache {
    /// Reads local keys now; remote ones stay unknown until the first fetch. Every fault, in the operator's words.
    pub(super) fn open(
        settings: &IssuerSettings,
        (keys, algorithms): (&KeysSettings, &[SignatureAlgorithm]),
        directory: &Path,
        client: Arc<dyn KeyClient>,
        clock: Clock,
        (trouble, metrics): (&Arc<Trouble>, &Metrics),
    ) -> Result<Self, Vec<String>> {
        let entry = keys;
        let refresh_policy =
            RefreshPolicy { refresh: keys.refresh().0, cool_down: keys.cooldown().0, max_stale: keys.max_stale().0 };
        let source = source(&settings.issuer, keys, algorithms, directory, client)?;
        let (keys, believed_until) = match &source {
            Source::Remote(..) => (Vec::new(), i64::MIN),
            // Of keys that are left out the configuration has warned.
            Source::Local(local) => (local.read(algorithms).map_err(|fault| vec![fault])?.keys, i64::MAX),
        };
        Ok(Self {
            settings: fingerprint(settings, (entry, algorithms), directory),
            issuer: settings.issuer.as_str().into(),
            algorithms: algorithms.into(),
            source,
            refresh_policy,
            clock,
            metrics: metrics.clone(),
            keys: ArcSwap::from_pointee(KeySet::default().followed_by(keys)),
            replacing: Mutex::new(()),
            believed_until: AtomicI64::new(believed_until),
            failing: AtomicBool::new(false),
            trouble: Arc::clone(trouble),
            failures: AtomicU32::new(0),
            attempt: Mutex::new(Attempt::default()),
            complaints: Mutex::default(),
        })
    }

    /// Whether this entry names the algorithm.
    pub(super) fn names(&self, algorithm: SignatureAlgorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The algorithms of this entry.
    pub(super) fn algorithms(&self) -> &[SignatureAlgorithm] {
        &self.algorithms
    }

    /// The names of its keys.
    pub(super) fn kids(&self) -> Vec<String> {
        self.keys.load().kids()
    }

    /// The keys that a token may mean. Keys that are not believed any more count as unknown.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: SignatureAlgorithm) -> Candidates {
        if self.is_usable() { self.keys.load().candidates(kid, algorithm) } else { Candidates::Unknown }
    }

    /// Whether there are keys, and they are still believed.
    pub(super) fn is_usable(&self) -> bool {
        self.is_usable_at(|| self.clock.tick())
    }

    /// The same at a moment that is asked for only where it counts.
    pub(super) fn is_usable_at(&self, now: impl FnOnce() -> Tick) -> bool {
        match self.believed_until.load(Ordering::Acquire) {
            i64::MAX => true,
            i64::MIN => false,
            until => millis(now()) < until,
        }
    }

    /// Whether there were keys once.
    pub(super) fn had_once(&self) -> bool {
        self.believed_until.load(Ordering::Acquire) != i64::MIN
    }

    /// Whether the last fetch or reading failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether the keys are fetched.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.source, Source::Remote(..))
    }

    /// For a request whose key is unknown: the fetch under way, or one that it starts unless the last attempt was less than a cool-down
    /// ago. The receiver's wait ends with the fetch. Dropped, the fetch goes on.
    pub(super) fn ask_for_unknown(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        self.start(false)
    }

    /// How long to wait before asking again makes sense: what is left of the cool-down, at least a second.
    pub(super) fn retry_after(&self) -> Duration {
        let last = self.attempt.lock().last;
        let gone = last.map_or(self.refresh_policy.cool_down, |last| self.clock.tick().since(last));
        self.refresh_policy.cool_down.saturating_sub(gone).max(Duration::from_secs(1))
    }

    /// Starts a fetch on a task of its own, or joins the one under way. `None` for local keys, and (unless `forced`) within the cool-down.
    fn start(self: &Arc<Self>, forced: bool) -> Option<watch::Receiver<()>> {
        let Source::Remote(..) = self.source else { return None };
        let mut attempt = self.attempt.lock();
        if let Some(under_way) = attempt.under_way.as_ref().filter(|channel| channel.has_changed().is_ok()) {
            return Some(under_way.clone());
        }
        let now = self.clock.tick();
        if !forced && attempt.last.is_some_and(|last| now.since(last) < self.refresh_policy.cool_down) {
            return None;
        }
        attempt.last = Some(now);
        let (ended, under_way) = watch::channel(());
        attempt.under_way = Some(under_way.clone());
        let jwks = Arc::clone(self);
        tokio::spawn(async move {
            // A fault is counted and logged where it is found.
            jwks.fetch().await.ok();
            drop(ended);
        });
        Some(under_way)
    }

    /// Fetches the keys now and puts them in force. Nothing to do for local ones. Dropped, the keys stay as they are.
    pub(super) async fn fetch(&self) -> Result<(), FetchFault> {
        let Source::Remote(place, client) = &self.source else { return Ok(()) };
        // Keys are as old as the question, not as the answer.
        let asked = self.clock.tick();
        let fetched = place.fetch(client.as_ref(), &self.algorithms).await;
        let outcome = fetched.as_ref().map_or_else(|fault| fault.outcome(), |_| Outcome::Ok);
        self.metrics.jwks_fetches.with_label_values(&[&self.issuer, outcome.label()]).inc();
        match fetched {
            Ok(reading) => {
                self.warn_once(reading.remarks, reading.foreign);
                self.install(reading.keys);
                self.believed_until.store(millis(asked.plus(self.refresh_policy.max_stale)), Ordering::Release);
                self.failures.store(0, Ordering::Release);
                self.set_failing(false);
                Ok(())
            }
            Err(fault) => {
                self.metrics.jwks_failures.with_label_values(&[&self.issuer, fault.cause()]).inc();
                if matches!(fault, FetchFault::NoUsableKey(_)) {
                    // A set is what the issuer says of its keys: those that are not in it have been taken out.
                    self.install(Vec::new());
                }
                self.failures.fetch_add(1, Ordering::AcqRel);
                self.set_failing(true);
                tracing::warn!(target: super::TARGET, issuer = %shown(&self.issuer), cause = fault.cause(), %fault, "keys not had");
                Err(fault)
            }
        }
    }

    /// Reads local keys again. A reading that fails keeps those before and says why.
    pub(super) fn reread(&self) -> Result<(), String> {
        let Source::Local(local) = &self.source else { return Ok(()) };
        let read = local.read(&self.algorithms);
        self.set_failing(read.is_err());
        let reading = read?;
        self.warn_once(reading.remarks, reading.foreign);
        self.install(reading.keys);
        Ok(())
    }

    /// Whether this one was made of the same settings as the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// Puts the local keys of a ring alike, which were read later, in force here. What is fetched stays.
    pub(super) fn take_keys_of(&self, fresh: &Self) {
        if !self.is_remote() {
            self.replace(|before| before.following(&fresh.keys.load()));
            self.set_failing(false);
        }
    }

    /// Says again whether the issuer's keys are in trouble, where somebody else has said something of them.
    pub(super) fn show_trouble(&self) {
        self.trouble.show();
    }

    /// The file behind it, if it is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Local(local) => local.path(),
            Source::Remote(..) => None,
        }
    }

    /// Keeps the keys of a remote set fresh until `stop` says so or is gone. Returns at once for local ones. Dropped, nothing is fetched
    /// any more but what is under way.
    pub(super) async fn keep_fresh(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while let Some(mut under_way) = self.start(true) {
            let ended = async {
                under_way.changed().await.ok();
                tokio::time::sleep(self.pause()).await;
            };
            tokio::select! {
                () = ended => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// From one background attempt to the next. Jittered, so that many gateways do not ask in step.
    fn pause(&self) -> Duration {
        let failures = self.failures.load(Ordering::Acquire);
        let pause = match (failures, self.had_once()) {
            (0, _) => self.refresh_policy.refresh,
            (_, true) => self.refresh_policy.cool_down.min(self.refresh_policy.refresh),
            (failures, false) => {
                FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(5)).min(self.refresh_policy.cool_down)
            }
        };
        pause.mul_f64(0.9 + 0.1 * fastrand::f64())
    }

    /// Readers see the old set or the new one. What the keys that left have verified ends here.
    fn install(&self, fresh: Vec<Key>) {
        self.replace(|before| before.followed_by(fresh));
    }

    fn replace(&self, next: impl FnOnce(&KeySet) -> KeySet) {
        // Two at a time would each judge by the set that the other replaces.
        let _one_at_a_time = self.replacing.lock();
        let before = self.keys.load_full();
        let next = Arc::new(next(&before));
        self.keys.store(Arc::clone(&next));
        before.retire_all_but(&next);
    }

    /// Says once what is wrong with keys, and which are not for us: that is as it should be, and no warning.
    fn warn_once(&self, wrong: Vec<String>, foreign: Vec<String>) {
        let mut said = self.complaints.lock();
        let issuer = shown(&self.issuer).to_string();
        if said.0 != wrong {
            wrong.iter().for_each(|line| tracing::warn!(target: super::TARGET, issuer, "{line}"));
            said.0 = wrong;
        }
        if said.1 != foreign {
            foreign.iter().for_each(|line| tracing::info!(target: super::TARGET, issuer, "{line}"));
            said.1 = foreign;
        }
    }

    fn set_failing(&self, failing: bool) {
        self.trouble.note(&self.failing, failing);
    }
}

/// Exactly one form of `keys`, with algorithms that it can serve.
fn source(
    issuer: &str,
    keys: &KeysSettings,
    algorithms: &[SignatureAlgorithm],
    directory: &Path,
    client: Arc<dyn KeyClient>,
) -> Result<Source, Vec<String>> {
    let mut faults = Vec::new();
    let mut forms = Vec::new();
    if keys.discovery == Some(true) {
        match Place::of_issuer(issuer) {
            Some(place) => forms.push(Source::Remote(place, Arc::clone(&client))),
            None => faults.push("keys.discovery: the issuer is no https:// address".to_owned()),
        }
    }
    if let Some(url) = &keys.jwks_url {
        match url.url() {
            Some(url) => forms.push(Source::Remote(Place::Set(url.clone()), client)),
            None => faults.push(format!("keys.jwks_url: {url} is no address")),
        }
    }
    let secret = keys.secret.as_ref().map(|secret| Local::Secret(secret.clone(), directory.to_owned()));
    forms.extend(keys.jwks_file.as_ref().map(|path| Source::Local(Local::Set(directory.join(path)))));
    forms.extend(keys.pem_file.as_ref().map(|path| Source::Local(Local::Pem(directory.join(path)))));
    forms.extend(secret.map(Source::Local));
    if faults.is_empty() && forms.len() != 1 {
        faults.push(
            "keys: expected exactly one of `discovery = true`, `jwks_url`, `jwks_file`, `pem_file`, `secret`"
                .to_owned(),
        );
    }
    let symmetric = keys.secret.is_some();
    if algorithms.is_empty() {
        faults.push("algorithms: names none".to_owned());
    }
    if algorithms.iter().any(|a| a.is_symmetric() != symmetric) {
        faults
            .push("algorithms: HS256, HS384 and HS512 need `keys = { secret = … }`, the others any other form".into());
    }
    match forms.pop() {
        Some(source) if faults.is_empty() => Ok(source),
        Some(_) | None => Err(faults),
    }
}

fn millis(tick: Tick) -> i64 {
    i64::try_from(tick.since(Tick::from_millis(0)).as_millis()).unwrap_or(i64::MAX - 1)
}
