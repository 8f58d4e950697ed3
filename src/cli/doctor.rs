//! `valet doctor`: asks the gateway through whatever stands before it, and says what is lost on the way.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use url::Url;

use super::{DoctorArguments, End, exit, runtime, say};
use crate::gateway::doctor::{AUTHORIZATION, COOKIE, FIELDS, PATH};
use crate::http_client::{Client, ClientFault, Response, Route};

/// Ample for a person who waits.
const DEADLINE: Duration = Duration::from_secs(10);

const MAX_ANSWER: usize = 64 * 1024;

/// What a browser sends in these fields; the last stands for the origin that is asked.
const SENT: [&str; FIELDS.len()] = ["same-origin", "navigate", "iframe", "", "text/html, application/json;q=0.5"];

/// An address that nobody has (RFC 5737).
const SPOOFED: &str = "192.0.2.66";

/// A path that proxies like to rewrite, and a query.
const ODD: &str = "/a%20b;c=1/x%7Ey?z=%2F";

/// What the gateway has seen.
#[derive(Deserialize)]
struct Seen {
    host: String,
    scheme: String,
    target: String,
    address: Option<IpAddr>,
    trusted_proxy: bool,
    forwarded: bool,
    authorization: bool,
    cookie: bool,
    fields: std::collections::BTreeMap<String, String>,
}

/// Lines for the operator, and how many of them are bad.
#[derive(Default)]
struct Findings {
    lost: usize,
}

impl Findings {
    fn judge(&mut self, what: &str, good: bool, ok: &str, bad: &str) {
        if good {
            say(&format!("ok       {what:<14} {ok}"));
        } else {
            self.lost += 1;
            say(&format!("LOST     {what:<14} {bad}"));
        }
    }
}

pub(super) fn doctor(arguments: &DoctorArguments) -> Result<(), End> {
    let from = origin(&arguments.from)?;
    let client = client(arguments.ca.as_deref())?;
    let findings = runtime(1)?.block_on(examine(&client, &from))?;
    match findings.lost {
        0 => Ok(()),
        1 => Err(End::new(exit::REFUSED, "1 thing is lost on the way")),
        lost => Err(End::new(exit::REFUSED, format!("{lost} things are lost on the way"))),
    }
}

fn origin(text: &str) -> Result<Url, End> {
    let wrong = || End::new(exit::CONFIG, "--from: expected an address such as https://app.example.com");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none();
    if plain && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(wrong()) }
}

fn client(ca: Option<&Path>) -> Result<Client, End> {
    let route = Route::open(ca, None, Path::new("")).map_err(|faults| {
        let lines = faults.into_iter().map(|fault| format!("--{}: {}", fault.path, fault.message)).collect();
        End { code: exit::CONFIG, lines }
    })?;
    Client::through(route).map_err(|_| End::new(exit::SOFTWARE, "valet: no HTTP client can be made"))
}

async fn examine(client: &Client, from: &Url) -> Result<Findings, End> {
    let mut findings = Findings::default();
    let (answer, seen) = look(client, from, "", &[]).await?;
    let own = from.host_str().unwrap_or_default();
    let host = from.port().map_or_else(|| own.to_owned(), |port| format!("{own}:{port}"));
    findings.judge(
        "Host",
        seen.host.eq_ignore_ascii_case(&host),
        &format!("is {host}"),
        &format!("Valet is told {:?} in place of {host:?}: routes by host and the way back from the login go wrong; let the proxy pass Host on (nginx: proxy_set_header Host $host)", seen.host),
    );
    findings.judge(
        "scheme",
        seen.scheme == from.scheme(),
        &format!("is {}", seen.scheme),
        &format!("Valet takes the request for {}: let the proxy set X-Forwarded-Proto, and name it in server.trusted_proxies", seen.scheme),
    );
    findings.judge(
        "Cookie",
        seen.cookie,
        "arrives",
        "does not arrive as it was sent: sessions in cookies are not seen",
    );
    findings.judge(
        "Authorization",
        seen.authorization,
        "arrives",
        "does not arrive as it was sent: sessions of programs are not seen",
    );
    for (name, sent) in FIELDS.iter().zip(SENT) {
        let sent = if sent.is_empty() { from.origin().ascii_serialization() } else { sent.to_owned() };
        let why = match *name {
            "accept" => "programs that ask for JSON would be redirected",
            "origin" => "a page of another origin that may read the answer would not be known",
            _ => "Valet could not tell your pages from foreign ones",
        };
        let arrives = seen.fields.get(*name) == Some(&sent);
        findings.judge(name, arrives, "arrives", &format!("does not arrive as it was sent: {why}"));
    }
    address(&mut findings, &answer, &seen, from);
    spoofs(&mut findings, client, from, &seen).await?;
    let (_, odd) = look(client, from, ODD, &[]).await?;
    findings.judge(
        "path",
        odd.target == format!("{PATH}{ODD}"),
        "arrives as it was sent",
        "is rewritten on the way: what Valet judges is not what the client asked for (nginx: proxy_pass without a path, or $request_uri)",
    );
    let asked = send(client, from, "/.valet/authorize", &[]).await?;
    findings.judge(
        "authorize",
        asked.status == 404,
        "is not to be reached from here",
        "clients reach /.valet/authorize through the proxy: let it answer 404 for that path itself",
    );
    Ok(findings)
}

