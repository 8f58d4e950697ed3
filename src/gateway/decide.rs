//! The questions, in their order. Knows nothing of sockets: a head goes in, a verdict or a refusal comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::gateway::Gateway;
use crate::gateway::accept;
use crate::gateway::cross_site;
use crate::gateway::head::{Body, Head};
use crate::gateway::path;
use crate::gateway::route::{self, PluginRoute};
use crate::lease::settings::Reuse;
use crate::lease::{Lease, NoLease, Source};
use crate::problem::Refusal;
use crate::provider::MintFailure;
use crate::session::{Ambiguous, Found, Session, SessionFault, SourceKind};

/// A plug-in route reads no body; one that is larger is not worth reading to the end.
pub(super) const MAX_BODY: u64 = 64 * 1024;

/// What is answered.
pub(super) enum Verdict<'g> {
    /// The plug-in URL, as a redirect with this status or as JSON.
    Url { route: &'g PluginRoute, lease: Arc<Lease>, status: u16, json: bool },
    /// The login page.
    Login(String),
    /// The answer to `OPTIONS`.
    Preflight,
}

/// What was learnt of a request on the way: for the answer, the metrics and the access line.
#[derive(Default)]
pub(super) struct Trace<'g, 'h> {
    pub route: Option<&'g PluginRoute>,
    pub session: Option<Arc<Session>>,
    /// How the credential was judged; `None`: nobody asked for it.
    pub check: Option<Check>,
    /// Life left in the URL sent.
    pub remaining: Option<Duration>,
    pub source: Option<Source>,
    pub path: Option<std::borrow::Cow<'h, str>>,
    pub query: Option<&'h str>,
    /// The origin whose page may read the answer.
    pub origin: Option<&'h str>,
}

/// What came of a credential, in the words of `valet_session_checks_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Valid,
    Cached,
    Expired,
    Invalid,
    Absent,
    Unavailable,
}

impl Check {
    pub fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Cached => "cached",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
            Self::Absent => "absent",
            Self::Unavailable => "unavailable",
        }
    }

    /// That of a request that was refused for its credential.
    fn behind(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::SessionRequired => Self::Absent,
            Refusal::SessionExpired => Self::Expired,
            Refusal::KeysUnavailable(_) => Self::Unavailable,
            _ => Self::Invalid,
        }
    }
}

impl Gateway {
    /// One request's way. Dropped: a mint that it waits for goes on for the others.
    pub(super) async fn decide<'g, 'h>(
        &'g self,
        head: &Head<'h>,
        trace: &mut Trace<'g, 'h>,
    ) -> Result<Verdict<'g>, Refusal> {
        let target = path::judge(head.target, head.host).map_err(|_| Refusal::BadRequest)?;
        trace.query = target.query;
        let path: &str = trace.path.insert(target.path);
        let route = self.routes.iter().find(|route| route.matches(path, head.host)).ok_or(Refusal::NotFound)?;
        trace.route = Some(route);
        trace.origin = cross_site::allowed_origin(head, &route.allowed_origins);

        let renew = match head.method {
            "GET" => false,
            "HEAD" if route.plan.rules.reuse != Reuse::Never => false,
            "POST" => true,
            "OPTIONS" if trace.origin.is_some() => return Ok(Verdict::Preflight),
            _ => return Err(Refusal::MethodNotAllowed(route.allow())),
        };
        if matches!(head.body, Body::Length(length) if length > MAX_BODY) {
            return Err(Refusal::BodyTooLarge);
        }

        let (session, check, kind) = match self.session(head).await {
            Ok(session) => session,
            Err(refusal) => {
                trace.check = Some(Check::behind(&refusal));
                return self.without_session(head, route, trace, refusal);
            }
        };
        trace.check = Some(check);
        trace.session = Some(session.clone());
        if kind == SourceKind::Cookie {
            let allowed = match renew {
                true => cross_site::allows_post(head, &self.public_origin, &route.allowed_origins),
                false => route.embed.allows(head),
            };
            if !allowed {
                return Err(Refusal::CrossSite);
            }
        }
        if accept::is_prefetch(head) {
            return Err(Refusal::PrefetchRefused);
        }

