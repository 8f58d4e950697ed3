//! Which pages may ask: preflights, who may read the JSON, who may post, who may frame.

use std::time::Duration;

use crate::kit::ask::Ask;
use crate::kit::{App, FACE_SCAN, Setup, Stack};

const SPA: &str = "https://spa.example.com";
const OWN: &str = "https://app.example.com";

async fn with_spa() -> Stack {
    Setup::new().plugin(&format!("allowed_origins = [\"{SPA}\"]")).start().await
}

#[tokio::test]
async fn a_preflight_of_an_allowed_origin_is_answered_without_a_credential() {
    let stack = with_spa().await;
    let answer = stack
        .ask("OPTIONS", FACE_SCAN)
        .field("Origin", SPA)
        .field("Access-Control-Request-Method", "POST")
        .field("Access-Control-Request-Headers", "authorization")
        .send()
        .await;
    answer
        .assert_status(204)
        .assert_field("access-control-allow-origin", SPA)
        .assert_field("access-control-allow-credentials", "true")
        .assert_field("access-control-allow-methods", "GET, POST")
        .assert_field("access-control-allow-headers", "authorization, content-type")
        .assert_field("access-control-max-age", "600")
        .assert_field("vary", "Accept, Origin")
        .assert_field("cache-control", "no-store");
    assert!(answer.field("x-request-id").is_some());
    assert_eq!(stack.vendor().calls().len(), 0);
}

