//! Spans and metrics at an OpenTelemetry collector.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::Faults;

use crate::kit::collector::{Collector, attribute};
use crate::kit::{App, FACE_SCAN, Setup, Stack, until};

const REQUEST: &str = "GET /plugins/face-scan";
const MINT: &str = "mint face-scan";

async fn stack(collector: &Collector, sample: f64) -> Stack {
    let stack = Setup::new().tables(&collector.table(sample)).start().await;
    stack.until_ready().await;
    stack
}

fn is_below(span: &Span, parent: &Span) -> bool {
    span.trace_id == parent.trace_id && span.parent_span_id == parent.span_id
}

#[tokio::test]
async fn a_request_that_begins_a_mint_its_mint_and_the_calls_are_one_trace() {
    let collector = Collector::start().await;
    let stack = stack(&collector, 0.0).await;
    let answer = stack.get(FACE_SCAN).as_user("ada").send().await;
    let request = collector.until_spans(REQUEST, 1).await.remove(0);
    let mint = collector.until_spans(MINT, 1).await.remove(0);
    assert_eq!(request.kind, SpanKind::Server as i32);
    assert!(request.parent_span_id.is_empty());
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "302"),
        ("http.route", FACE_SCAN),
        ("valet.route", "face-scan"),
        ("valet.outcome", "redirect"),
        ("valet.source", "minted"),
        ("valet.session_check", "valid"),
        ("valet.request_id", answer.field("x-request-id").unwrap()),
    ] {
        assert_eq!(attribute(&request, key).as_deref(), Some(value), "{key}");
    }
    assert!(is_below(&mint, &request) && mint.kind == SpanKind::Internal as i32);
    assert_eq!(attribute(&mint, "valet.reason").as_deref(), Some("miss"));
    assert_eq!(attribute(&mint, "valet.outcome").as_deref(), Some("ok"));
    let calls: Vec<Span> = collector.spans().into_iter().filter(|span| is_below(span, &mint)).collect();
    assert!(!calls.is_empty());
    for call in &calls {
        assert_eq!(call.kind, SpanKind::Client as i32);
        let host = stack.vendor_url();
        assert_eq!(attribute(call, "server.address").as_deref(), host.strip_prefix("http://"));
        assert!(matches!(attribute(call, "http.response.status_code").as_deref(), Some("200" | "201")));
    }
    collector.until_spans("GET key set", 1).await;
}

#[tokio::test]
async fn of_other_requests_a_share_is_recorded_and_each_refusal() {
    let collector = Collector::start().await;
    let stack = stack(&collector, 0.0).await;
    stack.url_of("ada").await;
    for _ in 0..10 {
        stack.url_of("ada").await;
    }
    stack.get(FACE_SCAN).send().await.assert_status(401);
    stack.get("/nothing").send().await.assert_status(404);
    let of_nothing = |span: &Span| attribute(span, "valet.outcome").as_deref() == Some("not_found");
    until("the refusal of no route", || collector.spans().iter().any(of_nothing)).await;
    let requests = collector.until_spans(REQUEST, 2).await;
    let outcomes: Vec<_> = requests.iter().map(|span| attribute(span, "valet.outcome").unwrap()).collect();
    assert_eq!(outcomes, ["redirect", "unauthenticated"]);

    let collector = Collector::start().await;
    let stack = Setup::new().tables(&collector.table(1.0)).start().await;
    for _ in 0..3 {
        stack.url_of("ada").await;
    }
    assert_eq!(collector.until_spans(REQUEST, 3).await.len(), 3);
}