        let language = accept::language(target.query, &route.languages);
        let (lease, source) = self.lease(route, &session, language, renew).await?;
        trace.source = Some(source);
        let json = head.text("accept").is_some_and(accept::prefers_json);
        Ok(Verdict::Url { route, lease, status: if renew { 303 } else { 302 }, json })
    }

    /// The session behind a request, how it was judged, and where its credential stood.
    async fn session(&self, head: &Head<'_>) -> Result<(Arc<Session>, Check, SourceKind), Refusal> {
        let fields = head.headers.iter().map(|field| (field.name.as_bytes(), field.value));
        let found: Found<'_> = self.sources.read(fields).map_err(|Ambiguous| Refusal::BadRequest)?;
        if found.other_scheme || found.malformed {
            self.sessions.count_malformed();
            return Err(Refusal::SessionInvalid);
        }
        let mut credentials = found.credentials.iter();
        let Some(first) = credentials.next() else {
            self.sessions.count_absent();
            return Err(Refusal::SessionRequired);
        };
        let session = self.check(first.token).await;
        for other in credentials {
            // Two credentials must speak for one person, or nobody is let in.
            let (Ok((session, _)), Ok((other, _))) = (&session, self.check(other.token).await) else {
                return Err(Refusal::BadRequest);
            };
            if (session.issuer(), session.subject()) != (other.issuer(), other.subject()) {
                return Err(Refusal::BadRequest);
            }
        }
        let (session, check) = session?;
        Ok((session, check, first.from))
    }

    async fn check(&self, token: &[u8]) -> Result<(Arc<Session>, Check), Refusal> {
        let now = self.clock.now();
        if let Some(session) = self.sessions.cached(token, now) {
            return Ok((session, Check::Cached));
        }
        let verified = self.sessions.verify(token, now).await.map_err(|fault| match fault {
            SessionFault::Expired => Refusal::SessionExpired,
            // One face for all; which it was the verifier has noted.
            SessionFault::Invalid(_) => Refusal::SessionInvalid,
            SessionFault::KeysUnavailable(wait) => Refusal::KeysUnavailable(wait),
        })?;
        Ok((verified, Check::Valid))
    }

    /// A navigation without a session may be sent to the login page; a credential that is wrong never is.
    fn without_session(
        &self,
        head: &Head<'_>,
        route: &PluginRoute,
        trace: &Trace<'_, '_>,
        refusal: Refusal,
    ) -> Result<Verdict<'static>, Refusal> {
        let absent = matches!(refusal, Refusal::SessionRequired | Refusal::SessionExpired);
        let wanted = head.method == "GET" && accept::is_navigation(head) && !accept::is_framed(head);
        match &route.login {
            Some(login) if absent && wanted => {
                Ok(Verdict::Login(login.location(trace.path.as_deref().unwrap_or("/"), trace.query)))
            }
            _ => Err(refusal),
        }
    }

    async fn lease(
        &self,
        route: &PluginRoute,
        session: &Session,
        language: Option<&str>,
        renew: bool,
    ) -> Result<(Arc<Lease>, Source), Refusal> {
        let key = route.key(session, language).ok_or(Refusal::NotPermitted)?;
        let input = || route::input(session, language);
        let (book, plan) = (&self.book, &route.plan);
        let leased = if plan.rules.reuse == Reuse::Never {
            book.once(plan, &key, input).await
        } else if renew {
            book.renew(plan, &key, input).await
        } else if let Some((lease, ahead)) = book.held(plan, &key, self.clock.moment()) {
            if ahead {
                book.ahead(plan, &key, input);
            }
            Ok((lease, Source::Hit))
        } else {
            book.obtain(plan, &key, input).await
        };
        leased.map_err(|none| match none {
            NoLease::Limited(wait) => Refusal::TooManyRequests(wait),
            NoLease::Lost => Refusal::Internal,
            NoLease::Mint(failure) => match failure {
                MintFailure::Refused
                | MintFailure::Unreachable
                | MintFailure::Nonsense
                | MintFailure::ForbiddenHost => Refusal::ProviderUnavailable,
                MintFailure::TimedOut => Refusal::ProviderTimeout,
                MintFailure::Busy(wait) => Refusal::ProviderBusy(wait.max(Duration::from_secs(1))),
            },
        })
    }
}
