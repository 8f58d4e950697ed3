//! Active health checks of upstreams.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::endpoints::Endpoints;
use super::failure::{cause_of, words};
use super::settings::HealthSettings;
use super::upstream::Upstream;
use crate::http_client::Cause;

const AGENT: &str = concat!("valet/", env!("CARGO_PKG_VERSION"));

/// The body is read so that the app does not see its answer refused, but no more of it than a page of health has.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A file of no authorities: Pingora reads the machine's unless it gets a file, and panics where it can't.
const NO_AUTHORITIES: &str = "/dev/null";

/// Asks each upstream, round by round, until `stop` says so or is gone. Dropped, questions under way are given up.
pub(super) async fn keep_asking(endpoints: &Endpoints, health: &HealthSettings, mut stop: watch::Receiver<bool>) {
    let probe = Arc::new(Probe::new(health, endpoints.peers.trust_the_machine()));
    let rounds = async {
        loop {
            // Jittered, so that many gateways do not ask in step.
            let next = Instant::now() + health.interval.0.mul_f64(0.9 + 0.1 * fastrand::f64());
            ask_all(endpoints, health, &probe).await;
            tokio::time::sleep_until(next).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// One round: all at once. Dropped, those that did not answer yet are not judged.
pub(super) async fn ask_all(endpoints: &Endpoints, health: &HealthSettings, probe: &Arc<Probe>) {
    ask_each(endpoints, probe, |upstream, answer| endpoints.answered(upstream, answer, health)).await;
}

/// Asks all at once, and tells each answer as it comes. Dropped, the rest is given up.
async fn ask_each(endpoints: &Endpoints, probe: &Arc<Probe>, mut tell: impl FnMut(&Arc<Upstream>, Result<(), Unwell>)) {
    let mut questions = JoinSet::new();
    let mut asked = HashMap::new();
    for upstream in endpoints.list.load().iter() {
        let (probe, asks) = (Arc::clone(probe), Arc::clone(upstream));
        let question = questions.spawn(async move { probe.ask(&asks).await });
        asked.insert(question.id(), Arc::clone(upstream));
    }
    while let Some(answer) = questions.join_next_with_id().await {
        // A certificate that makes Pingora's parser panic is no answer either.
        let (id, answer) = answer.unwrap_or_else(|fault| (fault.id(), Err(Unwell::Cause(Cause::Tls))));
        if let Some(upstream) = asked.get(&id) {
            tell(upstream, answer);
        }
    }
}

/// Asks each upstream once, for a check: what is wrong with it, behind its name as configured and the address that the name has. Without settings any
/// answer is a good one. Dropped, the questions are given up.
pub(super) async fn try_out(endpoints: &Endpoints, health: Option<&HealthSettings>) -> Vec<(String, Option<String>)> {
    let ask = HealthSettings { path: "/".into(), ..HealthSettings::default() };
    let timeout = health.unwrap_or(&ask).timeout;
    let probe = Arc::new(Probe::new(health.unwrap_or(&ask), endpoints.peers.trust_the_machine()));
    // An address that two names have is asked once.
    let mut found: Vec<(String, Option<String>)> = {
        let known = endpoints.known.lock();
        let nameless = endpoints.targets.iter().zip(known.iter()).filter(|(_, addresses)| addresses.is_empty());
        nameless.map(|(target, _)| (target.text.to_string(), Some(words(Cause::Dns).to_owned()))).collect()
    };
    ask_each(endpoints, &probe, |upstream, answer| {
        let fault = match answer {
            Ok(()) => None,
            Err(Unwell::Status(_)) if health.is_none() => None,
            Err(Unwell::Late) if health.is_none() => Some(format!("it did not answer within {timeout}")),
            Err(Unwell::Cause(Cause::ConnectTimedOut)) => Some(format!("it accepted no connection within {timeout}")),
            Err(unwell) => Some(unwell.to_string()),
        };
        let (text, address) = (&upstream.target.text, &upstream.label);
        let is_name = upstream.target.lookup().is_err();
        found.push((if is_name { format!("{text} ({address})") } else { text.to_string() }, fault));
    })
    .await;
    found.sort();
    found
}

/// Why an upstream counts as unwell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwell {
    /// It answers, and not 2xx.
    Status(StatusCode),
    /// It did not answer within `health.timeout`.
    Late,
    /// It can't be asked.
    Cause(Cause),
}

/// In the operator's words.
impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "it answers {}, and 2xx is expected", status.as_u16()),
            Self::Late => f.write_str("it did not answer within `health.timeout`"),
            Self::Cause(cause) => f.write_str(words(*cause)),
        }
    }
}

