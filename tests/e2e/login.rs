//! Where one signs in: never a place that sends the browser on to itself.

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::{App, FACE_SCAN, HOST, Setup, Stack};

/// A browser that follows redirects to login pages; where it ends.
async fn follow(stack: &Stack, from: &str, host: &str) -> (String, u16) {
    let mut target = from.to_owned();
    for _ in 0..5 {
        let answer = stack.get(&target).host(host).as_navigation().send().await;
        if answer.status != 302 {
            return (target, answer.status);
        }
        target = answer.location().replacen(&format!("https://{HOST}"), "", 1);
    }
    panic!("an endless redirect from {from}: {target}");
}

#[tokio::test]
async fn a_login_url_behind_a_session_is_a_page_that_says_401_and_never_a_loop() {
    for login in ["/login", "/login?x=1", "/a/../login", &format!("https://{HOST}/login")] {
        let app = App::start().await;
        let setup = Setup::new().session(&format!("login_url = \"{login}\"")).app(&app, "");
        let stack = setup.start().await;
        stack.until_ready().await;
        for from in ["/orders", FACE_SCAN, "/login", "/login?return_to=%2Flogin", "/./login", "//login"] {
            let (place, status) = follow(&stack, from, HOST).await;
            assert_eq!(status, 401, "{login}: {from} → {place}");
        }
        let page = stack.get("/login").as_navigation().send().await;
        page.assert_status(401).assert_field("content-type", "text/html; charset=utf-8").assert_no_field("location");
        let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
        let page = stack.get("/login").as_navigation().cookie(expired).send().await;
        page.assert_status(401).assert_no_field("location");
        stack.get("/login").as_navigation().as_browser_of("ada").send().await.assert_status(200);
        // What is no login page is sent there as before.
        stack.get("/login/x").as_navigation().send().await.assert_status(302);
    }
}

#[tokio::test]
async fn login_pages_that_lead_to_each_other_are_no_loop_either() {
    let app = App::start().await;
    let stack = Setup::new()
        .plugin("login_url = \"/a/in\"")
        .app(&app, "name = \"a\"\npath = \"/a\"\nlogin_url = \"/b/in\"")
        .app(&app, "name = \"b\"\npath = \"/b\"\nlogin_url = \"/a/in\"")
        .app(&app, &format!("name = \"self\"\npath = \"/self\"\nlogin_url = \"{FACE_SCAN}\""))
        .start()
        .await;
    stack.until_ready().await;
    for from in ["/a/x", "/b/x", "/a/in", "/b/in", "/self", FACE_SCAN] {
        assert_eq!(follow(&stack, from, HOST).await.1, 401, "{from}");
    }
}

#[tokio::test]
async fn a_login_page_at_one_host_is_none_at_another() {
    let app = App::start().await;
    let stack = Setup::new().session(&format!("login_url = \"https://{HOST}/login\"")).app(&app, "").start().await;
    stack.until_ready().await;
    let answer = stack.get("/login").host("other.example.com").as_navigation().send().await;
    let expected = format!("https://{HOST}/login?return_to=%2Flogin");
    answer.assert_status(302).assert_field("location", &expected);
}

#[tokio::test]
async fn the_sign_in_page_of_the_right_layout_is_reached() {
    let app = App::start().await;
    let stack = Setup::new()
        .session("login_url = \"/login\"")
        .app(&app, "name = \"sign-in\"\npath = \"/login\"\nsession = \"none\"\npass_credential = true")
        .app(&app, "")
        .start()
        .await;
    stack.until_ready().await;
    assert_eq!(follow(&stack, "/orders?x=1", HOST).await, ("/login?return_to=%2Forders%3Fx%3D1".to_owned(), 200));
}