/// Whose address Valet believes to see.
fn address(findings: &mut Findings, answer: &Response, seen: &Seen, from: &Url) {
    let Some(address) = seen.address else {
        let bad = "Valet sees none: over a Unix socket the proxy must send X-Forwarded-For, and \"unix:\" stand in server.trusted_proxies";
        return findings.judge("address", false, "", bad);
    };
    let proxied = ["server", "via"].iter().any(|name| answer.headers.contains_key(*name));
    let bad = match seen.trusted_proxy {
        true => format!("Valet takes you for {address}, which is a trusted proxy's: let it send X-Forwarded-For"),
        false => format!(
            "Valet takes you for {address}, which may be the proxy's: name that one in server.trusted_proxies, or limits and policies by address hold for all clients at once"
        ),
    };
    let good = seen.forwarded || (own_address(from) == Some(address) && !seen.trusted_proxy && !proxied);
    findings.judge("address", good, &format!("Valet takes you for {address}"), &bad);
}

/// Whether the proxy passes on what a client says of itself.
async fn spoofs(findings: &mut Findings, client: &Client, from: &Url, honest: &Seen) -> Result<(), End> {
    let scheme = if from.scheme() == "https" { "http" } else { "https" };
    let element = format!("for={SPOOFED};proto={scheme}");
    let fields = [("x-forwarded-for", SPOOFED), ("x-forwarded-proto", scheme), ("forwarded", &*element)];
    let (_, spoofed) = look(client, from, "", &fields).await?;
    findings.judge(
        "own word",
        spoofed.address == honest.address && spoofed.scheme == honest.scheme,
        "of a client on its address or scheme does not count",
        "anybody can say where he comes from: let the outermost proxy overwrite X-Forwarded-For, X-Forwarded-Proto and Forwarded",
    );
    Ok(())
}

/// The address from which this machine reaches the host.
fn own_address(from: &Url) -> Option<IpAddr> {
    let to = from.socket_addrs(|| None).ok()?.into_iter().next()?;
    let unspecified = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // Nothing is sent: it only asks which way a packet would go.
    let socket = UdpSocket::bind(unspecified).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical())
}

async fn look(client: &Client, from: &Url, rest: &str, fields: &[(&str, &str)]) -> Result<(Response, Seen), End> {
    let answer = send(client, from, &format!("{PATH}{rest}"), fields).await?;
    match serde_json::from_slice(&answer.body) {
        Ok(seen) if answer.status == 200 => Ok((answer, seen)),
        _ => Err(End::new(
            exit::REFUSED,
            format!(
                "LOST     everything      {from} answers {} to {PATH}{rest}, and not as Valet does: let the proxy pass /.valet/ and the paths of the plug-ins on to it",
                answer.status
            ),
        )),
    }
}

async fn send(client: &Client, from: &Url, target: &str, fields: &[(&str, &str)]) -> Result<Response, End> {
    let mut request = Request::get(format!("{}{target}", from.origin().ascii_serialization()));
    request = request.header("authorization", AUTHORIZATION).header("cookie", COOKIE);
    for (name, sent) in FIELDS.iter().zip(SENT) {
        let own = from.origin().ascii_serialization();
        request = request.header(*name, if sent.is_empty() { &own } else { sent });
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default());
    let request = request.map_err(|_| End::new(exit::CONFIG, "--from: no request can be made of this address"))?;
    client.send(request, MAX_ANSWER, DEADLINE).await.map_err(|fault| unreachable(from, fault))
}

fn unreachable(from: &Url, fault: ClientFault) -> End {
    End::new(exit::UNAVAILABLE, format!("valet: {from} can't be reached: {}", fault.cause().label()))
}