/// The question: over a new connection each time, the way that requests go, certificates and all.
pub(super) struct Probe {
    connector: Connector,
    path: String,
    host: Option<String>,
    timeout: Duration,
}

impl Probe {
    pub(super) fn new(health: &HealthSettings, trusts_the_machine: bool) -> Self {
        let mut options = ConnectorOptions::new(1);
        options.ca_file = (!trusts_the_machine).then(|| NO_AUTHORITIES.to_owned());
        Self {
            connector: Connector::new(Some(options)),
            path: health.path.clone(),
            host: health.host.clone(),
            timeout: health.timeout.0,
        }
    }

    /// Whether it answers 2xx in time.
    pub(super) async fn ask(&self, upstream: &Upstream) -> Result<(), Unwell> {
        let exchange = async {
            let mut session = self.send(upstream).await?;
            let status = status(&mut session).await?;
            read_body(&mut session).await;
            Ok::<_, pingora::BError>(status)
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(Some(status))) if status.is_success() => Ok(()),
            Ok(Ok(Some(status))) => Err(Unwell::Status(status)),
            Ok(Ok(None)) => Err(Unwell::Cause(Cause::NotHttp)),
            Ok(Err(fault)) => Err(Unwell::Cause(cause_of(&fault))),
            Err(_) => Err(Unwell::Late),
        }
    }

    async fn send(&self, upstream: &Upstream) -> pingora::Result<HttpSession> {
        let peer = self.peer(upstream);
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        let is_h2 = session.as_http2().is_some();
        session.write_request_header(Box::new(self.request(upstream, is_h2)?)).await?;
        session.finish_request_body().await?;
        Ok(session)
    }

    /// As requests are sent, the protocol that an upstream chooses by TLS too. The time is bounded as a whole, and a connection with one stream is not
    /// kept for another.
    fn peer(&self, upstream: &Upstream) -> HttpPeer {
        let mut peer = upstream.peer.clone();
        peer.options.connection_timeout = Some(self.timeout);
        peer.options.total_connection_timeout = Some(self.timeout);
        peer.options.max_h2_streams = 1;
        peer
    }

    fn request(&self, upstream: &Upstream, is_h2: bool) -> pingora::Result<RequestHeader> {
        let mut request = RequestHeader::build("GET", self.path.as_bytes(), Some(4))?;
        let host = self.host.clone().unwrap_or_else(|| upstream.target.authority());
        request.insert_header("Host", host)?;
        request.insert_header("User-Agent", AGENT)?;
        request.insert_header("Accept", "*/*")?;
        if !is_h2 {
            request.insert_header("Connection", "close")?;
        }
        Ok(request)
    }
}

/// The status of the answer, whatever 1xx comes before it.
async fn status(session: &mut HttpSession) -> pingora::Result<Option<StatusCode>> {
    loop {
        session.read_response_header().await?;
        match session.response_header().map(|head| head.status) {
            Some(status) if status.is_informational() => {}
            status => return Ok(status),
        }
    }
}

/// What is wrong with the body is not asked: the head has said it.
async fn read_body(session: &mut HttpSession) {
    let mut read = 0;
    while let Ok(Some(piece)) = session.read_response_body().await {
        read += piece.len();
        if read > MAX_BODY_BYTES {
            return;
        }
    }
}
