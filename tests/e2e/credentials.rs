//! What of a credential goes on to an app: nothing, on any way to it, however it is spelled; unless the app is to have it.

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::ask::{Ask, basic};
use crate::kit::{App, FACE_SCAN, Setup, Stack};

/// One upstream behind three apps that need a session, take one, and ask for none; and behind one that signs people in.
async fn stack(session: &str) -> (App, Stack) {
    let app = App::start().await;
    let setup = ["required", "optional", "none"].iter().fold(Setup::new().session(session), |setup, need| {
        setup.app(&app, &format!("name = \"{need}\"\npath = \"/{need}\"\nsession = \"{need}\""))
    });
    let sign_in = "name = \"sign-in\"\npath = \"/login\"\nsession = \"none\"\npass_credential = true";
    let stack = setup.app(&app, sign_in).start().await;
    stack.until_ready().await;
    (app, stack)
}

/// Sends it without a body, with one, and as one that asks for a WebSocket.
async fn each_way(ask: Ask<'_>) {
    ask.clone().send().await.assert_status(200);
    ask.clone().body("a body").send().await.assert_status(200);
    ask.field("Connection", "Upgrade").field("Upgrade", "websocket").send().await.assert_status(200);
}

#[tokio::test]
async fn no_spelling_of_a_credential_reaches_an_app_whatever_it_asks_for() {
    let (app, stack) =
        stack("sources = [\"header:authorization\", \"cookie:session\", \"header:x-session-token\"]").await;
    let token = stack.token("ada");
    let fields = [
        ("Authorization_", format!("Bearer {token}")),
        ("authorization.", format!("bearer {token}")),
        ("_Authorization", format!("Bearer\t{token}")),
        ("Proxy-Authorization", format!("Bearer {token}")),
        ("Proxy_Authorization", format!("Bearer {token}")),
        ("X_Session_Token", token.clone()),
        ("X-Session.Token", token.clone()),
        ("XSessionToken", token.clone()),
        ("Cookie", format!("a=1; session ={token}; b=2")),
        ("Cookie", format!("session\t={token}")),
        ("Cookie", format!(" session\t = {token};c=3")),
        ("Cookie_", format!("session={token}")),
    ];
    for path in ["/required", "/optional", "/none"] {
        for (name, value) in &fields {
            each_way(stack.get(path).as_user("ada").field(name, value)).await;
        }
        each_way(stack.get(path).field("X-Session-Token", &token).field("Cookie", format!("a=1; session={token}")))
            .await;
    }
    for path in ["/optional", "/none"] {
        for value in [format!("Bearer\t{token}"), format!("Bearer \t {token}"), format!("Bearer,{token}")] {
            each_way(stack.get(path).field("Authorization", &value)).await;
        }
    }
    for seen in app.seen() {
        assert!(!seen.head.contains(&token), "{}", seen.head);
        assert!(seen.all("cookie").iter().all(|left| ["a=1", "a=1; b=2", "c=3"].contains(left)), "{}", seen.head);
    }
    assert_eq!(app.seen().len(), 3 * (3 * (fields.len() + 1) + 2 * 3));
}

#[tokio::test]
async fn an_app_that_asks_for_no_session_gets_the_rest_byte_for_byte() {
    let (app, stack) = stack("").await;
    let token = stack.token("ada");
    each_way(stack.get("/none").field("Cookie", format!("a=\"x y\" ;session={token};  b = 2;;")).bearer("a.b.c")).await;
    for seen in app.seen() {
        assert_eq!((seen.field("cookie"), seen.field("authorization")), (Some("a=\"x y\" ;  b = 2;;"), None));
    }
    each_way(stack.get("/none").field("Authorization", basic("a", "b"))).await;
    assert_eq!(app.last().field("authorization"), Some(&*basic("a", "b")));
    // Whatever it is worth: nobody looks.
    let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
    each_way(stack.get("/none").cookie(&expired).bearer(&token).bearer("nonsense")).await;
    assert_eq!((app.last().field("cookie"), app.last().field("authorization")), (None, None));
}

#[tokio::test]
async fn the_app_that_signs_people_in_may_ask_to_see_its_own_cookie() {
    let (app, stack) = stack("").await;
    let cookie = format!("a=1; session={}", stack.token("ada"));
    each_way(stack.get("/login").field("Cookie", &cookie).bearer("a.b.c")).await;
    for seen in app.seen() {
        assert_eq!((seen.field("cookie"), seen.field("authorization")), (Some(&*cookie), Some("Bearer a.b.c")));
        assert_eq!(seen.field("x-auth-subject"), None);
    }
}