#[tokio::test]
async fn options_of_anybody_else_is_a_method_that_is_not_allowed() {
    let stack = with_spa().await;
    for origin in
        ["https://evil.example", "https://spa.example.com.evil.example", "http://spa.example.com", OWN, "null"]
    {
        let answer = stack.ask("OPTIONS", FACE_SCAN).field("Origin", origin).send().await;
        answer.assert_problem(405, "method-not-allowed").assert_no_field("access-control-allow-origin");
    }
    stack.ask("OPTIONS", FACE_SCAN).send().await.assert_problem(405, "method-not-allowed");
    let plain = Stack::start().await;
    plain.ask("OPTIONS", FACE_SCAN).field("Origin", SPA).send().await.assert_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn every_answer_to_an_allowed_origin_may_be_read_by_it_refusals_too() {
    let stack = with_spa().await;
    let asks = [
        (stack.get(FACE_SCAN).as_user("ada").for_json(), 200),
        (stack.post(FACE_SCAN).as_user("ada").for_json(), 200),
        (stack.get(FACE_SCAN).as_user("ada"), 302),
        (stack.get(FACE_SCAN), 401),
        (stack.get(FACE_SCAN).bearer("nonsense"), 401),
        (stack.ask("DELETE", FACE_SCAN), 405),
        (stack.get(FACE_SCAN).as_user("ada").field("Sec-Purpose", "prefetch"), 503),
    ];
    for (ask, status) in asks {
        let answer = ask.clone().field("Origin", SPA).send().await;
        answer
            .assert_status(status)
            .assert_field("access-control-allow-origin", SPA)
            .assert_field("access-control-allow-credentials", "true");
        let foreign = ask.field("Origin", "https://evil.example").send().await;
        foreign.assert_no_field("access-control-allow-origin").assert_no_field("access-control-allow-credentials");
    }
}

#[tokio::test]
async fn the_json_is_kept_from_foreign_pages_that_cannot_read_it() {
    let stack = with_spa().await;
    let answer = stack.get(FACE_SCAN).as_user("ada").for_json().send().await;
    answer.assert_status(200).assert_field("cross-origin-resource-policy", "same-origin");
    answer.assert_no_field("access-control-allow-origin");
}

#[tokio::test]
async fn a_post_with_a_cookie_comes_from_our_own_pages_or_allowed_ones() {
    let stack = with_spa().await;
    let none: Option<&str> = None;
    for (site, origin, allowed) in [
        (Some("same-origin"), Some(OWN), true),
        (Some("same-origin"), none, true),
        (Some("none"), none, true),
        (Some("same-site"), none, false),
        (Some("same-site"), Some("https://other.example.com"), false),
        (Some("cross-site"), none, false),
        (Some("cross-site"), Some("https://evil.example"), false),
        (Some("cross-site"), Some("null"), false),
        (Some("cross-site"), Some(OWN), false),
        (Some("cross-site"), Some(SPA), true),
        (Some("same-site"), Some(SPA), true),
        (Some("nonsense"), none, false),
        (none, Some(OWN), true),
        (none, Some(SPA), true),
        (none, Some("https://evil.example"), false),
        (none, Some("http://app.example.com"), false),
        (none, Some("https://app.example.com.evil.example"), false),
        (none, Some("null"), false),
        (none, none, true),
    ] {
        let mut ask = stack.post(FACE_SCAN).as_browser_of(&format!("{site:?} {origin:?}"));
        for (name, value) in [("Sec-Fetch-Site", site), ("Origin", origin)] {
            if let Some(value) = value {
                ask = ask.field(name, value);
            }
        }
        let answer = ask.send().await;
        if allowed {
            assert_eq!(answer.status, 303, "{site:?} {origin:?}");
        } else {
            answer.assert_problem(403, "cross-site");
        }
    }
}

#[tokio::test]
async fn a_foreign_post_forgets_nothing() {
    let stack = Stack::start().await;
    let url = stack.url_of("ada").await;
    let foreign = stack.post(FACE_SCAN).as_browser_of("ada").field("Sec-Fetch-Site", "cross-site").send().await;
    foreign.assert_problem(403, "cross-site");
    assert_eq!(stack.url_of("ada").await, url);
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn a_post_with_a_token_in_a_header_may_come_from_anywhere() {
    let stack = Stack::start().await;
    let ask = stack.post(FACE_SCAN).as_user("ada").field("Sec-Fetch-Site", "cross-site");
    ask.field("Origin", "https://evil.example").send().await.assert_status(303);
}

/// How a framed `GET` with a cookie is answered.
async fn framed(stack: &Stack, dest: &str, site: &str, referer: Option<&str>) -> u16 {
    let mut ask = stack.get(FACE_SCAN).as_browser_of("ada").field("Sec-Fetch-Dest", dest).field("Sec-Fetch-Site", site);
    if let Some(referer) = referer {
        ask = ask.field("Referer", referer);
    }
    let answer = ask.send().await;
    if answer.status == 403 {
        answer.assert_problem(403, "cross-site");
    }
    answer.status
}

#[tokio::test]
async fn pages_of_the_same_site_may_frame_it_unless_the_operator_says_otherwise() {
    let default = Stack::start().await;
    let origin = Setup::new().plugin("embed = [\"same-origin\"]").start().await;
    let any = Setup::new().plugin("embed = [\"any\"]").start().await;
    let nobody = Setup::new().plugin("embed = []").start().await;
    for (site, statuses) in [
        ("same-origin", [302, 302, 302, 403]),
        ("same-site", [302, 403, 302, 403]),
        ("cross-site", [403, 403, 302, 403]),
        ("none", [302, 302, 302, 302]),
    ] {
        let mut got = [0; 4];
        for (status, stack) in got.iter_mut().zip([&default, &origin, &any, &nobody]) {
            *status = framed(stack, "iframe", site, None).await;
        }
        assert_eq!(got, statuses, "{site}");
    }
    for dest in ["frame", "embed", "object", "fencedframe", "IFRAME"] {
        assert_eq!(framed(&default, dest, "cross-site", None).await, 403, "{dest}");
    }
    assert_eq!(framed(&default, "document", "cross-site", None).await, 302);
    assert_eq!(
        framed(&any, "empty", "cross-site", None).await,
        403,
        "who may frame it may not load it as something else"
    );
}

#[tokio::test]
async fn an_origin_in_embed_may_frame_it_and_no_other_of_another_site() {
    let stack = Setup::new().plugin("embed = [\"https://clinic.example\"]").start().await;
    for (referer, status) in [
        (Some("https://clinic.example/"), 302),
        (Some("https://clinic.example/patients?x=1"), 302),
        (Some("https://clinic.example.evil.example/"), 403),
        (Some("https://evil.example/?https://clinic.example/"), 403),
        (Some("http://clinic.example/"), 403),
        (None, 403),
    ] {
        assert_eq!(framed(&stack, "iframe", "cross-site", referer).await, status, "{referer:?}");
    }
}

#[tokio::test]
async fn a_frame_whose_credential_is_no_cookie_is_not_judged() {
    let stack = Stack::start().await;
    let answer = stack.get(FACE_SCAN).as_user("ada").in_frame_of("cross-site").send().await;
    answer.assert_status(302);
}

/// A `GET` with a cookie as a browser sends it.
fn fetched<'s>(stack: &'s Stack, user: &str, fields: &[(&str, &str)]) -> Ask<'s> {
    fields.iter().fold(stack.get(FACE_SCAN).as_browser_of(user), |ask, (name, value)| ask.field(name, value))
}

