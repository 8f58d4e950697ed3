//! Listeners with TLS: who gets which certificate, how new ones come, and what is not let in.

use std::time::Duration;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::tls::{Authority, Client, Site};
use crate::kit::{FACE_SCAN, HOST, Setup, Stack, Wire, in_time, until};

/// A listener with these certificates.
fn with_sites(sites: &[&Site]) -> Setup {
    let pairs = (0..sites.len()).map(|n| format!("{{ chain = \"{n}.pem\", key = \"{n}.pem.key\" }}"));
    let setup = Setup::new().listener(&format!("tls = [{}]", pairs.collect::<Vec<_>>().join(", ")));
    sites.iter().enumerate().fold(setup, |setup, (n, site)| {
        setup.file(&format!("{n}.pem"), &site.chain).file(&format!("{n}.pem.key"), &site.key)
    })
}

/// Whether a new connection of this client resumes a session of one before. It is used: the ticket comes with the answer.
async fn resumes(stack: &Stack, client: &Client) -> bool {
    let tls = client.connect(&stack.address, HOST).await.expect("a handshake");
    let kind = tls.get_ref().1.handshake_kind();
    let mut wire = Wire::over(tls);
    wire.write(stack.get(FACE_SCAN).as_user("ada").bytes()).await;
    wire.answer().await.assert_status(302);
    kind == Some(HandshakeKind::Resumed)
}

fn handshakes(stack: &Stack, outcome: &str) -> u64 {
    stack.count("valet_tls_handshakes_total", &[("outcome", outcome)])
}

#[tokio::test]
async fn a_plug_in_is_opened_with_tls_and_the_connection_is_kept() {
    let authority = Authority::new();
    let stack = with_sites(&[&authority.site(&[HOST])]).start().await;
    let mut wire = authority.client(&["http/1.1"]).open(&stack.address, HOST).await;
    for _ in 0..3 {
        wire.write(stack.get(FACE_SCAN).as_user("ada").bytes()).await;
        wire.answer().await.assert_status(302).assert_no_field("connection");
    }
    wire.write(stack.post(FACE_SCAN).as_user("ada").body("x".repeat(30_000)).bytes()).await;
    wire.answer().await.assert_status(303);
    wire.write("GET / HTTP/1.1\r\n\r\n").await;
    wire.answer().await.assert_problem(400, "bad-request");
    wire.assert_closed().await;
    assert_eq!((handshakes(&stack, "ok"), handshakes(&stack, "failed")), (1, 0));
    assert!(stack.lines.all(5).await.iter().all(|line| line["peer"] == "127.0.0.1"));
}

