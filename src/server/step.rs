//! The one step by which another configuration comes into force: as a whole, or not at all; and if even that can't be had, what has become of it is said.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::accept::Bound;
use super::bind::Fresh;
use super::builder::LastStep;
use super::generation::{self, Generation};
use super::listeners::Listener;
use super::{Live, State};
use crate::admin::Health;
use crate::lease::Scope;

/// Everything that is needed to put another configuration in force. Nothing can fail any more.
pub(super) struct Prepared {
    pub next: Generation,
    pub fresh: Fresh,
    pub last_steps: Vec<LastStep>,
    pub changed: Vec<String>,
}

/// Why a configuration is not in force, or not as a whole: what is in force, a line each.
#[derive(Debug)]
pub(super) struct NotWhole(pub Vec<String>);

/// Does it. A panic is told of by the hook, and ends here.
fn attempt<T>(act: impl FnOnce() -> T) -> Option<T> {
    // Whoever calls this says what holds behind a panic of it.
    catch_unwind(AssertUnwindSafe(act)).ok()
}

impl Live {
    /// The one step. Nothing in it waits, and nothing in it is known to fail: what panics all the same is a fault of ours, and is told.
    pub(super) fn put_in_force(self: &Arc<Self>, prepared: Prepared) -> Result<(), NotWhole> {
        let Prepared { next, fresh, last_steps, .. } = prepared;
        let mut state = self.state.lock();
        let before = state.generation.clone();
        // Keys, secrets and certificates: where only their files have changed, the parts before take them as they would by themselves some seconds later.
        if attempt(|| last_steps.into_iter().for_each(|step| step())).is_none() {
            return Err(NotWhole(vec![
                "the reload panicked while it took over keys and secrets; what was in force goes on, some of them read again".into(),
            ]));
        }
        let (next, health) = (Arc::new(next), state.health.clone());
        let followed = attempt(|| {
            let health = next.health(&self.around).following(&state.health);
            self.judge_by(&mut state, &next, health);
        });
        if followed.is_none() {
            let back = attempt(|| self.judge_by(&mut state, &before, health));
            return Err(NotWhole(vec![match back {
                Some(()) => "the reload panicked as it came into force; what was in force goes on".into(),
                None => "the reload panicked as it came into force, and so did the way back: restart".into(),
            }]));
        }
        let mut broken = Vec::new();
        let mut part = |name: &'static str, done: Option<()>| broken.extend(done.is_none().then_some(name));
        part("its listeners", attempt(|| self.change_listeners(&mut state, &next, fresh.listeners)));
        part("its administration address", attempt(|| self.change_admin(&mut state, &next, fresh.admin)));
        part("its minter", attempt(|| self.change_minter(&mut state, &next, fresh.minter)));
        part("its socket for upgrades", attempt(|| self.change_upgrade(&mut state, &next, fresh.upgrade)));
        part("what looks after its parts", attempt(|| state.tasks.follow(next.tasks(&self.listening))));
        drop(state);
        part("the end of leases that it does not have", attempt(|| self.keep_scopes(&next, &before)));
        part("the end of leases that it holds less long", attempt(|| tighten(&next, &before)));
        part("its gauges", attempt(|| self.show_loaded(&next, &before)));
        part("the end of the one before", attempt(|| drop(tokio::spawn(generation::bury(before)))));
        if broken.is_empty() {
            return Ok(());
        }
        let told = |name| format!("requests are judged by the new configuration, but {name} panicked: restart");
        Err(NotWhole(broken.into_iter().map(told).collect()))
    }

    /// From now on each request that begins is judged by this one, of browsers and of administrators, and what other nodes say goes to it.
    fn judge_by(self: &Arc<Self>, state: &mut State, generation: &Arc<Generation>, health: Arc<Health>) {
        let proxying = generation.proxying();
        if let Some(proxying) = proxying.filter(|_| proxying != state.proxying) {
            self.front.set_proxy(proxying.conf());
            state.proxying = Some(proxying);
        }
        self.front.set_connections_per_address(generation.config.server.connections_per_address);
        self.listening.replace(generation.revoker.clone());
        self.in_force.replace(generation.gateway.clone());
        state.health = health;
        if let Some(admin) = self.admin.get() {
            admin.replace(state.health.clone(), generation.api(self));
        }
        state.generation = generation.clone();
    }

    /// The listeners of this configuration: those before stay where it has them, and leave where it has not.
    pub(super) fn change_listeners(&self, state: &mut State, generation: &Generation, fresh: Vec<Option<Bound>>) {
        let threads = generation.worker_threads();
        // What could fail comes first, while those before stand where they stood.
        let wanted = generation.config.listeners.iter().zip(&generation.acceptors).zip(fresh);
        let wanted: Vec<_> = wanted
            .map(|((settings, acceptor), bound)| {
                let address = settings.address.as_str();
                let started =
                    bound.map(|bound| Listener::start(address, bound, acceptor.clone(), &self.front, threads));
                (address, acceptor, started)
            })
            .collect();
        let mut before = std::mem::take(&mut state.listeners);
        for (address, acceptor, started) in wanted {
            let kept = before.iter().position(|listener| listener.setting == address);
            if let Some(listener) = started.or_else(|| kept.map(|at| before.remove(at))) {
                listener.set_acceptor(acceptor.clone());
                state.listeners.push(listener);
            }
        }
        before.into_iter().for_each(|listener| drop(tokio::spawn(listener.leave(self.front.clone()))));
    }

