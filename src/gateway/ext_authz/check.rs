//! One check: the request as Envoy describes it, judged like any other, and the judgement in Envoy's words.

use std::net::IpAddr;

use httparse::Header;

use crate::clock::Stopwatch;
use crate::gateway::Gateway;
use crate::gateway::accept::peer::Peer;
use crate::gateway::answer::reply::{Reply, Written};
use crate::gateway::drain::Drain;
use crate::gateway::ext_authz::messages::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest, HttpResponse, HttpStatus,
    OkHttpResponse, Status,
};
use crate::gateway::forward::headers;
use crate::gateway::http1::head::{Body, Head};
use crate::gateway::judge::decide::Verdict;
use crate::gateway::judge::original::AnswerOptions;
use crate::gateway::judge::permission::Forward;
use crate::gateway::judge::request_log::RequestLog;
use crate::gateway::request::RequestId;
use crate::problem::Refusal;
use crate::telemetry::Outcome;

/// `google.rpc.Code`.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;

/// In place of a head that can't be read.
const UNREADABLE: Head<'static> = Head {
    method: "GET",
    target: "/",
    headers: &[],
    body: Body::Empty,
    close: false,
    expects_continue: false,
    modern: true,
    http2: true,
    host: "",
    hostless: false,
};

/// Names and values as Envoy has them.
type Fields = Vec<(String, Vec<u8>)>;

impl Gateway {
    /// Judges the request that `asker` asks about.
    ///
    /// Dropped: nothing is answered.
    pub(super) async fn check_request(&self, asked: CheckRequest, asker: &Peer, drain: &Drain) -> CheckResponse {
        let began = Stopwatch::start();
        let moment = self.clock.moment_at(began);
        let time = moment.wall;
        let attributes = asked.attributes.unwrap_or_default();
        let source = attributes.source.and_then(|source| source.address?.socket_address?.address.parse().ok());
        // As if the client that Envoy sees were connected to us: if that is a trusted proxy too, it speaks for another.
        let source = source
            .map(|ip: IpAddr| Peer::new(Some(ip.to_canonical()), false, &self.trusted, asker.connection().clone()));
        let peer = source.as_ref().unwrap_or(asker);
        let mut http = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let fields = fields(&mut http);
        let headers: Vec<Header<'_>> = fields.iter().map(|(name, value)| Header { name, value }).collect();
        let head = Head::of_parts(&http.method, &http.path, &http.host, &headers, false);
        let head = head.map_err(|_| Refusal::BadRequest);
        let mut room = RequestId::default();
        let (id, place) = self.identify(head.as_ref().unwrap_or(&UNREADABLE), asker, &mut room);
        let (address, client) = head.as_ref().map_or((peer.address(), peer.text().into()), |head| {
            let (address, client) = peer.client(head, &self.trusted);
            (address, client.into_owned())
        });
        let options = AnswerOptions { cut_cookie: true, preflight: true, never_login: false };
        let log = RequestLog::new(moment, place, id);
        let mut log = RequestLog { address, asked: Some(options), ..log };
        let mut abort = drain.abort();
        let verdict = tokio::select! {
            biased;
            verdict = self.decide(head.as_ref().map_err(|refusal| *refusal), &mut log) => verdict,
            _ = abort.wait_for(|abort| *abort) => Err(Refusal::Draining),
        };
        let (answer, answered) = match (verdict, &head) {
            (Ok(Verdict::Authorized(forward, _)), Ok(head)) => {
                forward.app().passed.inc();
                (self.passed(head, &forward, peer.is_trusted()), (200, Outcome::Authorized))
            }
            (verdict, head) => {
                let mut out = Vec::new();
                let (origin, at) = (log.origin, Stopwatch::start());
                let (head_only, close, hsts) = (false, false, None);
                let mut reply = Reply { out: &mut out, request_id: id, head_only, close, origin, hsts, at };
                let answered = self.write(head.as_ref().unwrap_or(&UNREADABLE), &mut log, &mut reply, verdict);
                (denied(out), answered)
            }
        };
        self.tell(&log, (time, began.elapsed()), (&http.method, &client), answered);
        answer
    }

