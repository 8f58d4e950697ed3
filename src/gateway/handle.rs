//! One request: from the bytes of its head to the bytes of its answer, its counters and its access line.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::clock::{Stopwatch, Timestamp};
use crate::gateway::Gateway;
use crate::gateway::accept::peer::Peer;
use crate::gateway::answer::access_log::{self, AccessRecord};
use crate::gateway::answer::reply::Reply;
use crate::gateway::bounds::MAX_BODY;
use crate::gateway::forward::headers::{self, BadFields};
use crate::gateway::forward::proxied_request::{ProxiedRequest, Start};
use crate::gateway::http1::head::{Body, Head};
use crate::gateway::judge::decide::{Verdict, step_up};
use crate::gateway::judge::negotiate::{is_framed, is_navigation};
use crate::gateway::judge::original::{AnswerOptions, Original};
use crate::gateway::judge::permission::Forward;
use crate::gateway::judge::plugin_route::PluginRoute;
use crate::gateway::judge::request_log::{Came, RequestLog};
use crate::gateway::judge::routes::Route;
use crate::gateway::receive::{Disposition, Post, PostParts};
use crate::gateway::request::{ConnectionInfo, RequestId, known, micros};
use crate::gateway::spans;
use crate::lease::Lease;
use crate::policy::Permit;
use crate::problem::Refusal;
use crate::telemetry::{Outcome, Place, TRACEPARENT, TraceContext, trace_id};

/// The label of requests that no route answers.
const NO_ROUTE: &str = "none";

impl Gateway {
    /// Answers a request into `out`, or sends it on its way to an app. `abort` ends the wait for a mint.
    ///
    /// Dropped: nothing is answered; a mint that it waits for goes on.
    pub(super) async fn answer(
        &self,
        head: &Head<'_>,
        connection: &ConnectionInfo<'_>,
        out: &mut Vec<u8>,
        abort: impl Future<Output = ()>,
    ) -> Disposition {
        let began = Stopwatch::start();
        let moment = self.clock.moment_at(began);
        let time = moment.wall;
        let mut room = RequestId::default();
        let (request_id, place) = self.identify(head, connection.peer, &mut room);
        let (address, client) = connection.peer.client(head, &self.trusted);
        let accepted = connection.peer.connection();
        let redirect_to = accepted.redirect_to();
        let asked = if connection.peer.is_trusted() { Original::of(head) } else { None };
        let options = asked.as_ref().and_then(|asked| Some(asked.as_ref().ok()?.options));
        let came = Came { trusted: connection.peer.is_trusted(), tls: connection.tls };
        let log = RequestLog::new(moment, place, request_id);
        // A trusted proxy's connection has the requests of many clients.
        let own = (!came.trusted).then_some(accepted);
        let mut log = RequestLog { address, redirect_to, connection: own, asked: options, came, ..log };
        let original = asked.map(|asked| asked.map(|original| original.head(head)));
        // What is judged: the request itself, or the one that another proxy asks about.
        let judged = original.as_ref().map_or(Ok(head), |original| original.as_ref().map_err(|refusal| *refusal));
        let verdict = tokio::select! {
            biased;
            verdict = self.decide(judged, &mut log) => verdict,
            () = abort => Err(Refusal::Draining),
        };
        let lame = (connection.lame)();
        let verdict = match verdict {
            Ok(Verdict::Forward(forward)) => match self.requests.acquire(log.connection) {
                None => Err(Refusal::Overloaded),
                Some(permit) => {
                    let (id, client) = (RequestId::keep(request_id), (&*client).into());
                    let (close, accepted) = (head.close || lame, accepted.clone());
                    let to_app = Place::below(&place.own, place.own.sampled);
                    let start = Start { began, time, id, place, to_app, client, close, accepted, _permit: permit };
                    match ProxiedRequest::new(forward, head, &log, connection, start, &self.sources) {
                        Ok((proxied, upstream_head)) => return Disposition::Forward(Arc::new(proxied), upstream_head),
                        Err(BadFields) => Err(Refusal::BadRequest),
                    }
                }
            },
            Ok(Verdict::Receive(inbox)) => {
                let (client, close) = (&*client, head.close || lame);
                let parts = PostParts {
                    inbox,
                    id: RequestId::keep(request_id),
                    began,
                    time,
                    place,
                    client,
                    hsts: accepted.hsts(),
                    address,
                    taken: std::mem::take(&mut log.taken),
                    close,
                };
                return Disposition::Receive(Box::new(Post::new(head, log.path.as_deref().unwrap_or("/"), parts)));
            }
            other => other,
        };
        let after = after(head, lame, &verdict);
        let mut reply = Reply {
            out,
            request_id,
            head_only: head.method == "HEAD",
            close: matches!(after, Disposition::Close),
            origin: log.origin,
            hsts: accepted.hsts(),
            at: if log.has_waited() { Stopwatch::start() } else { began },
        };
        let judged = judged.unwrap_or(head);
        let answered = self.write(judged, &mut log, &mut reply, verdict);
        self.tell(&log, (time, began.elapsed()), (judged.method, &client), answered);
        after
    }

