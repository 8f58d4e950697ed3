//! What sets say.

use super::*;
use crate::policy::Decision;
use crate::session::StepUp;

/// Whether the set answers the case as it expects.
fn check(policies: &Arc<Policies>, text: &str) {
    case(text).run(policies, None, NOW).unwrap_or_else(|why| panic!("{text}\n{why}"));
}

fn asked(policies: &Arc<Policies>, text: &str) -> Decision {
    case(text).decide(policies, None, NOW)
}

#[test]
fn without_a_permit_everyone_is_denied_and_a_forbid_wins() {
    check(&set(""), "action = \"open\"\nresource = \"scan\"\nexpect = \"deny\"");
    let both = set(
        "@id(\"yes\") permit(principal, action, resource);\n@id(\"no\") forbid(principal, action == Valet::Action::\"renew\", resource);",
    );
    check(&both, "action = \"open\"\nresource = \"scan\"\nexpect = \"permit\"\npolicy = \"yes\"");
    check(&both, "action = \"renew\"\nresource = \"scan\"\nexpect = \"deny\"\npolicy = \"no\"");
    check(&both, "action = \"reach\"\nresource = \"portal\"\nexpect = \"permit\"");
}

#[test]
fn actions_and_resources_have_the_groups_of_the_contract() {
    let policies =
        set("@id(\"use\") permit(principal, action in Valet::Action::\"use\", resource in Valet::Provider::\"acme\");");
    for action in ["open", "renew", "mint"] {
        check(
            &policies,
            &format!(
                "action = \"{action}\"\nresource = \"scan\"\nprovider = \"acme\"\nexpect = \"permit\"\npolicy = \"use\""
            ),
        );
        check(
            &policies,
            &format!("action = \"{action}\"\nresource = \"scan\"\nprovider = \"other\"\nexpect = \"deny\""),
        );
    }
    check(&policies, "action = \"reach\"\nresource = \"portal\"\nexpect = \"deny\"");
}

#[test]
fn every_attribute_of_the_principal_can_be_read() {
    let policies = set(r#"permit(principal == Valet::User::"https://idp.example.com ada", action, resource) when {
            principal in Valet::Group::"clinicians" && principal.issuer == "https://idp.example.com" && principal.subject == "ada"
            && principal has session && principal.session == "s1" && principal has acr && principal.acr == "mfa"
            && principal.amr.contains("otp") && principal.scopes.containsAll(["a", "b"])
            && principal has auth_time && principal.auth_time < datetime("2026-12-01T09:00:00Z")
            && principal has issued_at && principal.issued_at > datetime("2026-12-01T08:00:00Z")
            && principal.claims has email && principal.claims.email like "*@example.com"
            && principal.claims has level && principal.claims.level >= 3
            && principal.claims has staff && principal.claims.staff
            && principal.claims has roles && principal.claims.roles.contains("chief")
        };"#);
    let session = |subject: &str| {
        format!(
            "action = \"open\"\nresource = \"scan\"\nsession = {{ issuer = \"https://idp.example.com\", subject = \"{subject}\", session = \"s1\", \
             acr = \"mfa\", amr = [\"pwd\", \"otp\"], scopes = [\"a\", \"b\"], auth_time = \"2026-12-01T08:59:59Z\", \
             issued_at = \"2026-12-01T08:30:00Z\", groups = [\"clinicians\"], \
             claims = {{ email = \"a@example.com\", level = 3, staff = true, roles = [\"chief\"] }} }}\n"
        )
    };
    check(&policies, &(session("ada") + "expect = \"permit\""));
    check(&policies, &(session("bob") + "expect = \"deny\""));
}

#[test]
fn every_attribute_of_the_context_can_be_read() {
    let policies = set(r#"permit(principal, action == Valet::Action::"open", resource) when {
            context.method == "HEAD" && context.path == "/a b" && context.host == "app.example.com" && context has language
            && context.language == "de" && context.address.isInRange(ip("203.0.113.0/24")) && context.now == datetime("2026-12-01T09:00:00Z")
        };
        permit(principal, action == Valet::Action::"mint", resource) when {
            context.edge == "edge-1" && context.reason == "ahead" && context.now == datetime("2026-12-01T09:00:00Z")
        };"#);
    let open = "action = \"open\"\nresource = \"scan\"\ncontext = { method = \"HEAD\", path = \"/a b\", host = \"APP.example.com\", language = \"de\", address = \"203.0.113.9\" }\n";
    check(&policies, &format!("{open}expect = \"permit\""));
    check(&policies, &format!("{}expect = \"deny\"", open.replace("113.9", "114.9")));
    let mint = "action = \"mint\"\nresource = \"scan\"\ncontext = { edge = \"edge-1\", reason = \"ahead\" }\n";
    check(&policies, &format!("{mint}expect = \"permit\""));
    check(&policies, &format!("{}expect = \"deny\"", mint.replace("edge-1", "edge-2")));
}