    /// What Envoy changes of a request that may pass: who it is from is said, and what the client said in its place, or as a credential, is taken out.
    fn passed(&self, head: &Head<'_>, forward: &Forward, by_proxy: bool) -> CheckResponse {
        let app = forward.app();
        let mut headers = Vec::new();
        headers::identity_fields(app, forward.session(), forward.assertion(), |name, value| {
            headers.push(HeaderValueOption::set(name, value.as_bytes()));
        });
        let is_set = |headers: &[HeaderValueOption], name: &str| {
            headers.iter().any(|set| set.header.as_ref().is_some_and(|header| header.key == name))
        };
        let missing = self.authorized_fields.iter().filter(|name| !is_set(&headers, name));
        let mut remove: Vec<String> = missing.map(|name| name.to_string()).collect();
        headers::removed(head, app, (&self.sources, by_proxy), |name| {
            if !is_set(&headers, name) && !remove.iter().any(|known| known == name) {
                remove.push(name.to_owned());
            }
        });
        let cookie = headers::cookie(head, app, &self.sources);
        match head.all("cookie").map(<[u8]>::len).sum::<usize>() {
            0 => {}
            _ if cookie.is_empty() || std::str::from_utf8(&cookie).is_err() => remove.push("cookie".into()),
            _ => headers.push(HeaderValueOption::set("cookie", &cookie)),
        }
        CheckResponse {
            status: Some(Status { code: OK }),
            http_response: Some(HttpResponse::Ok(OkHttpResponse { headers, headers_to_remove: remove })),
        }
    }
}

/// The fields of the request. How its body is framed is between the client and Envoy.
fn fields(http: &mut HttpRequest) -> Fields {
    let raw = http.header_map.take();
    let joined = std::mem::take(&mut http.headers);
    let all: Fields = match raw {
        Some(map) => map
            .headers
            .into_iter()
            .map(|field| (field.key, if field.raw_value.is_empty() { field.value } else { field.raw_value }))
            .collect(),
        None => joined.into_iter().flat_map(|field| parted(field.key, field.value)).collect(),
    };
    let is_kept =
        |name: &str| !name.starts_with(':') && !matches!(name, "transfer-encoding" | "content-length" | "host");
    all.into_iter().filter(|(name, _)| is_kept(name)).collect()
}

/// Two `Authorization` fields that Envoy has made one: nobody knows which of them counts.
fn parted(name: String, value: Vec<u8>) -> Fields {
    let second =
        |part: &[u8]| part.trim_ascii_start().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
    if name == "authorization"
        && memchr::memchr(b',', &value).is_some()
        && value.split(|b| *b == b',').skip(1).any(second)
    {
        return value.split(|b| *b == b',').map(|part| (name.clone(), part.to_vec())).collect();
    }
    vec![(name, value)]
}

/// An answer of ours, which is the text of HTTP/1.1, for Envoy to give.
fn denied(out: Vec<u8>) -> CheckResponse {
    // What we have written we can read.
    let written = Written::read(out).unwrap_or_default();
    // Envoy says itself how its answer is framed.
    let is_kept = |name: &[u8]| !matches!(name, b"connection" | b"content-length" | b"date");
    let headers = written.fields().filter(|(name, _)| is_kept(name));
    let text = |name| std::str::from_utf8(name).unwrap_or_default();
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: written.status.into() }),
        headers: headers.map(|(name, value)| HeaderValueOption::set(text(name), value)).collect(),
        body: String::from_utf8_lossy(&written.body()).into_owned(),
    };
    CheckResponse {
        status: Some(Status { code: PERMISSION_DENIED }),
        http_response: Some(HttpResponse::Denied(denied)),
    }
}
