//! What one listener says and asks for that another does not: where it redirects to, HSTS, versions of TLS, certificates of clients.

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::version::{TLS12, TLS13};

use crate::http2::ask;
use crate::kit::app::says;
use crate::kit::tls::{Authority, Client};
use crate::kit::{App, FACE_SCAN, HOST, Setup, Stack, Wire, in_time};

const HSTS: &str = "strict-transport-security";

const CERTIFICATE: &str = "x-auth-client-certificate";

/// A listener with TLS and these lines; its clients' authority is `clients.pem`.
fn listening(site: &Authority, clients: &Authority, lines: &str) -> Setup {
    let served = site.site(&[HOST]);
    let setup = Setup::new().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]").listener(lines);
    setup.file("site.pem", &served.chain).file("site.key", &served.key).file("clients.pem", &clients.pem())
}

async fn http2(stack: &Stack, client: &Client) -> SendRequest<Bytes> {
    let tls = client.connect(&stack.address, HOST).await.expect("a handshake");
    let (send, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    send
}

#[tokio::test]
async fn a_redirect_listener_answers_308_to_the_same_path_and_nothing_else() {
    let app = App::start().await;
    let stack = Setup::new().listener("redirect = \"https\"").app(&app, "path = \"/\"").start().await;
    for (method, target, path) in [
        ("GET", "/a/b?c=d&e=%2f", "/a/b?c=d&e=%2f"),
        ("GET", FACE_SCAN, FACE_SCAN),
        ("HEAD", "/", "/"),
        ("POST", "/orders//x/../y?", "/orders//x/../y?"),
        ("OPTIONS", "//evil.example/%2e%2e", "//evil.example/%2e%2e"),
        ("DELETE", "http://app.example.com/x", "/x"),
    ] {
        let answer = stack.ask(method, target).host("other.example").as_user("ada").send().await;
        answer.assert_status(308).assert_field("location", &format!("https://app.example.com{path}"));
        assert!(answer.body.is_empty());
        answer.assert_field("cache-control", "no-store").assert_no_field(HSTS);
    }
    // The connection is kept, and a body that nobody reads does not become a request.
    let mut wire = Wire::open(&stack.address).await;
    for _ in 0..2 {
        wire.write(stack.post("/x").body("GET /y HTTP/1.1\r\nHost: a\r\n\r\n").bytes()).await;
        wire.answer().await.assert_status(308).assert_field("location", "https://app.example.com/x");
    }
    assert!(app.seen().is_empty() && stack.vendor().users().is_empty());
    assert_eq!(stack.count("valet_requests_total", &[("route", "none"), ("outcome", "moved")]), 8);
    assert_eq!(stack.lines.all(8).await[0]["status"], 308);
}

#[tokio::test]
async fn requests_to_a_redirect_listener_count_for_their_address() {
    let limits = "[limits]\nper_address = { rate = 1, burst = 2 }";
    let stack = Setup::new().listener("redirect = \"https\"").tables(limits).start().await;
    for status in [308, 308, 429] {
        stack.get("/").send().await.assert_status(status);
    }
}

/// HSTS on what the gateway says itself, on what an app says, and on what can't be read.
#[tokio::test]
async fn hsts_is_on_every_answer_of_its_listener_once() {
    let (app, authority) = (App::start().await, Authority::new());
    let stack = listening(&authority, &authority, "hsts = \"365d\"");
    let stack = stack.app(&app, "session = \"none\"\nallowed_origins = [\"https://spa.example.com\"]").start().await;
    stack.until_ready().await;
    let own = says("/say", "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\ncontent-length: 0\r\n\r\n");
    let (year, client) = ("max-age=31536000", authority.client(&["http/1.1"]));
    let requests = [
        (stack.get(FACE_SCAN).as_user("ada"), 302),
        (stack.get(FACE_SCAN), 401),
        (stack.get("/%00"), 400),
        (stack.get("/x"), 200),
        (stack.get(&own), 200),
        (stack.post("/x").body("a body"), 200),
        (stack.post(&own).body("a body"), 200),
        (stack.get("/gone"), 502),
        (stack.post("/gone").body("a body"), 502),
    ];
    for (request, status) in &requests {
        let mut wire = client.open(&stack.address, HOST).await;
        wire.write(request.bytes()).await;
        wire.answer().await.assert_status(*status).assert_field(HSTS, year);
    }
    let mut wire = client.open(&stack.address, HOST).await;
    wire.write("GET / HTTP/1.1\r\n\r\n").await;
    wire.answer().await.assert_status(400).assert_field(HSTS, year);

    let mut send = http2(&stack, &authority.client(&["h2"])).await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    for (method, path, status) in [
        ("GET", FACE_SCAN, 302),
        ("GET", "/%00", 400),
        ("GET", "/x", 200),
        ("GET", &own, 200),
        ("POST", "/x", 200),
        ("POST", &own, 200),
        ("GET", "/gone", 502),
        ("POST", "/gone", 502),
    ] {
        let body = if method == "POST" { "a body" } else { "" };
        let got = ask(&mut send, method, path, &[("authorization", &bearer)], body).await;
        assert_eq!((got.status, got.all(HSTS)), (status, vec![year]), "{method} {path}");
    }
}

#[tokio::test]
async fn a_listener_without_hsts_leaves_the_apps_word() {
    let (app, authority) = (App::start().await, Authority::new());
    let stack = listening(&authority, &authority, "").app(&app, "session = \"none\"").start().await;
    let own = says("/say", "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=5\r\ncontent-length: 0\r\n\r\n");
    let mut wire = authority.client(&["http/1.1"]).open(&stack.address, HOST).await;
    wire.write(stack.get(&own).bytes()).await;
    wire.answer().await.assert_field(HSTS, "max-age=5");
    wire.write(stack.get("/x").bytes()).await;
    wire.answer().await.assert_no_field(HSTS);
}

#[tokio::test]
async fn a_websocket_handshake_says_hsts_and_tells_the_certificate() {
    let (app, authority) = (App::start().await, Authority::new());
    let lines = "hsts = \"1h\"\nclient_ca = \"clients.pem\"";
    let stack = listening(&authority, &authority, lines).app(&app, "session = \"none\"").start().await;
    let shown = authority.site(&["client.example"]);
    let mut wire = authority.client_of(&["http/1.1"], Some(&shown), &[&TLS13]).open(&stack.address, HOST).await;
    let switch = says("/say", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    wire.write(format!(
        "GET {switch} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX_Auth.Client-Certificate: forged\r\n\r\n"
    ))
    .await;
    let head = wire.read_to("\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("strict-transport-security: max-age=3600\r\n"),
        "{head}"
    );
    assert_eq!(app.last().field(CERTIFICATE), Some(&*shown.field()));
    assert!(!app.last().head.contains("forged"));
}

#[tokio::test]
async fn min_tls_1_3_refuses_what_speaks_1_2_alone() {
    let authority = Authority::new();
    for (lines, least) in [("min_tls = \"1.3\"", "1.3"), ("min_tls = \"1.2\"", "1.2"), ("", "1.2")] {
        let stack = listening(&authority, &authority, lines).start().await;
        let opens = |version| {
            let client = authority.client_of(&[], None, version);
            let address = stack.address.clone();
            async move { client.connect(&address, HOST).await.is_ok() }
        };
        assert_eq!((opens(&[&TLS12]).await, opens(&[&TLS13]).await), (least == "1.2", true), "{lines:?}");
    }
}

/// Whether the gateway answers a client at all. With TLS 1.3 a client learns only behind its handshake that its certificate was refused.
async fn is_answered(stack: &Stack, client: &Client) -> bool {
    let Ok(tls) = client.connect(&stack.address, HOST).await else { return false };
    let mut wire = Wire::over(tls);
    wire.write(stack.get("/x").bytes()).await;
    in_time("an answer, or none", wire.try_answer(false)).await.is_some()
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_handshake_and_none_does_where_one_is_required() {
    let (app, site, clients) = (App::start().await, Authority::new(), Authority::new());
    let (good, ended, foreign) =
        (clients.site(&["client.example"]), clients.ended(&["client.example"]), site.site(&["client.example"]));
    for (lines, without) in [
        ("client_ca = \"clients.pem\"", false),
        ("client_ca = \"clients.pem\"\nclient_certificate = \"required\"", false),
        ("client_ca = \"clients.pem\"\nclient_certificate = \"optional\"", true),
    ] {
        let stack = listening(&site, &clients, lines).app(&app, "session = \"none\"").start().await;
        for versions in [&[&TLS12][..], &[&TLS13]] {
            let client = |shown| site.client_of(&["http/1.1"], shown, versions);
            assert!(is_answered(&stack, &client(Some(&good))).await, "{lines}");
            assert_eq!(app.last().field(CERTIFICATE), Some(&*good.field()));
            let before = app.seen().len();
            assert!(!is_answered(&stack, &client(Some(&foreign))).await, "{lines}");
            assert!(!is_answered(&stack, &client(Some(&ended))).await, "{lines}");
            assert_eq!(app.seen().len(), before);
            assert_eq!(is_answered(&stack, &client(None)).await, without, "{lines}");
            if without {
                assert_eq!(app.last().field(CERTIFICATE), None);
            }
        }
    }
}

#[tokio::test]
async fn an_app_gets_the_certificate_by_every_way_and_never_a_clients_word_for_it() {
    let (app, authority) = (App::start().await, Authority::new());
    let lines = "client_ca = \"clients.pem\"\nclient_certificate = \"optional\"";
    let stack = listening(&authority, &authority, lines).app(&app, "session = \"optional\"").start().await;
    stack.until_ready().await;
    let shown = authority.site(&["client.example"]);
    let spellings =
        ["X-Auth-Client-Certificate", "x_auth_client_certificate", "X.Auth-Client_Certificate", "Client-Cert"];
    for with in [Some(&shown), None] {
        let expected = with.map(|site| site.field());
        let mut wire = authority.client_of(&["http/1.1"], with, &[&TLS13]).open(&stack.address, HOST).await;
        for method in ["GET", "POST"] {
            let forged = spellings.iter().fold(stack.ask(method, "/x"), |ask, name| ask.field(name, ":Zm9yZ2Vk:"));
            let body = if method == "POST" { "a body" } else { "" };
            wire.write(forged.body(body).bytes()).await;
            wire.answer().await.assert_status(200);
            assert_eq!(app.last().field(CERTIFICATE), expected.as_deref(), "{method}");
            assert!(!app.last().head.contains("Zm9yZ2Vk"), "{}", app.last().head);
        }
        let mut send = http2(&stack, &authority.client_of(&["h2"], with, &[&TLS13])).await;
        for (method, body) in [("GET", ""), ("POST", "a body")] {
            let fields = [("x-auth-client-certificate", ":Zm9yZ2Vk:"), ("client-cert", ":Zm9yZ2Vk:")];
            let got = ask(&mut send, method, "/x", &fields, body).await;
            assert_eq!((got.status, app.last().field(CERTIFICATE)), (200, expected.as_deref()), "{method}");
            assert!(!app.last().head.contains("Zm9yZ2Vk"), "{}", app.last().head);
        }
    }
}

#[tokio::test]
async fn new_authorities_of_clients_hold_for_the_next_connection_though_it_could_resume() {
    let (app, site, old, new) = (App::start().await, Authority::new(), Authority::new(), Authority::new());
    let stack = listening(&site, &old, "client_ca = \"clients.pem\"").app(&app, "session = \"none\"").start().await;
    let (before, after) = (old.site(&["client.example"]), new.site(&["client.example"]));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        // One client: it would resume if it could.
        let client = |shown| site.client_of(&["http/1.1"], Some(shown), versions);
        let (of_old, of_new) = (client(&before), client(&after));
        std::fs::write(stack.directory.path().join("clients.pem"), old.pem()).unwrap();
        stack.reread();
        assert!(is_answered(&stack, &of_old).await && !is_answered(&stack, &of_new).await);
        std::fs::write(stack.directory.path().join("clients.pem"), new.pem()).unwrap();
        stack.reread();
        assert!(!is_answered(&stack, &of_old).await && is_answered(&stack, &of_new).await);
        // What can't be read keeps the last ones.
        std::fs::write(stack.directory.path().join("clients.pem"), "nothing").unwrap();
        stack.reread();
        assert!(!is_answered(&stack, &of_old).await && is_answered(&stack, &of_new).await);
    }
}
