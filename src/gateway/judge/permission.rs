//! Asks the policies about one request, and turns their answer into a permit or a refusal.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::gateway::Gateway;
use crate::gateway::http1::head::Head;
use crate::gateway::judge::app_route::AppRoute;
use crate::gateway::judge::path;
use crate::gateway::judge::request_log::RequestLog;
use crate::lease::NoLease;
use crate::policy::{Action, Authorizer, Circumstances, Denied, Judged, Permit};
use crate::problem::Refusal;
use crate::provider::{MintFailure, SessionRefusal};
use crate::session::Session;
use crate::web::without_port;

impl Gateway {
    /// Asks the policies whether this may be done. What decided stands in `log`.
    pub(in crate::gateway) fn permit(
        &self,
        authorizer: &Authorizer,
        action: Action,
        (head, language): (&Head<'_>, Option<&str>),
        session: Option<&Session>,
        log: &mut RequestLog<'_, '_>,
    ) -> Result<Permit, Refusal> {
        let as_seen = || AsSeen {
            method: head.method,
            host: head.host,
            path: log.path.as_deref().unwrap_or("/"),
            language,
            address: log.address,
        };
        let readings = |now| as_seen().readings(now);
        let Judged { policy, outcome } = authorizer.judge(action, session, &self.clock, readings);
        log.policy = policy;
        outcome.map_err(|denied| match denied {
            Denied::Denied | Denied::Failed => Refusal::NotPermitted,
            Denied::StepUp(step_up) => step_up.interned().map_or(Refusal::NotPermitted, Refusal::StepUpRequired),
        })
    }
}

/// A request that may go to an app: the policies have permitted it, or are not asked about this app.
pub(in crate::gateway) struct Forward {
    app: Arc<AppRoute>,
    session: Option<Arc<Session>>,
    target: Box<str>,
    assertion: Option<Arc<str>>,
    /// The policies' proof, or that of an app about which they are not asked.
    _permit: Permit,
}

impl Forward {
    /// Takes the proof.
    pub fn new(app: Arc<AppRoute>, session: Option<Arc<Session>>, target: Box<str>, permit: Permit) -> Self {
        Self { app, session, target, assertion: None, _permit: permit }
    }

    /// With a signed word on the session.
    pub fn asserted(self, assertion: Option<Arc<str>>) -> Self {
        Self { assertion, ..self }
    }

    /// The signed word on the session, if the app gets one.
    pub fn assertion(&self) -> Option<&str> {
        self.assertion.as_deref()
    }

    /// Where it may go.
    pub fn app(&self) -> &AppRoute {
        &self.app
    }

    /// Whom the app learns of.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// The path as judged, with the query as sent.
    pub fn target(&self) -> &str {
        &self.target
    }
}

/// What the caller is told where there is no lease.
pub(in crate::gateway) fn unleased(none: NoLease) -> Refusal {
    match none {
        NoLease::Limited(wait) => Refusal::TooManyRequests(wait),
        NoLease::Lost => Refusal::Internal,
        NoLease::Mint(failure) => match failure {
            MintFailure::Refused | MintFailure::Unreachable | MintFailure::Nonsense | MintFailure::ForbiddenHost => {
                Refusal::ProviderUnavailable
            }
            MintFailure::TimedOut => Refusal::ProviderTimeout,
            MintFailure::Limited(wait) => Refusal::TooManyRequests(wait),
            MintFailure::Session(refusal) => match refusal {
                SessionRefusal::Expired => Refusal::SessionExpired,
                SessionRefusal::Invalid => Refusal::SessionInvalid,
                SessionRefusal::Revoked => Refusal::SessionRevoked,
                SessionRefusal::NotPermitted => Refusal::NotPermitted,
                SessionRefusal::StepUp(step_up) => Refusal::StepUpRequired(step_up),
                SessionRefusal::KeysUnavailable(wait) => Refusal::KeysUnavailable(wait),
            },
            MintFailure::StoreLost => Refusal::StoreUnavailable,
            MintFailure::Busy(wait) => Refusal::ProviderBusy(wait.max(Duration::from_secs(1))),
        },
    }
}

/// A request as policies see it.
pub(in crate::gateway) struct AsSeen<'a> {
    pub method: &'a str,
    /// As sent.
    pub host: &'a str,
    /// As judged.
    pub path: &'a str,
    pub language: Option<&'a str>,
    /// `None` (on a Unix socket, say): a policy that asks for it fails in evaluation, and denies.
    pub address: Option<IpAddr>,
}

impl<'a> AsSeen<'a> {
    /// Once for each way in which an app may read its path, the plainest first.
    pub fn readings(&self, now: Timestamp) -> Vec<Circumstances<'a>> {
        let decoded = percent_encoding::percent_decode_str(self.path).decode_utf8_lossy();
        let mut paths = vec![decoded];
        if memchr::memchr2(b'%', b';', self.path.as_bytes()).is_some() {
            for reading in path::readings(self.path) {
                if !paths.iter().any(|known| **known == *reading) {
                    paths.push(Cow::Owned(reading));
                }
            }
        }
        let reading = |path| Circumstances {
            method: Some(self.method),
            path: Some(path),
            host: Some(Cow::Owned(without_port(self.host).to_ascii_lowercase())),
            language: self.language,
            address: self.address,
            ..Circumstances::at(now)
        };
        paths.into_iter().map(reading).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str) -> Vec<String> {
        let seen = AsSeen { method: "GET", host: "APP.example.com:8443", path, language: None, address: None };
        let readings = seen.readings(Timestamp::from_secs(0));
        assert!(readings.iter().all(|reading| reading.host.as_deref() == Some("app.example.com")));
        readings.into_iter().filter_map(|reading| reading.path).map(Cow::into_owned).collect()
    }

    #[test]
    fn policies_see_a_path_in_each_way_in_which_an_app_may_read_it() {
        assert_eq!(paths("/admin/x"), ["/admin/x"]);
        assert_eq!(paths("/%61dmin/%C3%A9"), ["/admin/é"]);
        for path in ["/admin;v=1/x", "/%61dmin%3bv/x", "/admin%3fx"] {
            let all = paths(path);
            assert!(all.iter().any(|read| read.starts_with("/admin/x") || read == "/admin"), "{path}: {all:?}");
        }
        assert!(paths("/admin%2fx").contains(&"/admin/x".to_owned()));
    }
}