    /// Where a plug-in is gone or changed: to look through a million leases for nobody's would take cores from requests.
    fn keep_scopes(&self, next: &Generation, before: &Generation) {
        let of = |generation: &Generation| -> HashSet<Scope> {
            generation.revoker.scopes().iter().map(|plugin| plugin.scope).collect()
        };
        let kept = of(next);
        if !of(before).is_subset(&kept) {
            tokio::spawn(next.components.book.leases().clone().keep_scopes(kept));
        }
    }

    fn show_loaded(&self, next: &Generation, before: &Generation) {
        self.note_loaded(next, Some(before));
        // All of them could be read.
        next.components.secrets.iter().for_each(|watched| watched.trouble.set(0));
        next.components.certificates_trouble.set(0);
    }
}

/// Where a plug-in holds its leases less long than before, those that are held follow.
fn tighten(next: &Generation, before: &Generation) {
    let (mut rules, old) = (next.rules(), before.rules());
    next.components.book.leases().set_rules(rules.clone());
    rules.retain(|scope, rules| old.get(scope).is_some_and(|old| rules.are_tighter_than(old)));
    if !rules.is_empty() {
        tokio::spawn(next.components.book.leases().clone().tighten(rules));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::super::{ConfigSource, Options, Reloaded, ServerHandle, start};
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::gateway::Limits;
    use crate::telemetry::Metrics;

    /// A gateway whose one app is at `path`.
    fn config(path: &str) -> Config {
        let text = format!(
            r#"
            [server]
            public_url = "http://127.0.0.1:8080"
            [[listener]]
            address = "127.0.0.1:0"
            [session]
            sources = ["header:authorization"]
            [[session.issuer]]
            issuer = "http://127.0.0.1:1"
            audiences = ["a"]
            algorithms = ["ES256"]
            keys = {{ discovery = true }}
            [[app]]
            name = "portal"
            path = "{path}"
            upstreams = ["127.0.0.1:1"]
            session = "required"
            "#
        );
        Config::parse(&text, "valet.toml", std::path::Path::new(".")).unwrap()
    }

    /// What answers there without a session: 401 at the app, 404 elsewhere.
    async fn status(server: &ServerHandle, path: &str) -> u16 {
        let (address, path) = (server.addresses[0].clone(), path.to_owned());
        let ask = move || {
            let mut connection = std::net::TcpStream::connect(address).unwrap();
            write!(connection, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    fn serving() -> ServerHandle {
        let metrics = Metrics::new("0", "test").unwrap();
        let options = Options { clock: Clock::system(), access_log: None, limits: Limits::default(), metrics };
        let server = start(config("/before/"), options).unwrap();
        let read = Box::new(|| Ok(config("/after/")));
        server.reload_from(ConfigSource { file: None, read });
        server
    }

    /// What comes into force next, ready but for the step.
    async fn prepared(server: &ServerHandle) -> (Prepared, tokio::sync::OwnedMutexGuard<()>) {
        let turn = server.live.turn.clone().lock_owned().await;
        (server.live.prepare().unwrap().expect("another path"), turn)
    }

    fn counted(server: &ServerHandle, outcome: &str) -> u64 {
        server.metrics.reloads.with_label_values(&[outcome]).get()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_before_anything_is_in_force_leaves_the_old_one_and_is_no_reload_that_was_applied() {
        let server = serving();
        let (mut prepared, turn) = prepared(&server).await;
        prepared.last_steps.push(Box::new(|| panic!("a fault of ours")));
        let Reloaded::Refused(faults) = server.live.finish(prepared, turn).await else { panic!("it was applied") };
        assert!(faults[0].contains("what was in force goes on"), "{faults:?}");
        assert_eq!((counted(&server, "applied"), counted(&server, "refused")), (0, 1));
        assert_eq!((status(&server, "/before/").await, status(&server, "/after/").await), (401, 404));
        // And the next one is taken.
        assert_eq!(server.reload().await, Reloaded::Applied(vec!["app.portal".into()]));
        assert_eq!((status(&server, "/before/").await, status(&server, "/after/").await), (404, 401));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_behind_it_says_what_is_in_force_and_what_is_not() {
        let server = serving();
        let (prepared, _turn) = prepared(&server).await;
        let live = server.live.clone();
        // No task can be begun on a thread of no runtime.
        let done = std::thread::spawn(move || live.put_in_force(prepared)).join().expect("no panic comes out");
        let NotWhole(faults) = done.expect_err("tasks are begun in it");
        assert!(faults.iter().any(|fault| fault.contains("the new configuration, but")), "{faults:?}");
        assert!(faults.iter().all(|fault| fault.ends_with("panicked: restart")), "{faults:?}");
        assert!(!faults.iter().any(|fault| fault.contains("listeners")), "they stayed: {faults:?}");
        assert_eq!((status(&server, "/before/").await, status(&server, "/after/").await), (404, 401));
        assert_eq!(server.addresses_now(), server.addresses);
    }
}
