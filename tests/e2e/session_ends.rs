//! WebSockets and the end of the session that opened them.

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::{App, Setup, Stack};

/// Long enough for a handshake on a busy machine.
const LIFE: i64 = 5;

/// One upstream behind an app whose WebSockets end with the session, and behind one whose WebSockets don't.
async fn stack(app: &App) -> Stack {
    let lines = |name: &str, end: &str| format!("name = \"{name}\"\npath = \"/{name}\"\n{end}");
    let stack = Setup::new()
        .real_time()
        .session("clock_skew = \"0s\"")
        .app(app, &lines("bound", "session = \"optional\"\nwebsocket_ends_with = \"session\""))
        .app(app, &lines("free", ""))
        .start()
        .await;
    stack.until_ready().await;
    stack
}

#[tokio::test]
async fn a_websocket_ends_with_its_session_where_the_app_asks_for_it() {
    let app = App::start().await;
    let stack = stack(&app).await;
    let token = stack.idp().token(&TokenRequest::user("ada").expires_in(LIFE));
    let mut bound = stack.websocket("/bound/socket", Some(&token)).await;
    let mut free = stack.websocket("/free/socket", Some(&token)).await;
    let mut longer = stack.websocket("/bound/socket", Some(&stack.token("ada"))).await;
    let mut nobody = stack.websocket("/bound/socket", None).await;
    bound.assert_closed().await;
    stack.get("/free/").bearer(&token).send().await.assert_problem(401, "session-expired");
    for other in [&mut free, &mut longer, &mut nobody] {
        other.assert_echoes().await;
    }
    let lines = stack.lines.all(2).await;
    let line = lines.iter().find(|line| line["route"] == "bound").expect("a line");
    assert_eq!((&line["status"], &line["outcome"]), (&101.into(), &"session_ended".into()));
    assert_eq!((&line["upstream"], &line["path"]), (&app.address.as_str().into(), &"/bound/socket".into()));
    assert_eq!(stack.answered("session_ended"), 1);
}
