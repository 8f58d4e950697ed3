//! HTTP/2 in front: the same answers, the same judgements, the same words to the app.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::kit::tls::Authority;
use crate::kit::{App, FACE_SCAN, HOST, Setup, Stack, in_time};

/// A gateway with TLS before this app, and a client that speaks HTTP/2 with it.
async fn http2(app: Option<&App>) -> (Stack, SendRequest<Bytes>) {
    http2_with(app, "").await
}

/// The same with these lines for the app.
pub async fn http2_with(app: Option<&App>, lines: &str) -> (Stack, SendRequest<Bytes>) {
    started(|setup| app.into_iter().fold(setup, |setup, app| setup.app(app, lines))).await
}

/// The same before the app at this address.
pub async fn http2_before(address: &str, lines: &str) -> (Stack, SendRequest<Bytes>) {
    let app = format!("[[app]]\nname = \"portal\"\nupstreams = [\"{address}\"]\n{lines}");
    started(|setup| setup.tables(&app)).await
}

async fn started(with_app: impl FnOnce(Setup) -> Setup) -> (Stack, SendRequest<Bytes>) {
    let (stack, send, _) = http2_of(with_app(Setup::new())).await;
    (stack, send)
}

/// A gateway of this set-up with TLS, and a client that speaks HTTP/2 with it.
pub async fn http2_of(setup: Setup) -> (Stack, SendRequest<Bytes>, Authority) {
    let authority = Authority::new();
    let site = authority.site(&[HOST]);
    let setup = setup.listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let stack = setup.file("site.pem", &site.chain).file("site.key", &site.key).start().await;
    stack.until_ready().await;
    let (send, _) = connect(&authority, &stack).await;
    (stack, send, authority)
}

/// Another connection to it, and what ends when that does.
pub async fn connect(authority: &Authority, stack: &Stack) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let tls = authority.client(&["h2"]).connect(&stack.address, HOST).await.expect("a handshake");
    let (send, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    let end = tokio::spawn(async move {
        let _ = connection.await;
    });
    (send, end)
}

/// Begins HTTP/2 here (RFC 9113, section 3.4), sees that this was heard, and neither says nor reads any more.
pub async fn fall_asleep(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    stream.read_exact(&mut [0; 9]).await.expect("its settings");
}

