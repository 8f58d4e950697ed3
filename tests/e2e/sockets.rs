//! Apps on Unix sockets.

use crate::kit::{App, HOST, Setup, Stack, until};

async fn before(app: &App, lines: &str) -> Stack {
    Stack::before(app, &format!("session = \"none\"\n{lines}")).await
}

#[tokio::test]
async fn an_app_on_a_socket_is_reached_on_each_way_and_its_connections_are_used_again() {
    let app = App::on_socket().await;
    let stack = before(&app, "").await;
    for _ in 0..3 {
        let answer = stack.get("/orders?x=1").send().await;
        assert_eq!((answer.status, &*answer.text()), (200, "hello"));
        let seen = app.last();
        assert_eq!((seen.line(), seen.field("host")), ("GET /orders?x=1", Some(HOST)));
        assert_eq!((seen.field("x-forwarded-for"), seen.field("x-forwarded-host")), (Some("127.0.0.1"), Some(HOST)));
    }
    assert_eq!(app.connections(), 1, "the connection is kept");
    for _ in 0..3 {
        stack.get("/").body("a body").send().await.assert_status(200);
        assert_eq!(app.last().body, b"a body");
    }
    assert_eq!(app.connections(), 1, "with a body too");
    for _ in 0..3 {
        stack.ask("HEAD", "/").send().await.assert_status(200);
    }
    assert_eq!(app.connections(), 1, "and for a HEAD");
    let mut tunnel = stack.wire().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    tunnel.write(format!("GET /socket HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\nping")).await;
    tunnel.read_to("ping").await;
}

#[tokio::test]
async fn logs_and_metrics_name_an_upstream_on_a_socket_by_its_path() {
    let app = App::on_socket().await;
    let stack = before(&app, "").await;
    stack.get("/").send().await.assert_status(200);
    stack.get("/").body("a body").send().await.assert_status(200);
    assert!(stack.lines.all(2).await.iter().all(|line| line["upstream"] == *app.address));
    let labels = [("app", "portal"), ("upstream", &*app.address)];
    assert_eq!(stack.count("valet_upstream_up", &labels), 1);
    // No name is asked for.
    assert!(!stack.metrics.text().contains("valet_upstream_lookups_total{"));
}

#[tokio::test]
async fn a_socket_on_which_nobody_listens_is_tried_elsewhere_and_left_alone() {
    let (mut gone, well) = (App::on_socket().await, App::start().await);
    let lines = "session = \"none\"\nejection = { failures = 2 }";
    let upstreams = format!("upstreams = [\"{}\", \"{}\"]", gone.address, well.address);
    let stack = Setup::new().tables(&format!("[[app]]\nname = \"portal\"\n{upstreams}\n{lines}")).start().await;
    stack.until_ready().await;
    for _ in 0..4 {
        stack.get("/").send().await.assert_status(200);
    }
    assert_eq!((gone.seen().len(), well.seen().len()), (2, 2), "they stand beside each other");
    gone.leave();
    // The first of them meets the connection that was kept.
    for body in ["", "a body", "", "a body", "", "a body", "", "a body"] {
        stack.get("/").body(body).send().await.assert_status(200);
    }
    assert_eq!(stack.count("valet_upstream_ejections_total", &[("upstream", &*gone.address)]), 1);
    assert_eq!(stack.count("valet_upstream_up", &[("upstream", &*gone.address)]), 0);
}

#[tokio::test]
async fn an_app_whose_socket_is_gone_is_unavailable_on_each_way() {
    let mut app = App::on_socket().await;
    let stack = before(&app, "").await;
    app.leave();
    for body in ["", "a body"] {
        stack.get("/").body(body).send().await.assert_problem(502, "app-unavailable");
    }
}

#[tokio::test]
async fn an_app_on_a_socket_is_asked_for_its_health() {
    let mut app = App::on_socket().await;
    let health = "[app.health]\npath = \"/health\"\ninterval = \"50ms\"\nunhealthy = 1";
    let setup = Setup::new().real_time().app(&app, &format!("session = \"none\"\n{health}"));
    let stack = setup.start().await;
    until("a question", || !app.seen().is_empty()).await;
    let seen = app.last();
    assert_eq!((seen.line(), seen.field("host")), ("GET /health", Some("localhost")));
    assert_eq!(stack.count("valet_upstream_up", &[("upstream", &*app.address)]), 1);
    app.leave();
    until("it is unwell", || stack.count("valet_upstream_up", &[("upstream", &*app.address)]) == 0).await;
}
