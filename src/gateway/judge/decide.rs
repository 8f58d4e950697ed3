//! Decides about one request: the questions in their order. Knows nothing of sockets: a head goes in, a verdict or a refusal comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app::settings::SessionNeed;
use crate::clock::Moment;
use crate::gateway::Gateway;
use crate::gateway::accept::connection::{self, ListenerConnection};
use crate::gateway::bounds::MAX_BODY;
use crate::gateway::doctor;
use crate::gateway::forward::headers;
use crate::gateway::http1::head::{Body, Head};
use crate::gateway::judge::app_route::AppRoute;
use crate::gateway::judge::authenticate::{Believed, Check};
use crate::gateway::judge::cross_site;
use crate::gateway::judge::login::Login;
use crate::gateway::judge::negotiate;
use crate::gateway::judge::original::AnswerOptions;
use crate::gateway::judge::path;
use crate::gateway::judge::permission::{Forward, unleased};
use crate::gateway::judge::plugin_route::{self, Asker, PluginRoute};
use crate::gateway::judge::preflight::Preflight;
use crate::gateway::judge::request_log::RequestLog;
use crate::gateway::judge::routes::Route;
use crate::gateway::receive::Inbox;
use crate::lease::settings::Reuse;
use crate::lease::{Lease, Opened, Source, Unlisted};
use crate::policy::{Action, Permit};
use crate::problem::Refusal;
use crate::session::{Session, SourceKind, StepUp, is_carried_whole};

/// The methods of an app, as far as we know them.
const ANY_METHOD: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Where the public keys of assertions are.
const KEY_SET: &str = "/.valet/jwks.json";

