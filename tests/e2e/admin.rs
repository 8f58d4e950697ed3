//! The administration address, the metrics and the access lines.

use std::time::Duration;

use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::{IdpFaults, TokenRequest};
use valet_gateway::demo::provider::{Faults, UrlFault};

use crate::kit::stack::sum;
use crate::kit::{App, FACE_SCAN, Setup, Stack};

#[tokio::test]
async fn it_is_alive_at_once_and_ready_when_each_issuer_has_had_keys() {
    let stack = Setup::new().idp_faults(IdpFaults::failing(Fail::Hang)).start().await;
    stack.admin_get("/livez").await.assert_status(200);
    stack.admin_get("/readyz").await.assert_status(503);
    assert_eq!(sum(&stack.admin_get("/metrics").await.text(), "valet_ready", &[]), 0);
    stack.idp().set_faults(IdpFaults::default());
    stack.url_of("ada").await;
    let ready = stack.admin_get("/readyz").await;
    assert_eq!(ready.assert_status(200).json()["degraded"], serde_json::json!([]));
    assert_eq!(sum(&stack.admin_get("/metrics").await.text(), "valet_ready", &[]), 1);
    stack.admin_get("/livez").await.assert_status(200);
}

#[tokio::test]
async fn after_half_a_minute_one_issuer_with_keys_is_enough() {
    let stack = Setup::new().issuers(&["a|{sub}", "b|{sub}"]).start().await;
    // Both have keys by now, or not; a third that never has any is what counts.
    stack.get(FACE_SCAN).bearer(stack.token_of(0, "ada")).send().await.assert_status(302);
    stack.get(FACE_SCAN).bearer(stack.token_of(1, "ada")).send().await.assert_status(302);
    stack.admin_get("/readyz").await.assert_status(200);

    let dead = "[[session.issuer]]\nissuer = \"http://127.0.0.1:9\"\naudiences = [\"my-app\"]\nalgorithms = [\"ES256\"]\n\
                keys = { discovery = true }\nexternal_id = \"dead|{sub}\"";
    let stack = Setup::new().issuers(&["a|{sub}"]).tables(dead).start().await;
    stack.url_of("ada").await;
    stack.admin_get("/readyz").await.assert_status(503);
    stack.advance(Duration::from_millis(29_999));
    stack.admin_get("/readyz").await.assert_status(503);
    stack.advance(Duration::from_millis(1));
    let ready = stack.admin_get("/readyz").await;
    assert_eq!(ready.assert_status(200).json()["degraded"], serde_json::json!(["keys:http://127.0.0.1:9"]));
}

#[tokio::test]
async fn what_is_in_trouble_is_named_while_it_is() {
    let breaker = "breaker = { failures = 1, within = \"10s\", pause = \"5s\" }";
    let stack = Setup::new().provider(breaker).start().await;
    stack.url_of("held").await;
    let degraded = async || stack.admin_get("/readyz").await.assert_status(200).json()["degraded"].clone();
    assert_eq!(degraded().await, serde_json::json!([]));
    stack.vendor_does(Faults::status(500));
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(502);
    assert_eq!(degraded().await, serde_json::json!(["provider:intelliprove"]));
    assert_eq!(stack.count("valet_degraded", &[("what", "provider:intelliprove")]), 1);
    stack.vendor_does(Faults::default());
    stack.advance(Duration::from_secs(5));
    stack.url_of("bob").await;
    assert_eq!(degraded().await, serde_json::json!([]));
    assert_eq!(stack.count("valet_degraded", &[]), 0);
}

#[tokio::test]
async fn the_public_address_has_nothing_of_it_and_it_has_nothing_of_the_public_one() {
    let stack = Stack::start().await;
    for path in ["/", "/livez", "/readyz", "/metrics", "/api/leases"] {
        stack.get(path).as_user("ada").send().await.assert_problem(404, "not-found");
    }
    for path in [FACE_SCAN, "/api/leases", "/api/mints", "/page.html"] {
        stack.admin_get(path).await.assert_status(404);
    }
}