    /// The time and the access line of a request that we answered.
    pub(super) fn tell(
        &self,
        log: &RequestLog<'_, '_>,
        (time, took): (Timestamp, Duration),
        (method, peer): (&str, &str),
        (status, outcome): (u16, Outcome),
    ) {
        let histogram = log.route.and_then(|route| route.duration(outcome));
        self.time(log.route.map_or(NO_ROUTE, Route::name), outcome, histogram, took);
        self.note(&AccessRecord {
            began_mint: log.began_mint,
            joined: log.joined,
            pattern: log.route.map(Route::pattern),
            method: Some(known(method)),
            path: log.path.as_deref(),
            route: log.route.map(Route::name),
            source: log.source,
            check: log.check,
            remaining: log.remaining,
            duration_us: micros(took),
            session: log.session.as_deref(),
            policy: log.policy.as_ref(),
            ..AccessRecord::bare((time, log.place, log.request_id), (status, outcome), peer)
        });
    }

    /// Refuses what could not be read as a request: counted and logged like any other, and the connection closes.
    pub(super) fn reject(&self, refusal: &Refusal, peer: &Peer, out: &mut Vec<u8>) -> Disposition {
        let uuid = Uuid::new_v4();
        let mut room = RequestId::default();
        let (request_id, place) = (room.write(uuid), Place::begin(uuid.into_bytes(), false));
        let (hsts, at) = (peer.connection().hsts(), Stopwatch::start());
        Reply { out, request_id, head_only: false, close: true, origin: None, hsts, at }.problem(refusal);
        let outcome = match refusal {
            Refusal::BadRequest => Outcome::Malformed,
            other => other.row().outcome,
        };
        self.metrics.requests.with_label_values(&[NO_ROUTE, outcome.label()]).inc();
        let answered = (refusal.row().status, outcome);
        self.note(&AccessRecord::bare((self.clock.now(), place, request_id), answered, peer.text()));
        Disposition::Close
    }