/// What is answered.
pub(in crate::gateway) enum Verdict<'g> {
    /// The plug-in URL, as a redirect with this status or as JSON.
    Url { route: &'g PluginRoute, lease: Arc<Lease>, status: u16, json: bool, permit: Permit },
    /// The login page.
    Login(String),
    /// What was seen of the request, for `valet doctor`.
    Doctor(String),
    /// The public keys of assertions.
    KeySet(&'g str),
    /// The same path by `https`.
    Moved(String),
    /// The answer to a preflight.
    Preflight(Box<Preflight>),
    /// To the app.
    Forward(Forward),
    /// To the app, by the proxy that asks.
    Authorized(Forward, AnswerOptions),
    /// A post to us, whose body is to be read.
    Receive(Inbox),
}

impl Gateway {
    /// One request's way. The rate limit of its address is asked first, whatever it asks for. `head`: of the request that is judged, which another
    /// proxy may only ask about; or why it can't be read.
    ///
    /// Dropped: a mint that it waits for goes on for the others.
    pub(in crate::gateway) async fn decide<'g, 'h>(
        &'g self,
        head: Result<&Head<'h>, Refusal>,
        log: &mut RequestLog<'g, 'h>,
    ) -> Result<Verdict<'g>, Refusal> {
        if let Err(wait) = self.limits.take_address(log.address, log.moment.tick, &mut log.taken) {
            // A page of an allowed origin is to see why.
            log.origin = head.ok().and_then(|head| self.allowed_origin(head));
            return Err(Refusal::TooManyRequests(wait));
        }
        let head = head?;
        if let Some(origin) = log.redirect_to {
            return connection::moved(head.target, origin).map(Verdict::Moved).ok_or(Refusal::BadRequest);
        }
        let verdict = self.route(head, log).await;
        if matches!(verdict, Err(Refusal::TooManyRequests(_))) {
            self.limits.give_back(&mut log.taken);
        }
        verdict
    }

    /// The origin of the page that asks, where the route allows it to read the answer.
    fn allowed_origin<'h>(&self, head: &Head<'h>) -> Option<&'h str> {
        // Most have none, and a flood costs no more for it.
        head.all("origin").next()?;
        let target = path::judge(head.target, head.host).ok()?;
        let route = self.routes.find(&target.path, head.host).ok()??;
        cross_site::allowed_origin(head, route.allowed_origins())
    }

    async fn route<'g, 'h>(&'g self, head: &Head<'h>, log: &mut RequestLog<'g, 'h>) -> Result<Verdict<'g>, Refusal> {
        let path::Target { path, query, encoded_slash } =
            path::judge(head.target, head.host).map_err(|_| Refusal::BadRequest)?;
        log.query = query;
        let path: &str = log.path.insert(path);
        // The other proxy sends it as it came: what is judged must be that.
        if log.asked.is_some() && path != head.target.split('?').next().unwrap_or_default() {
            return Err(Refusal::BadRequest);
        }
        // Nobody asks for another about a post to us.
        if let (None, Some(inbox)) = (&log.asked, self.inboxes.at(path)) {
            return if head.method == "POST" {
                Ok(Verdict::Receive(inbox))
            } else {
                Err(Refusal::MethodNotAllowed("POST"))
            };
        }
        let route = self.routes.find(path, head.host).map_err(|_| Refusal::BadRequest)?;
        let route = route.filter(|route| route.is_authorized() == log.asked.is_some());
        log.route = route;
        log.origin = route.and_then(|route| cross_site::allowed_origin(head, route.allowed_origins()));
        match route {
            Some(Route::App(app)) if app.encoded_slash || !encoded_slash => {
                match (self.app(head, app, log).await?, log.asked) {
                    (Verdict::Forward(forward), Some(options)) => {
                        headers::check_framing(head).map_err(|_| Refusal::BadRequest)?;
                        Ok(Verdict::Authorized(forward, options))
                    }
                    (verdict, _) => Ok(verdict),
                }
            }
            Some(Route::Plugin(plugin)) if !encoded_slash => self.plugin(head, plugin, log).await,
            _ if encoded_slash => Err(Refusal::BadRequest),
            _ if log.asked.is_some() => Err(Refusal::NotFound),
            _ if path == KEY_SET => self.key_set(head),
            _ if doctor::is_asked(path) => Ok(Verdict::Doctor(doctor::report(head, log))),
            _ => Err(Refusal::NotFound),
        }
    }

    /// The keys that assertions are verified by.
    fn key_set(&self, head: &Head<'_>) -> Result<Verdict<'_>, Refusal> {
        let signer = self.signer.as_ref().ok_or(Refusal::NotFound)?;
        match head.method {
            "GET" | "HEAD" => Ok(Verdict::KeySet(signer.key_set())),
            _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
        }
    }

    /// A request to an app.
    async fn app<'g, 'h>(
        &'g self,
        head: &Head<'h>,
        app: &'g Arc<AppRoute>,
        log: &mut RequestLog<'g, 'h>,
    ) -> Result<Verdict<'g>, Refusal> {
        // The one opens tunnels, the other shows credentials to scripts (RFC 9110, sections 9.3.6 and 9.3.8).
        if matches!(head.method, "CONNECT" | "TRACE") {
            return Err(Refusal::MethodNotAllowed(ANY_METHOD));
        }
        // To most proxies that ask any 2xx means that the request may pass: the answer to a preflight would let it.
        let answered = log.asked.is_none_or(|options| options.preflight);
        if log.origin.is_some() && head.method == "OPTIONS" && answered {
            // It brings no credential. Whether the page's own request may be answered is asked when it comes.
            if let Some(preflight) = Preflight::of_app(head) {
                return Ok(Verdict::Preflight(Box::new(preflight)));
            }
        }
        if matches!(head.body, Body::Length(length) if length > app.max_body) {
            return Err(Refusal::BodyTooLarge);
        }
        let session = match app.need {
            SessionNeed::None => None,
            SessionNeed::Required | SessionNeed::Optional => {
                match self.session(head, app.need, (log.moment, log.address)).await {
                    Ok(found) => found.map(|Believed { session, check, .. }| {
                        log.check = Some(check);
                        session
                    }),
                    Err(refusal) => {
                        log.check = Check::behind(&refusal);
                        let absent = matches!(refusal, Refusal::SessionRequired | Refusal::SessionExpired);
                        if app.need == SessionNeed::Required || !absent {
                            return self.without_session(head, app.login.as_ref(), log, refusal);
                        }
                        None
                    }
                }
            }
        };
        log.session.clone_from(&session);
        if let Some(session) = &session {
            self.limits
                .take_person(session.person(), log.moment.tick, &mut log.taken)
                .map_err(Refusal::TooManyRequests)?;
        }
        // To the app ` ada` and `ada` would be one person: white space at the ends of a field is no part of it.
        if session.as_ref().is_some_and(|session| !is_carried_whole(session.subject())) {
            return Err(Refusal::NotPermitted);
        }
        let permit = match self.permit(&app.authorizer, Action::Reach, (head, None), session.as_deref(), log) {
            Ok(permit) => permit,
            Err(refusal) => return self.without_session(head, app.login.as_ref(), log, refusal),
        };
        let path = log.path.as_deref().unwrap_or("/");
        let target: Box<str> = match log.query {
            // The proxy that asks sends it on itself, as it came.
            _ if log.asked.is_some() => Box::default(),
            None => path.into(),
            Some(query) => [path, "?", query].concat().into(),
        };
        let sent_on = if log.asked.is_some() { head.target } else { &target };
        // Bytes that no URI has (RFC 3986, section 2): some readers escape them, some don't.
        if !is_plain(sent_on) && http::uri::PathAndQuery::try_from(sent_on).is_err() {
            return Err(Refusal::BadRequest);
        }
        let assertion = match (&self.signer, &app.audience, session.as_deref()) {
            (Some(signer), Some(audience), Some(session)) => signer.assertion(session, audience, self.clock.now()),
            _ => None,
        };
        Ok(Verdict::Forward(Forward::new(app.clone(), session, target, permit).asserted(assertion)))
    }

    /// A request to a plug-in.
    #[allow(
        clippy::too_many_lines,
        reason = "a signature of ten lines; the questions in their order read best in one place"
    )]
    async fn plugin<'g, 'h>(
        &'g self,
        head: &Head<'h>,
        route: &'g PluginRoute,
        log: &mut RequestLog<'g, 'h>,
    ) -> Result<Verdict<'g>, Refusal> {
        let renew = match head.method {
            "GET" => false,
            "HEAD" if route.lease_policy.rules.reuse != Reuse::Never => false,
            "POST" => true,
            "OPTIONS" if log.origin.is_some() => {
                return Ok(Verdict::Preflight(Box::new(Preflight::of_plugin(head))));
            }
            _ => return Err(Refusal::MethodNotAllowed(route.allow())),
        };
        if matches!(head.body, Body::Length(length) if length > MAX_BODY) {
            return Err(Refusal::BodyTooLarge);
        }
        // No session makes a page of a token.
        if route.gives_token == Some(true) && negotiate::wants_page(head) {
            return Err(Refusal::NotAcceptable);
        }

        let Believed { session, check, kind, token } =
            match self.session(head, SessionNeed::Required, (log.moment, log.address)).await {
                Ok(Some(believed)) => believed,
                Ok(None) => return Err(Refusal::Internal),
                Err(refusal) => {
                    log.check = Check::behind(&refusal);
                    return self.without_session(head, route.login.as_ref(), log, refusal);
                }
            };
        log.check = Some(check);
        log.session = Some(session.clone());
        self.limits.take_person(session.person(), log.moment.tick, &mut log.taken).map_err(Refusal::TooManyRequests)?;
        if kind == SourceKind::Cookie {
            let allowed = match renew {
                true => cross_site::allows_post(head, &self.public_origin, &route.allowed_origins),
                false => cross_site::allows_get(head, &route.embed, log.origin.is_some()),
            };
            if !allowed {
                return Err(Refusal::CrossSite);
            }
        }
        if negotiate::is_prefetch(head) {
            return Err(Refusal::PrefetchRefused);
        }

        let asked = route.parameters.of_query(log.query).map_err(|Unlisted| Refusal::BadRequest)?;
        let opened = Opened { language: negotiate::language(log.query, &route.languages), parameters: &asked };
        let action = if renew { Action::Renew } else { Action::Open };
        let permitted = self.permit(&route.authorizer, action, (head, opened.language), Some(&session), log);
        let leased = match permitted {
            Ok(permit) => {
                let asker = Asker { token: &token, request_id: log.request_id, place: log.place };
                let began = AtomicBool::new(false);
                // A session that is known has not been waited for.
                let now = if check == Check::Cached { log.moment } else { self.clock.moment() };
                let leased =
                    self.lease(route, (&session, now), (opened, asker, &began), renew, log.connection, &permit).await;
                log.began_mint = began.into_inner();
                leased.map(|(lease, source)| (lease, source, permit))
            }
            Err(refusal) => Err(refusal),
        };
        let (lease, source, permit) = match leased {
            Err(refusal @ Refusal::StepUpRequired(_)) => {
                return self.without_session(head, route.login.as_ref(), log, refusal);
            }
            other => other?,
        };
        // What was waited for: the session may have ended meanwhile.
        if source != Source::Hit && self.sessions.is_revoked(&session) {
            log.check = Some(Check::Revoked);
            return Err(Refusal::SessionRevoked);
        }
        // A minter has said so only now.
        if lease.url.is_token() && negotiate::wants_page(head) {
            return Err(Refusal::NotAcceptable);
        }
        log.source = Some(source);
        log.joined = lease.minted_by().filter(|_| source == Source::Joined).copied();
        let json = negotiate::prefers_json(head);
        Ok(Verdict::Url { route, lease, status: if renew { 303 } else { 302 }, json, permit })
    }

    /// A navigation without a session, or with one that is too weak, may be sent to the login page. A credential that is wrong never is. Nobody
    /// who is at a login page is sent there: where that page needs a session itself, the browser would go round for ever.
    fn without_session(
        &self,
        head: &Head<'_>,
        login: Option<&Login>,
        log: &RequestLog<'_, '_>,
        refusal: Refusal,
    ) -> Result<Verdict<'static>, Refusal> {
        let absent = matches!(refusal, Refusal::SessionRequired | Refusal::SessionExpired | Refusal::StepUpRequired(_));
        let never = log.asked.is_some_and(|options| options.never_login);
        let wanted = head.method == "GET" && negotiate::is_navigation(head) && !negotiate::is_framed(head) && !never;
        let judged = log.path.as_deref().unwrap_or("/");
        match login {
            Some(login) if absent && wanted && !self.logins.iter().any(|place| place.is_at(judged, head.host)) => {
                // One that was sent so that a browser reads another host in it leads home, whatever it was judged to be.
                let path = if head.target.starts_with("//") { head.target } else { judged };
                Ok(Verdict::Login(login.location(path, log.query, step_up(&refusal))))
            }
            _ => Err(refusal),
        }
    }

    async fn lease(
        &self,
        route: &PluginRoute,
        (session, now): (&Session, Moment),
        (opened, asker, began): (Opened<'_>, Asker<'_>, &AtomicBool),
        renew: bool,
        connection: Option<&Arc<ListenerConnection>>,
        _permit: &Permit,
    ) -> Result<(Arc<Lease>, Source), Refusal> {
        let key = route.key(session, opened).ok_or(Refusal::NotPermitted)?;
        // Asked for only where a mint begins.
        let input = || {
            began.store(true, Ordering::Relaxed);
            plugin_route::input(session, opened, &asker)
        };
        let (book, lease_policy) = (&self.book, &route.lease_policy);
        if let (Reuse::User | Reuse::Session, false) = (lease_policy.rules.reuse, renew)
            && let Some((lease, ahead)) = book.held(lease_policy, &key, now)
        {
            if ahead {
                book.ahead(lease_policy, &key, input);
            }
            return Ok((lease, Source::Hit));
        }
        // From here on it waits, though others may wait for the same mint. Held until it is answered.
        let Some(_permit_to_wait) = self.requests.acquire(connection) else { return Err(Refusal::Overloaded) };
        // Boxed: a request that finds its lease does not hold the room for a wait.
        let leased = if lease_policy.rules.reuse == Reuse::Never {
            Box::pin(book.once(lease_policy, &key, input)).await
        } else if renew {
            Box::pin(book.renew(lease_policy, &key, input)).await
        } else {
            Box::pin(book.obtain(lease_policy, &key, input)).await
        };
        leased.map_err(unleased)
    }
}

/// Which sign-in would do.
pub(in crate::gateway) fn step_up(refusal: &Refusal) -> Option<&StepUp> {
    match refusal {
        Refusal::StepUpRequired(step_up) => Some(step_up),
        _ => None,
    }
}

/// Whether a target is a URI's beyond doubt: its bytes are unreserved (RFC 3986, section 2.3), `/`, or such as queries are made of.
fn is_plain(target: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~?&=".contains(&b);
    target.len() <= 1024 && target.bytes().all(is_plain)
}