#[tokio::test]
async fn each_request_is_timed_by_route_and_outcome_and_each_answer_of_an_app() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    stack.url_of("ada").await;
    stack.url_of("ada").await;
    stack.get(FACE_SCAN).send().await.assert_status(401);
    stack.get("/page").send().await.assert_status(200);
    stack.post("/form").body("a=b").send().await.assert_status(200);
    stack.get("/half").send().await;
    stack.get(FACE_SCAN).field("Content-Length", "x").send().await.assert_status(400);
    stack.lines.text(7).await;
    let timed = |route: &str, outcome: &str| {
        let labels = [("route", route), ("outcome", outcome)];
        let count = stack.count("valet_request_duration_seconds_count", &labels);
        // A bucket of more than any of them takes has them all.
        let buckets = [labels[0], labels[1], ("le", "10")];
        assert_eq!(count, stack.count("valet_request_duration_seconds_bucket", &buckets), "{route} {outcome}");
        count
    };
    assert_eq!(timed("face-scan", "redirect"), 2);
    assert_eq!(timed("face-scan", "unauthenticated"), 1);
    assert_eq!(timed("portal", "forwarded"), 2);
    assert_eq!(timed("portal", "app_error"), 1);
    assert_eq!(timed("none", "malformed"), 0);
    assert_eq!(stack.count("valet_upstream_response_seconds_count", &[("app", "portal")]), 3);
}