    /// A request's id and its place in a trace: those that came in from a trusted proxy, else fresh ones, the id written into `room`. A trace that
    /// begins here has the bytes of the request's id.
    pub(super) fn identify<'r>(&self, head: &Head<'r>, peer: &Peer, room: &'r mut RequestId) -> (&'r str, Place) {
        let trusted = peer.is_trusted();
        let caller = if trusted { caller(head) } else { None };
        let sampled = caller.is_some_and(|caller| caller.sampled) || self.metrics.tracer.samples();
        let below = caller.map(|caller| Place::below(&caller, sampled));
        match if trusted { RequestId::of(head) } else { None } {
            Some(id) => (id, below.unwrap_or_else(|| Place::begin(trace_id(), sampled))),
            None => {
                let uuid = Uuid::new_v4();
                (room.write(uuid), below.unwrap_or_else(|| Place::begin(uuid.into_bytes(), sampled)))
            }
        }
    }

    /// A connection beyond the bound.
    pub(super) fn count_rejected(&self) {
        self.metrics.requests.with_label_values(&[NO_ROUTE, Outcome::TurnedAway.label()]).inc();
    }

    pub(super) fn write(
        &self,
        head: &Head<'_>,
        log: &mut RequestLog<'_, '_>,
        reply: &mut Reply<'_>,
        verdict: Result<Verdict<'_>, Refusal>,
    ) -> (u16, Outcome) {
        let route = log.route.map_or(NO_ROUTE, Route::name);
        let count = |outcome: Outcome| self.metrics.requests.with_label_values(&[route, outcome.label()]).inc();
        match verdict {
            Ok(Verdict::Url { route, lease, status, json, permit }) => {
                // What JSON promises is of now, waited for or not.
                let now = if log.has_waited() || json { self.clock.now() } else { log.moment.wall };
                let remaining = lease.remaining(now);
                log.remaining = Some(remaining);
                self.metrics.redirect_remaining.observe(remaining.as_secs_f64());
                self.hand_over(route, reply, (&lease, permit), status, json.then_some(now))
            }
            Ok(Verdict::Login(location)) => {
                reply.login(&location);
                count(Outcome::Login);
                (302, Outcome::Login)
            }
            Ok(Verdict::Doctor(report)) => {
                reply.doctor(&report);
                count(Outcome::Doctor);
                (200, Outcome::Doctor)
            }
            Ok(Verdict::KeySet(keys)) => {
                reply.key_set(keys);
                count(Outcome::KeySet);
                (200, Outcome::KeySet)
            }
            Ok(Verdict::Moved(location)) => {
                reply.moved(&location);
                count(Outcome::Moved);
                (308, Outcome::Moved)
            }
            Ok(Verdict::Preflight(preflight)) => {
                reply.preflight(&preflight);
                count(Outcome::Preflight);
                (204, Outcome::Preflight)
            }
            Ok(Verdict::Authorized(forward, options)) => {
                self.authorize(head, &forward, options, reply);
                (200, Outcome::Authorized)
            }
            // It has no answer of ours.
            Ok(Verdict::Forward(_) | Verdict::Receive(_)) => (0, Outcome::Forwarded),
            Err(refusal) => {
                if is_navigation(head) {
                    let login = log.route.and_then(Route::login);
                    let absent = matches!(refusal, Refusal::SessionRequired | Refusal::SessionExpired);
                    let helps = (absent && is_framed(head)) || step_up(&refusal).is_some();
                    let link = login.filter(|_| helps).map(|login| login.url(step_up(&refusal)));
                    reply.page(&refusal, link.as_deref());
                } else {
                    reply.problem(&refusal);
                }
                let row = refusal.row();
                count(row.outcome);
                (row.status, row.outcome)
            }
        }
    }

    /// Tells the proxy that asked who the request is from. It has each identity field of each app that authorizes, so that one fixed list in the
    /// proxy's configuration overwrites whatever a client may have written.
    fn authorize(&self, head: &Head<'_>, forward: &Forward, options: AnswerOptions, reply: &mut Reply<'_>) {
        let app = forward.app();
        let mut known: SmallVec<[(&str, &str); 8]> = SmallVec::new();
        headers::identity_fields(app, forward.session(), forward.assertion(), |name, value| known.push((name, value)));
        let value = |name: &str| known.iter().find(|(told, _)| *told == name).map_or("", |(_, value)| value);
        let identity = self.authorized_fields.iter().map(|name| (&**name, value(name)));
        let cookie = options.cut_cookie.then(|| headers::cookie(head, app, &self.sources));
        reply.authorized(identity, cookie.as_deref());
        app.passed.inc();
    }

    fn hand_over(
        &self,
        route: &PluginRoute,
        reply: &mut Reply<'_>,
        (lease, _permit): (&Lease, Permit),
        status: u16,
        json: Option<Timestamp>,
    ) -> (u16, Outcome) {
        // A token goes nowhere but into the body of an answer to a script.
        if let Some(now) = json.or_else(|| lease.url.is_token().then(|| self.clock.now())) {
            reply.json(lease, &route.name, now);
            route.jsons.inc();
            (200, Outcome::Json)
        } else {
            reply.redirect(status, lease);
            route.redirects.inc();
            (status, Outcome::Redirect)
        }
    }

    /// The request's time, by route and outcome. `known`: the histogram of these two, where it was found at start-up.
    pub(super) fn time(&self, route: &str, outcome: Outcome, known: Option<&Histogram>, took: Duration) {
        let seconds = took.as_secs_f64();
        match known {
            Some(histogram) => histogram.observe(seconds),
            None => self.metrics.request_duration.with_label_values(&[route, outcome.label()]).observe(seconds),
        }
    }

    /// The access line, and the span where one is recorded.
    pub(super) fn note(&self, facts: &AccessRecord<'_>) {
        let refused = facts.status >= 400 && facts.outcome != Outcome::Forwarded;
        if refused || facts.began_mint {
            self.metrics.recent.note(facts.remembered());
        }
        if facts.place.own.sampled || ((refused || facts.began_mint) && self.metrics.tracer.is_on()) {
            self.metrics.tracer.record(|| spans::server(facts));
        }
        if let Some(log) = &self.access_log {
            log.push_with(|line| access_log::line(line, facts));
        }
    }
}

fn after(head: &Head<'_>, lame: bool, verdict: &Result<Verdict<'_>, Refusal>) -> Disposition {
    let body = match head.body {
        Body::Empty => 0,
        Body::Length(length) if length <= MAX_BODY && !head.expects_continue => length,
        // We don't read it, so what follows can't be told from it.
        Body::Length(_) | Body::Chunked => return Disposition::Close,
    };
    let odd = matches!(verdict, Err(Refusal::BadRequest | Refusal::Draining));
    if head.close || lame || odd { Disposition::Close } else { Disposition::KeepAlive { body } }
}

/// The caller's place in a trace, if exactly one is told.
fn caller(head: &Head<'_>) -> Option<TraceContext> {
    let mut all = head.all(TRACEPARENT);
    let (Some(field), None) = (all.next(), all.next()) else { return None };
    TraceContext::parse(field)
}