pub struct Got {
    pub status: u16,
    headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Got {
    /// All of it but what differs from one answer to the next.
    pub fn said(&self) -> (u16, Vec<(String, String)>, String) {
        let ours =
            |name: &str| name == "date" || name == "x-request-id" || self.status >= 500 && name == "content-length";
        let fields = self.headers.iter().filter(|(name, _)| !ours(name.as_str()));
        let fields = fields.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
        let mut fields: Vec<_> = fields.collect();
        fields.sort_unstable();
        // A problem names its request.
        let body = if self.status >= 500 { String::new() } else { String::from_utf8_lossy(&self.body).into_owned() };
        (self.status, fields, body)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

pub async fn ask(send: &mut SendRequest<Bytes>, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Got {
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(format!("https://{HOST}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (answer, mut stream) = send.send_request(request.body(()).expect("a request"), body.is_empty()).expect("sent");
    if !body.is_empty() {
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("sent");
    }
    let (head, mut stream) = in_time("an answer", answer).await.expect("an answer").into_parts();
    let mut body = Vec::new();
    while let Some(piece) = in_time("a body", stream.data()).await {
        let piece = piece.expect("a body");
        stream.flow_control().release_capacity(piece.len()).expect("flow control");
        body.extend_from_slice(&piece);
    }
    Got { status: head.status.as_u16(), headers: head.headers, body }
}

#[tokio::test]
async fn a_plug_in_is_opened_over_http_2_as_over_http_1() {
    let (stack, mut send) = http2(None).await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    let authorization = [("authorization", bearer.as_str())];
    let first = ask(&mut send, "GET", FACE_SCAN, &authorization, "").await;
    assert_eq!((first.status, first.field("cache-control")), (302, Some("no-store")));
    assert!(matches!(first.all("date").as_slice(), [date] if date.ends_with(" GMT")), "{:?}", first.all("date"));
    let url = first.field("location").expect("a URL").to_owned();
    let again = ask(&mut send, "GET", FACE_SCAN, &authorization, "").await;
    assert_eq!(again.field("location"), Some(&*url));
    let head = ask(&mut send, "HEAD", FACE_SCAN, &authorization, "").await;
    assert_eq!((head.status, head.body.len()), (302, 0));
    let renewed = ask(&mut send, "POST", FACE_SCAN, &authorization, "body").await;
    assert_eq!(renewed.status, 303);
    assert_ne!(renewed.field("location"), Some(&*url));
    for (path, fields, status, slug) in [
        (FACE_SCAN, &[][..], 401, "session-required"),
        (FACE_SCAN, &[("authorization", "Bearer a.b.c")], 401, "session-invalid"),
        ("/nothing", &authorization, 404, "not-found"),
        ("/%2e%2e/a", &authorization, 400, "bad-request"),
        (FACE_SCAN, &[("authorization", &*bearer), ("authorization", &*bearer)], 400, "bad-request"),
    ] {
        let got = ask(&mut send, "GET", path, fields, "").await;
        assert_eq!((got.status, got.field("content-type")), (status, Some("application/problem+json")), "{path}");
        let problem: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
        assert!(problem["type"].as_str().expect("a type").ends_with(slug), "{problem}");
    }
    let crumbs = format!("session={}", stack.token("ada"));
    let got = ask(&mut send, "GET", FACE_SCAN, &[("cookie", "a=1"), ("cookie", &crumbs), ("cookie", "b=2")], "").await;
    assert_eq!(got.status, 302);
    assert!(stack.lines.all(10).await.iter().all(|line| line["peer"] == "127.0.0.1"));
}

#[tokio::test]
async fn an_app_of_http_1_gets_a_request_of_http_2_in_its_own_words() {
    let app = App::start().await;
    let (stack, mut send) = http2(Some(&app)).await;
    let crumbs = format!("session={}", stack.token("ada"));
    let fields = [
        ("cookie", "a=1"),
        ("cookie", &crumbs),
        ("cookie", "b=2"),
        ("x-auth-subject", "forged"),
        ("x_auth_subject", "forged"),
        ("x.auth.issuer", "forged"),
        ("x-forwarded-for", "forged"),
    ];
    let got = ask(&mut send, "POST", "/orders//x/../y?z=1", &fields, "a body").await;
    assert_eq!((got.status, got.body.as_slice()), (200, &b"hello"[..]));
    let seen = app.last();
    assert_eq!((seen.line(), seen.body.as_slice()), ("POST /orders/y?z=1", &b"a body"[..]));
    assert_eq!((seen.field("x-auth-subject"), seen.field("cookie")), (Some("ada"), Some("a=1; b=2")));
    assert_eq!((seen.field("host"), seen.field("x-forwarded-proto")), (Some(HOST), Some("https")));
    assert!(!seen.head.contains("forged") && !seen.head.contains(&stack.token("ada")), "{}", seen.head);
    let before = app.seen().len();
    assert_eq!(ask(&mut send, "GET", "/x", &[], "").await.status, 401);
    assert_eq!(ask(&mut send, "GET", "/x", &[("authorization", "Bearer a.b.c")], "").await.status, 401);
    assert_eq!(app.seen().len(), before);
    let gone = ask(&mut send, "GET", "/gone", &[("cookie", &crumbs)], "").await;
    assert_eq!((gone.status, gone.field("content-type")), (502, Some("application/problem+json")));
}

#[tokio::test]
async fn no_spelling_of_a_credential_reaches_an_app_over_http_2_either() {
    for need in ["required", "optional", "none"] {
        let app = App::start().await;
        let (stack, mut send) = http2_with(Some(&app), &format!("session = \"{need}\"")).await;
        let token = stack.token("ada");
        let bearer = format!("Bearer {token}");
        let cookies = [format!("session={token}"), format!("session ={token}"), format!("a=1; session\t={token}; b=2")];
        let [exact, spaced, among] = cookies.each_ref().map(String::as_str);
        let odd =
            [("authorization_", bearer.as_str()), ("authorization.", &bearer), ("cookie", spaced), ("cookie", among)];
        for fields in [[("authorization", bearer.as_str())].as_slice(), &[("cookie", exact)]] {
            for body in ["", "a body"] {
                let fields = [fields, &odd].concat();
                assert_eq!(ask(&mut send, "GET", "/", &fields, body).await.status, 200, "{need}");
                let seen = app.last();
                assert!(!seen.head.contains(&token), "{need}: {}", seen.head);
                assert_eq!(seen.field("cookie"), Some("a=1; b=2"));
            }
        }
    }
}

#[tokio::test]
async fn nothing_stands_behind_a_body_that_ends_with_an_empty_frame() {
    let app = App::start().await;
    let (stack, mut send) = http2(Some(&app)).await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    for pieces in [&["a body", ""][..], &["", "a ", "", "body", ""], &["", ""], &[""]] {
        let request = Request::post(format!("https://{HOST}/x")).header("authorization", &bearer).body(());
        let (answer, mut stream) = send.send_request(request.expect("a request"), false).expect("sent");
        for (at, piece) in pieces.iter().enumerate() {
            stream.send_data(Bytes::from_static(piece.as_bytes()), at + 1 == pieces.len()).expect("sent");
        }
        assert_eq!(in_time("an answer", answer).await.expect("an answer").status(), 200);
        assert_eq!(app.last().body, pieces.concat().as_bytes());
    }
    // By the same connections, whatever is left on them.
    assert_eq!(ask(&mut send, "POST", "/y", &[("authorization", &bearer)], "z").await.status, 200);
    let lines: Vec<String> = app.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["POST /x", "POST /x", "POST /x", "POST /x", "POST /y"]);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_client_that_knows_no_http_2_speaks_http_1_on_the_same_port() {
    let app = App::start().await;
    let authority = Authority::new();
    let site = authority.site(&[HOST]);
    let setup = Setup::new().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let stack = setup.file("site.pem", &site.chain).file("site.key", &site.key).app(&app, "").start().await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut wire = authority.client(protocols).open(&stack.address, HOST).await;
        for _ in 0..2 {
            wire.write(stack.get("/x").as_user("ada").bytes()).await;
            wire.answer().await.assert_status(200);
        }
        assert_eq!(app.last().field("x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test]
async fn a_silent_client_holds_up_no_stop() {
    let authority = Authority::new();
    let site = authority.site(&[HOST]);
    let setup = Setup::new().real_time().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let setup = setup.file("site.pem", &site.chain).file("site.key", &site.key).server("drain = \"1h\"");
    // Longer than a test may take.
    let mut stack = setup.limits(|limits| limits.head = std::time::Duration::from_secs(3600)).start().await;
    let silent = authority.client(&["h2"]).connect(&stack.address, HOST).await.expect("a handshake");
    // One that has begun, and hears nothing of the end.
    let mut asleep = authority.client(&["h2"]).connect(&stack.address, HOST).await.expect("a handshake");
    fall_asleep(&mut asleep).await;
    in_time("the stop", stack.take_gateway().stop()).await;
    drop((silent, asleep));
}

#[tokio::test]
async fn the_crumbs_of_a_cookie_count_as_one_field() {
    let app = App::start().await;
    let (stack, mut send) = http2(Some(&app)).await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    let crumbs: Vec<String> = (0..120).map(|i| format!("crumb{i}=value")).collect();
    let signed_in = [("authorization", &*bearer)];
    let fields: Vec<(&str, &str)> = crumbs.iter().map(|crumb| ("cookie", &**crumb)).chain(signed_in).collect();
    assert_eq!(ask(&mut send, "GET", "/", &fields, "").await.status, 200);
    assert_eq!(app.last().field("cookie"), Some(&*crumbs.join("; ")));
    let names: Vec<String> = (0..120).map(|i| format!("x-field-{i}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "value")).collect();
    assert_eq!(ask(&mut send, "GET", "/", &fields, "").await.status, 431);
}

#[tokio::test]
async fn a_head_that_http_1_would_read_otherwise_is_refused_over_http_2() {
    let app = App::start().await;
    let (stack, mut send) = http2(Some(&app)).await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    for more in [
        &[("x-value", " a")][..],
        &[("x-value", "a\t")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    ] {
        let fields = [&[("authorization", &*bearer)], more].concat();
        let answer = ask(&mut send, "GET", "/orders", &fields, "").await;
        assert_eq!((answer.status, answer.field("content-type")), (400, Some("application/problem+json")), "{more:?}");
    }
    for (scheme, status) in [("ftp", 400), ("wss", 400), ("http", 200), ("https", 200)] {
        let request = Request::builder().version(Version::HTTP_2).uri(format!("{scheme}://{HOST}/orders"));
        let request = request.header("authorization", &*bearer).body(()).expect("a request");
        let (answer, _) = send.send_request(request, true).expect("sent");
        let answer = in_time("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{scheme}");
    }
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test]
async fn a_head_that_can_t_be_read_is_counted_as_malformed_over_http_2_too() {
    let (stack, mut send) = http2(None).await;
    for (n, host) in ["other.example", "user@x.example"].iter().enumerate() {
        let request = Request::get(format!("https://{HOST}/x")).version(Version::HTTP_2).header("host", *host);
        let (answer, _) = send.send_request(request.body(()).expect("a request"), true).expect("sent");
        assert_eq!(in_time("an answer", answer).await.expect("an answer").status().as_u16(), 400, "{host}");
        assert_eq!(stack.count("valet_requests_total", &[("route", "none"), ("outcome", "malformed")]), n as u64 + 1);
    }
    for line in stack.lines.all(2).await {
        assert_eq!((&line["status"], &line["outcome"]), (&400.into(), &"malformed".into()), "{line}");
    }
    // The others of the connection go on.
    assert_eq!(ask(&mut send, "GET", "/nothing", &[], "").await.status, 404);
}