#[tokio::test]
async fn who_asks_for_open_metrics_gets_it() {
    let stack = Stack::start().await;
    stack.url_of("ada").await;
    let mut wire = crate::kit::wire::Wire::open(&stack.admin).await;
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    wire.write(format!("GET /metrics HTTP/1.1\r\nHost: admin\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")).await;
    let answer = wire.answer().await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = answer.assert_status(200).assert_field("content-type", kind).text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert!(text.contains("\n# TYPE valet_requests counter\n"), "{text}");
    assert!(text.contains("\nvalet_requests_total{outcome=\"redirect\",route=\"face-scan\"} 1\n"), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

#[tokio::test]
async fn the_operators_page_needs_no_token_and_nothing_from_elsewhere() {
    let stack = Stack::start().await;
    let page = stack.admin_get("/").await;
    page.assert_status(200).assert_field("content-type", "text/html; charset=utf-8");
    let policy = page.field("content-security-policy").expect("a policy").to_owned();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert!(!policy.contains("//") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let text = page.text();
    for address in text.split("href=\"").skip(1).chain(text.split("src=\"").skip(1)) {
        let address = address.split('"').next().unwrap_or_default();
        assert!(!address.contains("//"), "{address}");
        if !address.starts_with('#') && address != "/readyz" {
            stack.admin_get(address).await.assert_status(200);
        }
    }
    for file in ["/page.css", "/page.js", "/page.svg"] {
        let file = stack.admin_get(file).await;
        file.assert_status(200).assert_field("x-content-type-options", "nosniff");
        assert!(!file.text().contains("https://"), "{file}");
    }
}

#[tokio::test]
async fn every_metric_of_the_contract_is_there_and_counts_what_happened() {
    let stack = Setup::new().plugin("reuse = \"session\"").start().await;
    let idp = stack.idp();
    let issuer = idp.issuer();
    let expired = idp.token(&TokenRequest::user("ada").expires_in(-3600));
    for ask in [
        stack.get(FACE_SCAN).as_user("ada"),
        stack.get(FACE_SCAN).as_user("ada"),
        stack.get(FACE_SCAN).as_browser_of("ada").for_json(),
        stack.post(FACE_SCAN).as_user("ada"),
        stack.get(FACE_SCAN),
        stack.get(FACE_SCAN).bearer(&expired),
        stack.get(FACE_SCAN).bearer("nonsense"),
        stack.get("/nothing"),
        stack.post(FACE_SCAN).as_browser_of("ada").field("Sec-Fetch-Site", "cross-site"),
        stack.get(FACE_SCAN).field("Content-Length", "x"),
    ] {
        ask.send().await;
    }
    for (user, faults) in [
        ("short", Faults::url(UrlFault::Short)),
        ("refused", Faults::status(400)),
        ("unreachable", Faults::status(500)),
        ("nonsense", Faults::url(UrlFault::Expired)),
        ("foreign", Faults::url(UrlFault::WrongHost)),
        ("busy", Faults::status(429)),
    ] {
        stack.vendor_does(faults);
        stack.get(FACE_SCAN).as_user(user).send().await;
    }
    let answer = stack.admin_get("/metrics").await;
    answer.assert_status(200).assert_field("content-type", "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    let count = |name: &str, labels: &[(&str, &str)]| sum(&text, name, labels);
    assert_eq!(count("valet_build_info", &[("version", "0.0.0"), ("revision", "test")]), 1);
    for (route, outcome, expected) in [
        ("face-scan", "redirect", 4),
        ("face-scan", "json", 1),
        ("face-scan", "unauthenticated", 3),
        ("face-scan", "forbidden", 1),
        ("none", "not_found", 1),
        ("none", "malformed", 1),
    ] {
        let counted = count("valet_requests_total", &[("route", route), ("outcome", outcome)]);
        assert_eq!(counted, expected, "{route} {outcome} in:\n{text}");
    }
    assert_eq!(count("valet_requests_total", &[]), 16, "{text}");
    for (issuer, outcome, expected) in [
        (issuer.as_str(), "valid", 7),
        (issuer.as_str(), "cached", 4),
        (issuer.as_str(), "expired", 1),
        ("unknown", "invalid", 1),
        ("unknown", "absent", 1),
    ] {
        let counted = count("valet_session_checks_total", &[("issuer", issuer), ("outcome", outcome)]);
        assert_eq!(counted, expected, "{issuer} {outcome} in:\n{text}");
    }
    for (source, expected) in [("hit", 2), ("minted", 3), ("joined", 0), ("ahead", 0)] {
        let counted = count("valet_leases_total", &[("plugin", "face-scan"), ("source", source)]);
        assert_eq!(counted, expected, "{source} in:\n{text}");
    }
    assert_eq!(count("valet_leases_held", &[]), 1);
    assert_eq!(count("valet_leases_evicted_total", &[]), 0);
    for (outcome, expected) in [
        ("ok", 2),
        ("short", 1),
        ("refused", 1),
        ("unreachable", 1),
        ("nonsense", 1),
        ("forbidden_host", 1),
        ("busy", 1),
        ("timeout", 0),
    ] {
        let counted = count("valet_mints_total", &[("provider", "intelliprove"), ("outcome", outcome)]);
        assert_eq!(counted, expected, "{outcome} in:\n{text}");
    }
    assert_eq!(count("valet_mint_duration_seconds_count", &[]), 8);
    assert_eq!(count("valet_redirect_remaining_seconds_count", &[]), 5);
    assert_eq!(count("valet_jwks_fetches_total", &[("issuer", &issuer), ("outcome", "ok")]), 1);
    assert!(text.contains("valet_degraded{what=\"provider:intelliprove\"} 0"), "{text}");
    assert!(text.contains("valet_leases_evicted_total 0"), "{text}");
}

#[tokio::test]
async fn each_request_has_one_access_line_with_the_fields_of_the_contract() {
    let stack = Stack::start().await;
    let first = stack.get(&format!("{FACE_SCAN}?secret=query")).as_user("ada").send().await;
    let second = stack.get(FACE_SCAN).as_user("ada").send().await;
    let third = stack.get("/nothing").send().await;
    let fourth = stack.post(FACE_SCAN).as_user("bob").send().await;
    let lines = stack.lines.all(4).await;
    assert_eq!(lines.len(), 4);
    for (line, (answer, method, path, outcome)) in lines.iter().zip([
        (&first, "GET", FACE_SCAN, "redirect"),
        (&second, "GET", FACE_SCAN, "redirect"),
        (&third, "GET", "/nothing", "not_found"),
        (&fourth, "POST", FACE_SCAN, "redirect"),
    ]) {
        let mut members: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        let expected = "duration_us method outcome path peer remaining_s request_id route session_check source status subject time trace_id";
        assert_eq!(members.join(" "), expected);
        assert_eq!(line["request_id"], answer.field("x-request-id").unwrap());
        assert_eq!((&line["method"], &line["path"], &line["outcome"]), (&method.into(), &path.into(), &outcome.into()));
        assert_eq!(line["status"], answer.status);
        assert_eq!(line["peer"], "127.0.0.1");
        assert_eq!(line["time"], "2027-01-15T08:00:00.000Z");
        assert!(line["duration_us"].is_u64());
    }
    let source = |n: usize| lines[n]["source"].as_str();
    assert_eq!([source(0), source(1), source(2), source(3)], [Some("minted"), Some("hit"), None, Some("minted")]);
    let check = |n: usize| lines[n]["session_check"].as_str();
    assert_eq!([check(0), check(1), check(2), check(3)], [Some("valid"), Some("cached"), None, Some("valid")]);
    let six_hours = Some(6 * 3600);
    let remaining = |n: usize| lines[n]["remaining_s"].as_u64();
    assert_eq!([remaining(0), remaining(1), remaining(2), remaining(3)], [six_hours, six_hours, None, six_hours]);
    assert_eq!((&lines[0]["route"], &lines[2]["route"]), (&"face-scan".into(), &serde_json::Value::Null));
    let subject = |n: usize| lines[n]["subject"].as_str();
    assert_eq!(subject(0), subject(1));
    assert!(subject(0) != subject(3) && subject(0).is_some() && subject(2).is_none());
}

#[tokio::test]
async fn the_same_subject_of_two_issuers_has_two_hashes() {
    let key = "[log]\nsubject_key = { file = \"key-0\" }";
    let setup = Setup::new().issuers(&["a|{sub}", "b|{sub}"]).tables(key);
    let setup = setup.vendor(|vendor| vendor.api_keys = vec!["a-key-of-at-least-thirty-two-bytes".to_owned()]);
    let stack = setup.start().await;
    for idp in [0, 1, 0] {
        stack.get(FACE_SCAN).bearer(stack.token_of(idp, "ada")).send().await.assert_status(302);
    }
    let lines = stack.lines.all(3).await;
    assert_ne!(lines[0]["subject"], lines[1]["subject"]);
    assert_eq!(lines[0]["subject"], lines[2]["subject"]);
}

#[tokio::test]
async fn every_refusal_of_a_route_is_counted_from_zero_on() {
    let app = App::start().await;
    let stack = Stack::before(&app, "").await;
    let text = stack.admin_get("/metrics").await.text().to_owned();
    for (route, outcome) in [
        ("face-scan", "unauthenticated"),
        ("face-scan", "provider_error"),
        ("face-scan", "redirect"),
        ("portal", "app_error"),
        ("portal", "overloaded"),
        ("portal", "session_ended"),
        ("portal", "preflight"),
        ("none", "not_found"),
        ("none", "limited"),
        ("none", "method_not_allowed"),
    ] {
        let line = format!("valet_requests_total{{outcome=\"{outcome}\",route=\"{route}\"}} 0");
        assert!(text.lines().any(|shown| shown == line), "no {line} in:\n{text}");
    }
    assert!(!text.contains("outcome=\"app_error\",route=\"face-scan\""), "a plug-in has no app");
}