#[test]
fn nobody_in_particular_is_anonymous() {
    let policies = set(
        "permit(principal == Valet::User::\"anonymous\", action, resource) when { principal.issuer == \"\" && principal.subject == \"\" };",
    );
    check(&policies, "action = \"reach\"\nresource = \"portal\"\nexpect = \"permit\"");
    check(
        &policies,
        "action = \"reach\"\nresource = \"portal\"\nsession = { issuer = \"\", subject = \"anonymous\" }\nexpect = \"deny\"",
    );
}

#[test]
fn the_first_policy_in_the_order_of_files_and_lines_is_named() {
    let files = [
        (
            "a.cedar",
            "// a comment\n\npermit(principal, action, resource);\n@id(\"second\") permit(principal, action, resource);",
        ),
        (
            "b.cedar",
            "@id(\"b\") permit(principal, action, resource);\n\n@why(\"x\")\nforbid(principal, action == Valet::Action::\"renew\", resource);",
        ),
    ];
    let policies = Arc::new(compiled(&files).policies.unwrap());
    check(&policies, "action = \"open\"\nresource = \"scan\"\nexpect = \"permit\"\npolicy = \"a.cedar:3\"");
    // With its annotations it begins in the line before.
    check(&policies, "action = \"renew\"\nresource = \"scan\"\nexpect = \"deny\"\npolicy = \"b.cedar:3\"");
}

const STEP_UP: &str = r#"
    @id("staff") permit(principal in Valet::Group::"staff", action, resource);
    @id("mfa") @step_up("mfa phr") @step_up_max_age("1h")
    forbid(principal, action in Valet::Action::"use", resource) unless { principal.amr.contains("otp") };
    @id("recent") @step_up("phr gold") @step_up_max_age("10m")
    forbid(principal, action in Valet::Action::"use", resource)
    unless { principal has auth_time && context.now.durationSince(principal.auth_time) < duration("10m") };
    @id("blocked") forbid(principal in Valet::Group::"blocked", action, resource);
"#;

fn of(groups: &str, rest: &str) -> String {
    format!(
        "action = \"open\"\nresource = \"scan\"\nexpect = \"step_up\"\nsession = {{ issuer = \"i\", subject = \"s\", groups = [{groups}]{rest} }}"
    )
}

#[test]
fn a_step_up_is_asked_for_where_nothing_else_stands_in_the_way() {
    let policies = set(STEP_UP);
    // All values in order, each once; the shortest age.
    let both = StepUp::new("mfa phr gold", Some(600)).unwrap();
    assert_eq!(asked(&policies, &of("\"staff\"", "")), Decision::StepUp(1, both));
    let recent = StepUp::new("phr gold", Some(600)).unwrap();
    assert_eq!(asked(&policies, &of("\"staff\"", ", amr = [\"otp\"]")), Decision::StepUp(2, recent));
    let good = ", amr = [\"otp\"], auth_time = \"2026-12-01T08:55:00Z\"";
    assert_eq!(asked(&policies, &of("\"staff\"", good)), Decision::Permit(Some(0)));
    // No sign-in would help these.
    assert_eq!(asked(&policies, &of("\"others\"", "")), Decision::Deny(Some(1)));
    assert_eq!(asked(&policies, &of("\"others\"", good)), Decision::Deny(None));
    assert_eq!(asked(&policies, &of("\"staff\", \"blocked\"", "")), Decision::Deny(Some(1)));
    assert_eq!(asked(&policies, &of("\"staff\", \"blocked\"", good)), Decision::Deny(Some(3)));
}

#[test]
fn a_policy_that_fails_in_evaluation_denies_whatever_its_effect() {
    // It overflows for one level alone.
    let failing = "principal.claims has level && principal.claims.level + 9223372036854775807 > 0";
    for effect in ["permit", "forbid", "@step_up(\"mfa\") forbid"] {
        let policies = set(&format!(
            "permit(principal, action, resource);\n{effect}(principal, action, resource) when {{ {failing} && false }};"
        ));
        let level = |level: i64| {
            format!(
                "action = \"open\"\nresource = \"scan\"\nexpect = \"permit\"\nsession = {{ issuer = \"i\", subject = \"s\", claims = {{ level = {level} }} }}"
            )
        };
        assert_eq!(asked(&policies, &level(0)), Decision::Permit(Some(0)));
        assert_eq!(asked(&policies, &level(1)), Decision::Error(Some(1)), "{effect}");
        let told = case(&level(1)).run(&policies, None, NOW).unwrap_err();
        assert_eq!(told, "the policy \"a.cedar:2\" fails in evaluation, which denies");
    }
}

#[test]
fn a_case_says_what_it_found_instead() {
    let policies = set("@id(\"all\") permit(principal, action, resource);");
    let told = |rest: &str| {
        let text = format!("action = \"open\"\nresource = \"scan\"\n{rest}");
        case(&text).run(&policies, None, NOW).unwrap_err()
    };
    assert_eq!(told("expect = \"deny\""), "expected deny, found permit: the policy \"all\" decides");
    assert_eq!(
        told("expect = \"permit\"\npolicy = \"other\""),
        "expected the policy \"other\" to decide: the policy \"all\" decides"
    );
}
