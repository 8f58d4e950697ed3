//! Who may open what: policies, from outside.

use std::time::Duration;

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::{App, FACE_SCAN, Setup, Stack};

const CLAIMS: &str = "groups = \"groups\"\n[claims]\nemail = \"string\"\n";

const CLINIC: &str = r#"
@id("clinicians")
permit(principal in Valet::Group::"clinicians", action in Valet::Action::"use", resource == Valet::Plugin::"face-scan");
@id("blocked")
forbid(principal in Valet::Group::"blocked", action, resource);
"#;

fn with(policies: &str) -> Setup {
    Setup::new().policies(&[("a.cedar", policies), ("claims.toml", CLAIMS)])
}

async fn started(setup: Setup) -> Stack {
    let stack = setup.start().await;
    stack.until_ready().await;
    stack
}

fn member(stack: &Stack, user: &str, groups: &[&str]) -> String {
    stack.idp().token(&TokenRequest::user(user).claim("groups", groups.to_vec()))
}

fn decisions(stack: &Stack, action: &str, resource: &str, decision: &str) -> u64 {
    let labels = [("action", action), ("resource", resource), ("decision", decision)];
    stack.count("valet_policy_decisions_total", &labels)
}

#[tokio::test]
async fn a_group_may_open_a_plug_in_and_others_may_not_and_the_vendor_is_not_asked_for_them() {
    let stack = started(with(CLINIC)).await;
    let (ada, bob) = (member(&stack, "ada", &["clinicians"]), member(&stack, "bob", &["guests"]));
    stack.get(FACE_SCAN).bearer(&ada).send().await.assert_status(302);
    stack.post(FACE_SCAN).bearer(&ada).send().await.assert_status(303);
    let mints = stack.mints("ok");
    for _ in 0..3 {
        stack.get(FACE_SCAN).bearer(&bob).send().await.assert_problem(403, "not-permitted");
        stack.ask("HEAD", FACE_SCAN).bearer(&bob).send().await.assert_status(403);
        stack.post(FACE_SCAN).bearer(&bob).send().await.assert_problem(403, "not-permitted");
    }
    stack.get(FACE_SCAN).as_user("carol").send().await.assert_problem(403, "not-permitted");
    assert_eq!(stack.mints("ok"), mints);
    assert_eq!(
        (decisions(&stack, "open", "face-scan", "permit"), decisions(&stack, "renew", "face-scan", "permit")),
        (1, 1)
    );
    assert_eq!(
        (decisions(&stack, "open", "face-scan", "deny"), decisions(&stack, "renew", "face-scan", "deny")),
        (7, 3)
    );
}

#[tokio::test]
async fn the_access_line_names_the_policy_that_decided() {
    let stack = started(with(CLINIC)).await;
    for groups in [&["clinicians"][..], &["clinicians", "blocked"], &["guests"]] {
        stack.get(FACE_SCAN).bearer(member(&stack, "ada", groups)).send().await;
    }
    let lines = stack.lines.all(3).await;
    let told: Vec<_> =
        lines.iter().map(|line| (line["status"].as_u64(), line.get("policy").and_then(|p| p.as_str()))).collect();
    assert_eq!(told, [(Some(302), Some("clinicians")), (Some(403), Some("blocked")), (Some(403), None)]);
}

#[tokio::test]
async fn two_tokens_of_one_person_are_judged_each_on_its_own() {
    let stack = started(with(CLINIC)).await;
    let (in_group, left, blocked) = (
        member(&stack, "ada", &["clinicians"]),
        member(&stack, "ada", &[]),
        member(&stack, "ada", &["clinicians", "blocked"]),
    );
    for _ in 0..2 {
        for (token, status) in [(&in_group, 302), (&left, 403), (&blocked, 403)] {
            stack.get(FACE_SCAN).bearer(token).send().await.assert_status(status);
        }
    }
}

const STEP_UP: &str = r#"
permit(principal, action, resource);
@id("mfa") @step_up("mfa") @step_up_max_age("1h")
forbid(principal, action, resource) unless {
    principal.amr.contains("otp") && principal has auth_time && context has now && context.now.durationSince(principal.auth_time) < duration("1h")
};
"#;

#[tokio::test]
async fn a_stronger_sign_in_is_asked_for_in_each_caller_s_way() {
    let app = App::start().await;
    let setup = with(STEP_UP)
        .session("login_url = \"/login?x=1\"")
        .plugin("embed = [\"same-site\", \"https://elsewhere.example\"]");
    let stack = started(setup.app(&app, "")).await;
    let challenge = "Bearer error=\"insufficient_user_authentication\", acr_values=\"mfa\", max_age=\"3600\"";
    for target in [FACE_SCAN, "/orders?y=2"] {
        for answer in [
            stack.get(target).as_user("ada").send().await,
            stack.get(target).as_user("ada").for_json().send().await,
            stack.post(target).as_user("ada").send().await,
        ] {
            answer.assert_problem(401, "step-up-required").assert_field("www-authenticate", challenge);
        }
    }
    let answer = stack.get("/orders?y=2").as_browser_of("ada").as_navigation().send().await;
    answer
        .assert_status(302)
        .assert_field("location", "/login?x=1&return_to=%2Forders%3Fy%3D2&acr_values=mfa&max_age=3600");
    let answer = stack.get(FACE_SCAN).as_browser_of("ada").as_navigation().send().await;
    answer
        .assert_status(302)
        .assert_field("location", "/login?x=1&return_to=%2Fplugins%2Fface-scan&acr_values=mfa&max_age=3600");
    let framed = stack.get(FACE_SCAN).as_browser_of("ada").in_frame_of("same-origin").send().await;
    framed
        .assert_status(401)
        .assert_field("content-type", "text/html; charset=utf-8")
        .assert_field("www-authenticate", challenge);
    let link = "<a href=\"/login?x=1&amp;acr_values=mfa&amp;max_age=3600\" target=\"_top\">";
    assert!(framed.text().contains(link), "{}", framed.text());
    assert_eq!((stack.mints("ok"), app.seen().len()), (0, 0));
    assert_eq!(decisions(&stack, "open", "face-scan", "step_up"), 4);
}