#[tokio::test]
async fn sessions_resume_also_past_a_reload_that_changes_the_listener() {
    let authority = Authority::new();
    let stack = with_sites(&[&authority.site(&[HOST])]).start().await;
    for version in [&TLS12, &TLS13] {
        let client = authority.client_of(&["http/1.1"], None, &[version]);
        assert!(!resumes(&stack, &client).await && resumes(&stack, &client).await, "{version:?}");
        let hsts = if version.version == TLS12.version { "1h" } else { "2h" };
        let text = stack.config().replace("hsts = \"1h\"\n", "");
        let text = text.replacen("tls = [", &format!("hsts = \"{hsts}\"\ntls = ["), 1);
        assert_eq!(stack.reload_with(&text).await.len(), 1);
        assert!(resumes(&stack, &client).await, "{version:?}");
        // Another client has no ticket.
        assert!(!resumes(&stack, &authority.client_of(&["http/1.1"], None, &[version])).await);
    }
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let authority = Authority::new();
    let (first, wild, exact) = (
        authority.site(&["first.example", "127.0.0.1"]),
        authority.site(&["*.b.example"]),
        authority.site(&["x.b.example"]),
    );
    let stack = with_sites(&[&first, &wild, &exact]).start().await;
    let client = authority.client(&[]);
    // An address is no name: such a client asks for none.
    for (name, site) in [
        ("first.example", &first),
        ("y.b.example", &wild),
        ("x.b.example", &exact),
        ("X.B.example", &exact),
        ("127.0.0.1", &first),
    ] {
        let tls = client.connect(&stack.address, name).await.unwrap();
        assert!(site.was_shown(&tls), "{name}");
    }
    // The first one, which this client then refuses.
    assert!(client.connect(&stack.address, "other.example").await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_and_no_connection_is_cut() {
    let authority = Authority::new();
    let (old, new) = (authority.site(&[HOST]), authority.site(&[HOST]));
    let stack = with_sites(&[&old]).start().await;
    let client = authority.client(&[]);
    let tls = client.connect(&stack.address, HOST).await.unwrap();
    assert!(old.was_shown(&tls));
    let mut held = Wire::over(tls);
    held.write(stack.get(FACE_SCAN).as_user("ada").bytes()).await;
    held.answer().await.assert_status(302);

    // The chain alone does not fit its key: the last one stays.
    let folder = stack.directory.path();
    std::fs::write(folder.join("0.pem"), &new.chain).unwrap();
    stack.reread();
    assert!(old.was_shown(&client.connect(&stack.address, HOST).await.unwrap()));
    let trouble = || stack.count("valet_degraded", &[("what", "certificates")]);
    assert_eq!(trouble(), 1);

    // Nobody says that it has changed: it is looked at.
    std::fs::write(folder.join("0.pem.key"), &new.key).unwrap();
    in_time("the new certificate", async {
        while !new.was_shown(&client.connect(&stack.address, HOST).await.unwrap()) {}
    })
    .await;
    until("the trouble is over", || trouble() == 0).await;
    held.write(stack.get(FACE_SCAN).as_user("ada").bytes()).await;
    held.answer().await.assert_status(302);
}

#[tokio::test]
async fn http_2_is_offered_and_http_1_too() {
    let authority = Authority::new();
    let stack = with_sites(&[&authority.site(&[HOST])]).start().await;
    for (offered, chosen) in [(&["http/1.1", "h2"][..], "h2"), (&["http/1.1"], "http/1.1"), (&["http/1.0"], "http/1.0")]
    {
        let tls = authority.client(offered).connect(&stack.address, HOST).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
    }
    assert!(authority.client(&["h3"]).connect(&stack.address, HOST).await.is_err());
}

/// All that comes back for these bytes.
async fn reply(stack: &Stack, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&stack.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    let _ = in_time("the end", stream.read_to_end(&mut all)).await;
    all
}

/// A ClientHello (RFC 5246, section 7.4.1.2) with one suite, and signature_algorithms as its only extension.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let body = [&version[..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0], &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3]].concat();
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &length(body.len() + 4), &[1, 0], &length(body.len()), &body].concat()
}

#[tokio::test]
async fn older_versions_of_tls_are_refused() {
    let authority = Authority::new();
    let stack = with_sites(&[&authority.site(&[HOST])]).start().await;
    for version in [[3, 0], [3, 1], [3, 2]] {
        // A fatal alert, protocol_version (RFC 8446, section 6).
        let reply = reply(&stack, &hello(version)).await;
        assert!(reply.ends_with(&[2, 70]), "{version:?}: {reply:?}");
    }
    assert_eq!(handshakes(&stack, "failed"), 3);
}

#[tokio::test]
async fn plain_http_is_not_answered_where_tls_is_spoken() {
    let authority = Authority::new();
    let stack = with_sites(&[&authority.site(&[HOST])]).start().await;
    let request = stack.get(FACE_SCAN).as_user("ada").bytes();
    let answer = reply(&stack, &request).await;
    assert!(!answer.windows(4).any(|four| four == b"HTTP"), "{answer:?}");
    assert_eq!((handshakes(&stack, "failed"), stack.count("valet_requests_total", &[])), (1, 0));
    assert!(stack.vendor().users().is_empty());
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_the_connection() {
    let authority = Authority::new();
    let setup = with_sites(&[&authority.site(&[HOST])]).limits(|limits| limits.head = Duration::from_millis(300));
    let stack = setup.start().await;
    assert_eq!(reply(&stack, &hello([3, 3])[..20]).await, b"");
    assert_eq!(handshakes(&stack, "failed"), 1);
    // Who sends nothing, or only looks whether somebody listens, has begun none.
    assert_eq!(reply(&stack, b"").await, b"");
    let mut look = TcpStream::connect(&stack.address).await.unwrap();
    look.shutdown().await.unwrap();
    Wire::over(look).assert_closed().await;
    assert_eq!(handshakes(&stack, "failed"), 1);
}

#[tokio::test]
async fn a_connection_in_its_handshake_counts_against_the_bound() {
    let authority = Authority::new();
    let stack = with_sites(&[&authority.site(&[HOST])]).limits(|limits| limits.max_connections = 1).start().await;
    let silent = TcpStream::connect(&stack.address).await.unwrap();
    crate::kit::until("the silent one", || stack.count("valet_connections", &[]) == 1).await;
    assert_eq!(reply(&stack, &hello([3, 3])).await, b"");
    assert_eq!(stack.answered("turned_away"), 1);
    drop(silent);
}