#[tokio::test]
async fn a_page_elsewhere_makes_no_browser_mint_by_a_subresource() {
    let stack = with_spa().await;
    let dests = [
        "empty", "image", "script", "style", "font", "audio", "video", "track", "worker", "manifest", "report",
        "IMAGE", "new",
    ];
    for site in ["cross-site", "same-site", "nonsense"] {
        for dest in dests {
            for mode in ["no-cors", "cors", "navigate"] {
                let fields = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)];
                let answer = fetched(&stack, "ada", &fields).send().await;
                // Somebody looks at the answer to a navigation: it is the page.
                if mode == "navigate" {
                    answer.assert_status(403)
                } else {
                    answer.assert_problem(403, "cross-site")
                };
            }
        }
    }
    for fields in [
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")][..],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "document")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "empty"), ("Origin", "https://evil.example")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "image"), ("Referer", "https://spa.example.com/")],
    ] {
        fetched(&stack, "ada", fields).send().await.assert_problem(403, "cross-site");
        fetched(&stack, "ada", fields).for_json().send().await.assert_problem(403, "cross-site");
    }
    assert_eq!(stack.vendor().calls().len(), 0, "no mint begins");
    let url = stack.url_of("ada").await;
    let image = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")];
    fetched(&stack, "ada", &image).send().await.assert_problem(403, "cross-site").assert_no_field("location");
    let head = stack.ask("HEAD", FACE_SCAN).as_browser_of("ada");
    let head = image.iter().fold(head, |ask, (name, value)| ask.field(name, value)).send().await;
    head.assert_status(403).assert_no_field("location");
    assert_eq!(stack.url_of("ada").await, url);
}

#[tokio::test]
async fn a_get_with_a_cookie_from_home_from_a_listed_page_or_by_a_link_is_answered() {
    let stack = with_spa().await;
    stack.url_of("ada").await;
    for fields in [
        &[][..],
        &[("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")],
        &[("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")],
        &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")],
        &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Origin", SPA)],
        &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Origin", SPA)],
        // Browsers that send none of these fields.
        &[("Origin", "https://evil.example")],
        &[("Referer", "https://evil.example/")],
    ] {
        assert_eq!(fetched(&stack, "ada", fields).send().await.status, 302, "{fields:?}");
    }
    // A header is no browser's own doing.
    let ask =
        stack.get(FACE_SCAN).as_user("ada").field("Sec-Fetch-Site", "cross-site").field("Sec-Fetch-Dest", "empty");
    ask.send().await.assert_status(302);
}

#[tokio::test]
async fn fetch_metadata_that_stands_twice_is_no_answer_to_who_asks() {
    let stack = Stack::start().await;
    for (name, first, second) in [
        ("Sec-Fetch-Dest", "document", "image"),
        ("Sec-Fetch-Site", "same-origin", "cross-site"),
        ("Sec-Fetch-Site", "none", "none"),
        ("Sec-Fetch-Mode", "navigate", "no-cors"),
    ] {
        let answer = fetched(&stack, "ada", &[(name, first), (name, second)]).send().await;
        assert!(matches!(answer.status, 400 | 403), "{name}: {answer}");
    }
    assert_eq!(stack.vendor().calls().len(), 0);
}

/// What a browser asks before a page of this origin sends its request.
fn preflight<'s>(stack: &'s Stack, path: &str, origin: &str, method: &str, fields: &str) -> Ask<'s> {
    let ask = stack.ask("OPTIONS", path).field("Origin", origin).field("Access-Control-Request-Method", method);
    if fields.is_empty() { ask } else { ask.field("Access-Control-Request-Headers", fields) }
}

#[tokio::test]
async fn a_preflight_of_a_plug_in_allows_the_fields_for_tracing_that_it_asks_for() {
    let stack = with_spa().await;
    for (asked, allowed) in [
        ("", "authorization, content-type"),
        ("x-other", "authorization, content-type"),
        ("authorization,traceparent", "authorization, content-type, traceparent"),
        ("Baggage, Sentry-Trace", "authorization, content-type, baggage, sentry-trace"),
        (
            "sentry-trace,baggage,tracestate,traceparent,x-evil",
            "authorization, content-type, traceparent, tracestate, baggage, sentry-trace",
        ),
    ] {
        let answer = preflight(&stack, FACE_SCAN, SPA, "GET", asked).send().await;
        answer.assert_status(204).assert_field("access-control-allow-headers", allowed);
        answer.assert_field("access-control-allow-methods", "GET, POST").assert_field("access-control-max-age", "600");
    }
}

/// An app at `/` of each need for a session, for pages of [`SPA`].
async fn app_for_spa(need: &str) -> (App, Stack) {
    let app = App::start().await;
    let lines =
        format!("session = \"{need}\"\nallowed_origins = [\"{SPA}\"]\nread_timeout = \"200ms\"\nmax_body = \"1KiB\"");
    let stack = Stack::before(&app, &lines).await;
    (app, stack)
}