#[tokio::test]
async fn pass_credential_wins_for_a_source_that_is_named_like_a_field_of_a_proxy() {
    const SOURCE: &str = "x-auth-request-access-token";
    let (app, stack) = stack(&format!("sources = [\"header:{SOURCE}\"]")).await;
    let token = stack.token("ada");
    let spoofed = [("X_Auth_Request_Access_Token", "a"), ("X-Auth-Request-Email", "b"), ("X-Auth-Subject", "c")];
    for (path, passed) in [("/login", Some(&*token)), ("/none", None), ("/required", None)] {
        let ask = stack.get(path).field("X-Auth-Request-Access-Token", &token);
        each_way(spoofed.iter().fold(ask, |ask, (name, value)| ask.field(name, value))).await;
        for seen in app.seen().iter().rev().take(3) {
            assert_eq!(seen.field(SOURCE), passed, "{path}");
            for (name, value) in spoofed {
                assert!(!seen.all(name).contains(&value), "{name} at {path}");
            }
        }
    }
}

/// A token in a cookie for each of these parts of it.
fn in_pieces(token: &str, sign: char, count: usize) -> String {
    let size = token.len().div_ceil(count);
    let pieces = token.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).expect("ASCII")).enumerate();
    pieces.map(|(n, piece)| format!("session{sign}{n}={piece}")).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_token_in_cookies_in_pieces_opens_a_session_and_no_piece_reaches_an_app() {
    let (app, stack) = stack("max_token_bytes = 12000").await;
    let token = stack.idp().token(&TokenRequest::user("ada").claim("groups", "a-group-of-many ".repeat(500)));
    assert!((10_000..12_000).contains(&token.len()), "{}", token.len());
    for cookies in [in_pieces(&token, '.', 3), in_pieces(&token, '_', 3), in_pieces(&token, '.', 16)] {
        stack.get(FACE_SCAN).field("Cookie", &cookies).send().await.assert_status(302);
        for path in ["/required", "/optional", "/none"] {
            // What is left of a longer value is a gap where pieces are joined, and is cut out where nothing is read.
            let stray = if path == "/none" { "; session.40=left" } else { "" };
            each_way(stack.get(path).field("Cookie", format!("a=1; {cookies}{stray}; b=2"))).await;
            let subject = (path != "/none").then_some("ada");
            assert_eq!((app.last().field("cookie"), app.last().field("x-auth-subject")), (Some("a=1; b=2"), subject));
        }
    }
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn pieces_that_do_not_come_to_one_token_open_nothing() {
    let (app, stack) = stack("").await;
    let token = stack.token("ada");
    let (dots, lines) = (in_pieces(&token, '.', 2), in_pieces(&token, '_', 2));
    for cookies in [
        format!("{dots}; {lines}"),
        format!("{dots}; session={token}"),
        format!("session={}; {lines}", stack.token("bob")),
        format!("{dots}; session.1=other"),
    ] {
        for path in [FACE_SCAN, "/required", "/optional"] {
            stack.get(path).field("Cookie", &cookies).send().await.assert_problem(400, "bad-request");
        }
    }
    let three = in_pieces(&token, '.', 3);
    let gap =
        three.split("; ").enumerate().filter(|(n, _)| *n != 1).map(|(_, piece)| piece).collect::<Vec<_>>().join("; ");
    for (cookies, slug) in [
        (gap.as_str(), "session-invalid"),
        (&in_pieces(&token, '.', 17), "session-invalid"),
        (three.split("; ").next().unwrap(), "session-invalid"),
        (three.split_once("; ").unwrap().1, "session-required"),
    ] {
        for path in [FACE_SCAN, "/required"] {
            stack.get(path).field("Cookie", cookies).send().await.assert_problem(401, slug);
        }
    }
    assert_eq!(app.connections(), 0);
    assert_eq!(stack.vendor().calls().len(), 0);
}

#[tokio::test]
async fn max_token_bytes_bounds_all_pieces_together() {
    let stack = Stack::start().await;
    let token = stack.idp().token(&TokenRequest::user("ada").claim("groups", "a-group-of-many ".repeat(450)));
    assert!(token.len() > 8192);
    let ask = stack.get(FACE_SCAN).field("Cookie", in_pieces(&token, '.', 4));
    ask.send().await.assert_problem(401, "session-invalid");
}
