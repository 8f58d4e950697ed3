//! W3C Trace Context: from whom it is taken, and to whom it is passed on.

use crate::kit::app::Seen;
use crate::kit::{App, FACE_SCAN, Setup, Stack};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A vendor that writes down its heads, and gives no URL.
fn vendor(app: &App) -> String {
    format!(
        "[[provider]]\nname = \"acme\"\nbase_url = \"http://{}\"\napi_key = {{ file = \"key-0\" }}\nauth = {{ bearer = true }}\n\
         redirect_hosts = [\"embed.acme.example\"]\n[provider.mint.embed]\nmethod = \"GET\"\npath = \"/mint\"\nurl = \"text\"\nexpires = \"fixed\"\n\
         [[plugin]]\nname = \"acme\"\nprovider = \"acme\"\nmint = \"embed\"\npath = \"/plugins/acme\"\nreuse = \"user\"",
        app.address
    )
}

async fn stack(app: &App, trusted: bool) -> Stack {
    let setup = Setup::new().app(app, "session = \"none\"").tables(&vendor(app));
    let setup = if trusted { setup.server("trusted_proxies = [\"127.0.0.1\"]") } else { setup };
    let stack = setup.start().await;
    stack.until_ready().await;
    stack
}

/// Version, trace, span and flags of the `traceparent` that arrived.
#[track_caller]
fn parts(seen: &Seen) -> [String; 4] {
    let field = seen.field("traceparent").unwrap_or_else(|| panic!("no traceparent in:\n{}", seen.head));
    let parts: Vec<String> = field.split('-').map(str::to_owned).collect();
    let parts: [String; 4] = parts.try_into().unwrap_or_else(|_| panic!("{field}"));
    assert_eq!([2, 32, 16, 2].map(Some), parts.each_ref().map(|part| Some(part.len())), "{field}");
    parts
}

/// `trace_id` of the last access line.
async fn logged(stack: &Stack, lines: usize) -> String {
    let lines = stack.lines.all(lines).await;
    lines.last().expect("a line")["trace_id"].as_str().expect("a trace id").to_owned()
}

#[tokio::test]
async fn a_strangers_traceparent_begins_no_trace_and_gets_nowhere() {
    let app = App::start().await;
    let stack = stack(&app, false).await;
    let strange = stack.get("/page").field("Traceparent", CALLER).field("tracestate", "a=b");
    strange.field("TRACEPARENT", CALLER).send().await.assert_status(200);
    let seen = app.last();
    let [version, trace, span, flags] = parts(&seen);
    assert_eq!((&*version, &*flags, seen.field("tracestate")), ("00", "00", None));
    assert!(trace != TRACE && span != SPAN);
    assert_eq!(logged(&stack, 1).await, trace);
    // One that begins here has the request's id, so that who has either finds the other.
    let answer = stack.get("/nothing").host("other.example").send().await;
    let line = stack.lines.all(2).await.pop().expect("a line");
    let id = answer.field("x-request-id").map(|id| id.replace('-', ""));
    assert_eq!(line["trace_id"].as_str(), id.as_deref());
}

#[tokio::test]
async fn a_trusted_proxys_trace_goes_on_to_apps_with_a_span_of_ours() {
    let app = App::start().await;
    let stack = stack(&app, true).await;
    for (method, body) in [("GET", ""), ("POST", "a=b")] {
        let ask = stack.ask(method, "/page").field("traceparent", CALLER).field("tracestate", "a=b");
        ask.body(body).send().await.assert_status(200);
        let seen = app.last();
        let [version, trace, span, flags] = parts(&seen);
        assert_eq!((&*version, &*trace, &*flags, seen.field("tracestate")), ("00", TRACE, "01", Some("a=b")));
        assert_ne!(span, SPAN);
    }
    assert_eq!(logged(&stack, 2).await, TRACE);
    for wrong in ["", "00-0-0-0", &CALLER.to_uppercase(), &CALLER.replace("00-4", "ff-4")] {
        stack.get("/page").field("traceparent", wrong).field("tracestate", "a=b").send().await.assert_status(200);
        let seen = app.last();
        assert_ne!(parts(&seen)[1], TRACE, "{wrong}");
        assert_eq!(seen.field("tracestate"), None, "{wrong}");
    }
    // Of two nobody knows which is meant.
    stack.get("/page").field("traceparent", CALLER).field("traceparent", CALLER).send().await.assert_status(200);
    assert_ne!(parts(&app.last())[1], TRACE);
}

#[tokio::test]
async fn the_vendor_is_told_the_trace_of_the_request_that_began_the_mint() {
    let app = App::start().await;
    let stack = stack(&app, true).await;
    stack.get("/plugins/acme").as_user("ada").field("traceparent", CALLER).send().await.assert_status(502);
    let seen = app.last();
    assert_eq!(seen.line(), "GET /mint");
    let [_, trace, span, _] = parts(&seen);
    assert_eq!(trace, TRACE);
    assert_ne!(span, SPAN);
    assert_eq!(logged(&stack, 1).await, TRACE);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(302);
    assert_ne!(logged(&stack, 2).await, TRACE);
}