#[tokio::test]
async fn a_preflight_of_an_allowed_origin_to_an_app_is_answered_with_what_it_asks_for() {
    for need in ["required", "optional", "none"] {
        let (app, stack) = app_for_spa(need).await;
        for (method, asked, allowed) in [
            ("PUT", "authorization,x-custom", Some("authorization, x-custom")),
            ("DELETE", "X-One,  X-Two ,", Some("X-One, X-Two")),
            ("GET", "", None),
        ] {
            let answer = preflight(&stack, "/orders", SPA, method, asked).send().await;
            answer
                .assert_status(204)
                .assert_field("access-control-allow-origin", SPA)
                .assert_field("access-control-allow-credentials", "true")
                .assert_field("access-control-allow-methods", method)
                .assert_field("access-control-max-age", "600")
                .assert_field("vary", "Accept, Origin");
            assert_eq!(answer.field("access-control-allow-headers"), allowed);
        }
        assert_eq!(app.connections(), 0);
        assert_eq!(stack.answered("preflight"), 3);
    }
}

#[tokio::test]
async fn what_is_no_preflight_of_an_allowed_origin_goes_on_as_before() {
    let (app, stack) = app_for_spa("required").await;
    for ask in [
        preflight(&stack, "/", "https://evil.example", "PUT", "x-custom"),
        preflight(&stack, "/", "null", "PUT", ""),
        preflight(&stack, "/", SPA, "PUT", "x-custom").field("Origin", SPA),
        preflight(&stack, "/", SPA, "P T", ""),
        preflight(&stack, "/", SPA, "PUT", "x custom"),
        stack.ask("OPTIONS", "/").field("Origin", SPA),
    ] {
        ask.send().await.assert_problem(401, "session-required").assert_no_field("access-control-allow-methods");
    }
    assert_eq!(app.connections(), 0);
    stack.ask("OPTIONS", "/x").field("Origin", SPA).as_user("ada").send().await.assert_status(200);
    assert_eq!(app.last().line(), "OPTIONS /x");
}

#[tokio::test]
async fn a_refusal_to_an_allowed_page_may_be_read_by_it_and_the_apps_answers_are_its_own() {
    let (app, stack) = app_for_spa("required").await;
    for (ask, status) in [
        (stack.get("/"), 401),
        (stack.get("/").bearer("nonsense"), 401),
        (stack.get("/a%2fb").as_user("ada"), 400),
        (stack.ask("TRACE", "/").as_user("ada"), 405),
        (stack.ask("PUT", "/").as_user("ada").body("x".repeat(1025)), 413),
        (stack.get("/gone").as_user("ada"), 502),
        (stack.get("/hang").as_user("ada"), 504),
        (stack.post("/gone").as_user("ada").body("x"), 502),
        (stack.post("/hang").as_user("ada").body("x"), 504),
    ] {
        let answer = ask.clone().field("Origin", SPA).for_json().send().await;
        answer.assert_status(status).assert_field("access-control-allow-origin", SPA);
        answer.assert_field("access-control-allow-credentials", "true");
        let foreign = ask.field("Origin", "https://evil.example").send().await;
        foreign.assert_status(status).assert_no_field("access-control-allow-origin");
    }
    let own = stack.get("/").as_user("ada").field("Origin", SPA).send().await;
    own.assert_status(200).assert_no_field("access-control-allow-origin");
    assert_eq!(app.last().field("origin"), Some(SPA));
}

#[tokio::test]
async fn a_429_to_an_allowed_page_may_be_read_by_it_whichever_limit_it_is() {
    for limits in ["per_address = { rate = 1, burst = 1 }", "per_subject = { rate = 1, burst = 1 }"] {
        let app = App::start().await;
        let limits = format!("[limits]\n{limits}");
        let setup = Setup::new().plugin(&format!("allowed_origins = [\"{SPA}\"]")).tables(&limits);
        let stack = setup.app(&app, &format!("allowed_origins = [\"{SPA}\"]")).start().await;
        stack.until_ready().await;
        for path in ["/x", FACE_SCAN] {
            let ask = |origin: &str| stack.get(path).as_user("ada").for_json().field("Origin", origin);
            stack.advance(Duration::from_secs(1));
            ask(SPA).send().await.assert_status(200);
            let refused = ask(SPA).send().await;
            refused.assert_problem(429, "too-many-requests").assert_field("access-control-allow-origin", SPA);
            let foreign = ask("https://evil.example").send().await;
            foreign.assert_status(429).assert_no_field("access-control-allow-origin");
        }
    }
}