#[tokio::test]
async fn a_sign_in_is_strong_enough_for_as_long_as_the_policy_says() {
    let stack = started(with(STEP_UP)).await;
    let now = crate::kit::setup::START;
    let token = TokenRequest::user("ada").expires_in(86_400).claim("amr", vec!["pwd", "otp"]).claim("auth_time", now);
    let token = stack.idp().token(&token);
    let open = async || stack.get(FACE_SCAN).bearer(&token).send().await;
    open().await.assert_status(302);
    stack.advance(Duration::from_millis(3_599_000));
    open().await.assert_status(302);
    stack.advance(Duration::from_millis(999));
    // A verdict that depends on the time holds for a second.
    open().await.assert_status(302);
    stack.advance(Duration::from_millis(1));
    open().await.assert_problem(401, "step-up-required");
}

const ADMIN: &str = r#"
permit(principal, action, resource);
@id("admin-inside")
forbid(principal, action == Valet::Action::"reach", resource == Valet::App::"portal")
when { context.path == "/admin" || context.path like "/admin/*" }
unless { context.address.isInRange(ip("203.0.113.0/24")) };
"#;

#[tokio::test]
async fn a_path_is_closed_to_other_networks_however_it_is_written() {
    let app = App::start().await;
    let setup = with(ADMIN).server("trusted_proxies = [\"127.0.0.0/8\"]").app(&app, "encoded_slash = true");
    let stack = started(setup).await;
    let from = |address: &'static str, path: &str| {
        stack.get(path).as_user("ada").field("x-forwarded-for", address).field("x-forwarded-proto", "https")
    };
    for path in [
        "/admin",
        "/admin/",
        "/admin/users",
        "/%61dmin",
        "/x/../admin",
        "//admin/x",
        "/admin;v=1",
        "/admin%3bv/x",
        "/admin%2fusers",
        "/admin?x",
        "/admin%3fx",
    ] {
        let inside = from("203.0.113.9", path).send().await.status;
        assert!(matches!(inside, 200 | 400), "{path}: {inside}");
        from("198.51.100.9", path).send().await.assert_status(if inside == 200 { 403 } else { 400 });
        let posted = from("198.51.100.9", path).send().await.status;
        assert!(matches!(posted, 400 | 403), "{path}: {posted}");
    }
    for path in ["/", "/administration", "/x/admin"] {
        from("198.51.100.9", path).send().await.assert_status(200);
    }
}

#[tokio::test]
async fn apps_that_need_no_session_ask_for_anonymous_or_not_at_all() {
    let app = App::start().await;
    let policies = r#"
        @id("known") permit(principal, action, resource) unless { principal == Valet::User::"anonymous" };
        @id("public") permit(principal == Valet::User::"anonymous", action == Valet::Action::"reach", resource) when { context has path && context.path like "/open/public/*" };
    "#;
    let setup = with(policies)
        .app(&app, "name = \"open\"\npath = \"/open\"\nsession = \"optional\"")
        .app(&app, "name = \"free\"\npath = \"/free\"\nsession = \"none\"");
    let stack = started(setup).await;
    stack.get("/open/public/x").send().await.assert_status(200);
    stack.get("/open/x").send().await.assert_problem(403, "not-permitted");
    stack.get("/open/x").as_user("ada").send().await.assert_status(200);
    stack.get("/free/x").send().await.assert_status(200);
    assert_eq!(decisions(&stack, "reach", "open", "deny"), 1);
    assert_eq!(decisions(&stack, "reach", "free", "permit"), 0);
    assert_eq!(app.last().field("x-auth-subject"), None);
}

#[tokio::test]
async fn a_policy_that_can_t_be_evaluated_denies_and_is_counted() {
    let policies = "permit(principal, action, resource);\n@id(\"long\") forbid(principal, action, resource) when { principal.claims has level && principal.claims.level + 9223372036854775807 < 0 };";
    let setup = Setup::new().policies(&[("a.cedar", policies), ("claims.toml", "[claims]\nlevel = \"integer\"\n")]);
    let stack = started(setup).await;
    let token = |level: i64| stack.idp().token(&TokenRequest::user("ada").claim("level", level));
    stack.get(FACE_SCAN).bearer(token(0)).send().await.assert_status(302);
    for _ in 0..2 {
        stack.get(FACE_SCAN).bearer(token(1)).send().await.assert_problem(403, "not-permitted");
    }
    assert_eq!(decisions(&stack, "open", "face-scan", "error"), 2);
    let lines = stack.lines.all(3).await;
    assert_eq!(lines[2]["policy"], "long");
}

#[tokio::test]
async fn an_empty_directory_denies_everyone() {
    let stack = started(Setup::new().policies(&[])).await;
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_problem(403, "not-permitted");
}
