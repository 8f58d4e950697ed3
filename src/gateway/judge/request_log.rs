//! What was learnt of a request while it was judged.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gateway::accept::connection::ListenerConnection;
use crate::gateway::judge::authenticate::Check;
use crate::gateway::judge::original::AnswerOptions;
use crate::gateway::judge::routes::Route;
use crate::lease::Source;
use crate::limit::Taken;
use crate::session::Session;
use crate::telemetry::{Place, TraceContext};

/// The connection that brought a request.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateway) struct Came {
    /// One of `server.trusted_proxies`.
    pub trusted: bool,
    /// Over TLS.
    pub tls: bool,
}

/// What was learnt of a request on the way: for the answer, the metrics and the access line.
pub(in crate::gateway) struct RequestLog<'g, 'h> {
    /// When its head was there.
    pub moment: Moment,
    pub request_id: &'h str,
    /// Where it stands in a trace.
    pub place: Place,
    /// It began a mint.
    pub began_mint: bool,
    /// The mint of another request, whose URL this one got.
    pub joined: Option<TraceContext>,
    /// The client's address; `None`: on a Unix socket it has none.
    pub address: Option<IpAddr>,
    /// The origin to which its listener sends each request.
    pub redirect_to: Option<&'h str>,
    /// The client's connection, which has a share of what may be under way; `None`: a trusted proxy's.
    pub connection: Option<&'h Arc<ListenerConnection>>,
    /// What it has used up of the limits.
    pub taken: Taken,
    pub route: Option<Route<'g>>,
    pub session: Option<Arc<Session>>,
    /// How the credential was judged; `None`: nobody asked for it.
    pub check: Option<Check>,
    /// Life left in the URL sent.
    pub remaining: Option<Duration>,
    pub source: Option<Source>,
    pub path: Option<Cow<'h, str>>,
    pub query: Option<&'h str>,
    /// The origin whose page may read the answer.
    pub origin: Option<&'h str>,
    /// The policy that decided.
    pub policy: Option<Arc<str>>,
    /// Who brought it.
    pub came: Came,
    /// Another proxy carries the request, and asks about it.
    pub asked: Option<AnswerOptions>,
}

impl<'h> RequestLog<'_, 'h> {
    /// Of a request of which nothing else is known yet.
    pub fn new(moment: Moment, place: Place, request_id: &'h str) -> Self {
        Self {
            moment,
            request_id,
            place,
            began_mint: false,
            joined: None,
            address: None,
            redirect_to: None,
            connection: None,
            taken: Taken::default(),
            route: None,
            session: None,
            check: None,
            remaining: None,
            source: None,
            path: None,
            query: None,
            origin: None,
            policy: None,
            came: Came::default(),
            asked: None,
        }
    }

    /// Whether something may have been waited for: a known session and a held lease are at hand.
    pub fn has_waited(&self) -> bool {
        (self.check, self.source) != (Some(Check::Cached), Some(Source::Hit))
    }
}