#[tokio::test]
async fn a_sampled_callers_requests_are_recorded_below_it_and_so_is_the_call_of_an_app() {
    let collector = Collector::start().await;
    let app = App::start().await;
    let setup =
        Setup::new().server("trusted_proxies = [\"127.0.0.1\"]").app(&app, "path = \"/app\"\nsession = \"none\"");
    let stack = setup.tables(&collector.table(0.0)).start().await;
    stack.until_ready().await;
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";
    for (flag, method) in [("1", "GET"), ("0", "GET"), ("1", "POST")] {
        let ask = stack.ask(method, "/app/page?secret=1").field("traceparent", format!("{caller}{flag}"));
        ask.send().await.assert_status(200);
        let told = app.last().field("traceparent").unwrap().to_owned();
        assert!(told.ends_with(&format!("-0{flag}")), "{told}");
    }
    for method in ["GET", "POST"] {
        let request = collector.until_spans(&format!("{method} /app"), 1).await;
        assert_eq!(request.len(), 1);
        assert_eq!(request[0].parent_span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        let calls = collector.until_spans(method, 1).await;
        let call = calls.iter().find(|call| is_below(call, &request[0])).expect("the call of the app");
        assert_eq!(attribute(call, "server.address"), Some(app.address.clone()));
    }
    // What the app was told is the span of that call.
    let told = app.last().field("traceparent").unwrap().to_owned();
    let calls = collector.until_spans("POST", 1).await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(calls.iter().any(|call| told.contains(&hex(&call.span_id))), "{told}");
}

#[tokio::test]
async fn a_request_that_joined_a_mint_has_a_link_to_it() {
    let collector = Collector::start().await;
    let stack = stack(&collector, 1.0).await;
    stack.vendor_does(Faults::failing(Fail::Hang));
    let (one, other) = (stack.get(FACE_SCAN).as_user("ada"), stack.get(FACE_SCAN).as_user("ada"));
    let let_go = async {
        stack.until_sessions(2).await;
        stack.vendor_does(Faults::default());
    };
    let (one, other, ()) = tokio::join!(one.send(), other.send(), let_go);
    assert_eq!(one.location(), other.location());
    let mint = collector.until_spans(MINT, 1).await.remove(0);
    let requests = collector.until_spans(REQUEST, 2).await;
    let joined = requests.iter().find(|span| attribute(span, "valet.source").as_deref() == Some("joined"));
    let link = &joined.expect("one joined").links[0];
    assert_eq!((&link.trace_id, &link.span_id), (&mint.trace_id, &mint.span_id));
    assert_eq!(requests.iter().filter(|span| is_below(&mint, span)).count(), 1);
}

#[tokio::test]
async fn no_secret_and_no_person_gets_to_the_collector() {
    const SUBJECT: &str = "canary-person-7q4x!w2k9z@example.com";
    let collector = Collector::start().await;
    let app = App::start().await;
    let setup = Setup::new().keys_in_file(&["canary-api-key-0123456789"]).app(&app, "path = \"/app\"");
    let setup = setup.vendor(|vendor| vendor.api_keys = vec!["canary-api-key-0123456789".to_owned()]);
    let stack = setup.tables(&collector.table(1.0)).start().await;
    stack.until_ready().await;
    let token = stack.idp().token(&TokenRequest::user(SUBJECT));
    let url = stack.get(FACE_SCAN).bearer(&token).send().await.location().to_owned();
    for ask in [
        stack.get(&format!("{FACE_SCAN}?canary-query=1")).bearer(&token),
        stack.post(FACE_SCAN).bearer(&token),
        stack.get("/app/canary-path?canary-query=1").bearer(&token),
        stack.get("/canary-path").bearer(&token),
        stack.get(FACE_SCAN).bearer("canary-garbage"),
        stack.get(FACE_SCAN).bearer(&token).field("Content-Length", "canary"),
        stack.ask("CANARY", FACE_SCAN).bearer(&token),
    ] {
        ask.send().await;
    }
    stack.vendor_does(Faults::status(500));
    stack.post(FACE_SCAN).bearer(&token).send().await.assert_status(502);
    collector.until_spans("mint face-scan", 3).await;
    collector.until_spans("GET /app", 1).await;
    collector.until_spans("POST /plugins/face-scan", 2).await;
    let hash = stack.lines.all(9).await[0]["subject"].as_str().unwrap().to_owned();
    let raw = String::from_utf8_lossy(&collector.raw()).into_owned();
    let parts = token.split('.').skip(1).chain(url.split('?').skip(1)).map(str::to_owned);
    for secret in parts.chain(["canary".to_owned(), "CANARY".to_owned(), "action_token".to_owned(), hash]) {
        assert!(!raw.contains(&secret), "{secret} at the collector:\n{raw}");
    }
}

#[tokio::test]
async fn a_hung_collector_holds_nothing_up_and_what_it_does_not_take_is_counted() {
    let collector = Collector::start().await;
    collector.hang();
    let mut stack = stack(&collector, 1.0).await;
    stack.url_of("ada").await;
    until("a batch at the collector", || collector.calls() > 0).await;
    let mut wire = stack.wire().await;
    let ask = stack.get(FACE_SCAN).as_user("ada").bytes();
    for _ in 0..6_000 {
        wire.write(&ask).await;
        wire.answer().await.assert_status(302);
    }
    let spans = |outcome| stack.count("valet_spans_total", &[("outcome", outcome)]);
    assert!(spans("dropped") > 800, "{}", spans("dropped"));
    assert_eq!(spans("sent"), 0);
    // Nor does it hold up a stop for long.
    let began = std::time::Instant::now();
    stack.take_gateway().stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_last_spans_and_the_metrics_by_their_names_are_sent_as_it_stops() {
    let collector = Collector::start().await;
    let mut stack = stack(&collector, 0.0).await;
    stack.url_of("ada").await;
    stack.take_gateway().stop().await;
    assert!(collector.spans().iter().any(|span| span.name == MINT));
    let names: Vec<String> = collector.metrics().into_iter().map(|metric| metric.name).collect();
    for name in ["valet_requests_total", "valet_request_duration_seconds", "valet_ready", "process_open_fds"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}
