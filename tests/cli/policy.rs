//! Policies by the command line: their cases, their schema, what `check` and `explain` say of them.

use std::path::Path;

use serde_json::json;

use super::pair::Pair;
use super::process::{end_of, until};
use super::stack::{Folder, Gateway, Idp, KEY, Stack, Vendor, bearer};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_starter_set_passes_its_cases() {
    let ended = end_of(repository(), &["policy", "test", "--directory", "policies"]);
    ended.assert_code(0);
    let last = ended.stdout.lines().last().unwrap();
    let cases: usize = ["groups", "second-factor", "admin-path"]
        .iter()
        .map(|name| std::fs::read_to_string(repository().join(format!("policies/{name}.cases.toml"))).unwrap())
        .map(|text| text.matches("[[case]]").count())
        .sum();
    assert_eq!(last, format!("{cases} passed, 0 failed"));
    assert!(cases >= 15 && ended.stderr.is_empty(), "{}", ended.all());
    // Without a directory it is `policies`.
    assert_eq!(end_of(repository(), &["policy", "test"]).stdout.lines().last(), Some(last));
}

/// The code blocks of this language in a page, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    page.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_ten_policies_of_the_documentation_pass_their_cases() {
    let page = std::fs::read_to_string(repository().join("docs/policies.md")).unwrap();
    let policies = blocks(&page, "cedar");
    let cases: Vec<String> = blocks(&page, "toml").into_iter().filter(|block| block.starts_with("[[case]]")).collect();
    assert_eq!((policies.len(), cases.len()), (10, 10));
    for (policies, cases) in policies.iter().zip(&cases) {
        let folder = Folder::new();
        folder.write("p/a.cedar", policies);
        folder.write("p/a.cases.toml", cases);
        folder.write("p/claims.toml", "groups = \"groups\"\n[claims]\nemail = \"string\"\n");
        let ended = end_of(folder.path(), &["policy", "test", "--directory", "p"]);
        let all = format!("{} passed, 0 failed", cases.matches("[[case]]").count());
        assert_eq!(ended.stdout.lines().last(), Some(&*all), "{}\n{policies}", ended.all());
    }
}

const ALL: &str = "@id(\"all\") permit(principal, action, resource);\n";

#[test]
fn a_case_that_fails_is_named_and_the_exit_code_says_so() {
    let folder = Folder::new();
    folder.write("policies/a.cedar", ALL);
    let cases = "[[case]]\nname = \"good\"\naction = \"open\"\nresource = \"scan\"\nexpect = \"permit\"\n\
                 [[case]]\nname = \"bad\"\naction = \"open\"\nresource = \"scan\"\nexpect = \"deny\"\n";
    folder.write("policies/a.cases.toml", cases);
    let ended = end_of(folder.path(), &["policy", "test"]);
    ended.assert_code(1);
    let expected =
        "FAILED   a.cases.toml: \"bad\": expected deny, found permit: the policy \"all\" decides\n1 passed, 1 failed\n";
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (expected, ""));
}

#[test]
fn every_fault_of_every_file_is_told_at_once_with_its_place() {
    let folder = Folder::new();
    folder.write("policies/a.cedar", "permit(principal, action, resource) when { principal.acr == \"mfa\" };\n");
    folder.write("policies/b.cedar", "\n\npermit(principal, action, resource\n");
    folder.write(
        "policies/c.cases.toml",
        "[[case]]\nname = \"c\"\naction = \"opne\"\nresource = \"scan\"\nexpect = \"permit\"\n",
    );
    folder.write("policies/d.cases.toml", "[[case]]\nname = \"d\"\naction = \"open\"\nresource = \"scan\"\nexpect = \"permit\"\nsession = { issuer = \"i\", subject = \"s\", claims = { mail = \"x\" } }\n");
    folder.write("policies/claims.toml", "[claims]\nemail = \"string\"\n");
    folder.write("policies/notes.txt", "ignored");
    for words in [&["policy", "test"][..], &["policy", "test", "--directory", "policies"]] {
        let ended = end_of(folder.path(), words);
        ended.assert_code(78);
        let places: Vec<&str> = ended.stderr.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let expected = [
            "policies/c.cases.toml:3:10",
            "policies/a.cedar:1:44",
            "policies/b.cedar:3:35",
            "policies/d.cases.toml:6:60",
        ];
        let mut sorted = places.clone();
        sorted.sort_unstable();
        let mut all = expected;
        all.sort_unstable();
        assert_eq!(sorted, all, "{}", ended.stderr);
        assert!(ended.stderr.contains("has acr"), "Cedar's help is kept: {}", ended.stderr);
    }
    folder.write("policies/claims.toml", "[claims]\nemail = \"strnig\"\n");
    let ended = end_of(folder.path(), &["policy", "schema"]);
    ended.assert_code(78);
    assert!(ended.stderr.starts_with("policies/claims.toml:2:9 claims.email: expected "), "{}", ended.stderr);
    let ended = end_of(folder.path(), &["policy", "test", "--directory", "nowhere"]);
    ended.assert_code(78);
    assert!(ended.only_line().starts_with("nowhere: the directory of policies can't be read: "), "{}", ended.stderr);
}

#[test]
fn the_schema_has_the_declared_claims() {
    let folder = Folder::new();
    folder.write("p/claims.toml", "[claims]\nemail = \"string\"\n");
    let with = end_of(folder.path(), &["policy", "schema", "--directory", "p"]);
    let without = end_of(folder.path(), &["policy", "schema"]);
    for ended in [&with, &without] {
        assert!(ended.assert_code(0).stdout.starts_with("namespace Valet {"), "{}", ended.stdout);
    }
    assert!(with.stdout.contains("\"email\"?: String") && !without.stdout.contains("email"));
}

const DOOR: &str = r#"
@id("clinicians") permit(principal in Valet::Group::"clinicians", action in Valet::Action::"use", resource == Valet::Plugin::"face-scan");
@id("recent") @step_up("mfa") @step_up_max_age("1h")
forbid(principal, action in Valet::Action::"use", resource) unless { principal has acr && principal.acr == "mfa" };
"#;

/// A gateway with these policies.
fn with_policies(policies: &str) -> Stack {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    folder.write("policies/a.cedar", policies);
    folder.write("policies/claims.toml", "groups = \"groups\"\n");
    folder.configure(&vendor.url, &idp.url, KEY, |file| file + "\n[policies]\ndirectory = \"policies\"\n");
    let gateway = Gateway::start(&folder);
    Stack { vendor, idp, folder, gateway }
}

#[test]
fn check_and_explain_know_the_policies_and_the_gateway_obeys_them() {
    let stack = with_policies(DOOR);
    let folder = &stack.folder;
    let explain = |token: &str| super::explain::explained(folder.path(), "/plugins/face-scan", token);
    let token = |groups: &[&str], acr: &str| stack.idp.token_with("ada", json!({ "groups": groups, "acr": acr }));
    let (good, weak, other) = (token(&["clinicians"], "mfa"), token(&["clinicians"], "pwd"), token(&["guests"], "mfa"));
    let told = explain(&good);
    told.assert_code(0);
    assert!(
        told.stdout.contains("ok       policy       \"clinicians\" permits; decided by principal.acr"),
        "{}",
        told.stdout
    );
    for (token, line, status) in [
        (
            &weak,
            "REFUSED  policy       \"recent\" wants a sign-in with acr_values \"mfa\", max_age 3600; decided by principal.acr (401 step-up-required)",
            401,
        ),
        (&other, "REFUSED  policy       no policy permits; decided by principal.acr (403 not-permitted)", 403),
    ] {
        let told = explain(token);
        told.assert_code(1);
        assert_eq!(told.stderr.lines().last(), Some(line));
        assert!(!told.all().contains("guests"), "{}", told.all());
        assert_eq!(stack.gateway.open(token).status, status);
    }
    assert_eq!(stack.gateway.open(&good).status, 302);
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    checked.assert_code(0);
    assert!(checked.stderr.is_empty(), "{}", checked.stderr);
    folder.replace(
        "policies/a.cedar",
        &format!("{DOOR}permit(principal, action, resource == Valet::Plugin::\"fce-scan\");\n"),
    );
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    checked.assert_code(0);
    let warning = "warning: policies/a.cedar:5:1 policy: the configuration has no plug-in \"fce-scan\": this policy never concerns one";
    assert_eq!(checked.only_line(), warning);
    folder.replace("policies/a.cedar", "permit(principal, action, resource)");
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    checked.assert_code(78);
    assert!(
        checked.only_line().starts_with("policies/a.cedar:1:36 policy: unexpected end of input"),
        "{}",
        checked.stderr
    );
}

#[test]
fn cases_about_what_the_configuration_does_not_have_are_faults_where_there_is_one() {
    let stack = with_policies(DOOR);
    let case = |resource: &str| {
        format!("[[case]]\nname = \"c\"\naction = \"open\"\nresource = \"{resource}\"\nexpect = \"deny\"\n")
    };
    let test = |words: &[&str]| end_of(stack.folder.path(), &[&["policy", "test"], words].concat());
    stack.folder.replace("policies/a.cases.toml", &case("face-scan"));
    assert_eq!(test(&["--config", "valet.toml"]).assert_code(0).stdout, "1 passed, 0 failed\n");
    stack.folder.replace("policies/a.cases.toml", &case("fce-scan"));
    assert_eq!(test(&[]).assert_code(0).stdout, "1 passed, 0 failed\n");
    let ended = test(&["--config", "valet.toml"]);
    ended.assert_code(78);
    let fault = "policies/a.cases.toml:4:12 case.resource: the configuration has no such plug-in (case \"c\")";
    assert_eq!(ended.only_line(), fault);
}

const AT_MINTER: &str = r#"
permit(principal in Valet::Group::"patients", action == Valet::Action::"mint", resource == Valet::Plugin::"face-scan");
@step_up("mfa") forbid(principal, action == Valet::Action::"mint", resource) unless { principal has acr && principal.acr == "mfa" };
"#;

fn minted_by_policy() -> Pair {
    let files = [("policies/m.cedar", AT_MINTER), ("policies/claims.toml", "groups = \"groups\"\n")];
    let policies = |file: String| file + "\n[policies]\ndirectory = \"policies\"\n";
    Pair::with_files(KEY, &files, 1, policies, |edge| edge.replace("failures = 10000", "failures = 1"))
}

#[test]
fn whom_the_minter_s_policies_forbid_the_edge_can_t_let_in() {
    let pair = minted_by_policy();
    let token =
        |person: &str, groups: &[&str], acr: &str| pair.idp.token_with(person, json!({ "groups": groups, "acr": acr }));
    let (good, stranger, weak) =
        (token("ada", &["patients"], "mfa"), token("ada", &[], "mfa"), token("ada", &["patients"], "pwd"));
    for _ in 0..3 {
        assert_eq!(pair.edge.open(&stranger).status, 403);
        let answer = pair.edge.open(&weak);
        assert_eq!(answer.status, 401);
        let challenge = "Bearer error=\"insufficient_user_authentication\", acr_values=\"mfa\"";
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        assert!(answer.body.contains("problems/step-up-required"), "{answer:?}");
    }
    assert_eq!(pair.vendor.mint_calls(), 0);
    // Neither remembered nor a reason to leave the minter alone: the breaker opens at one failure.
    assert_eq!(pair.edge.open(&good).status, 302);
    assert_eq!(pair.vendor.mint_calls(), 1);
    let lines =
        until("all are in the audit log", || Some(pair.minters[0].audit_log()).filter(|lines| lines.len() == 7));
    let outcomes: Vec<&str> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "forbidden").count(), 3);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "step-up-required").count(), 3);
    let told = pair.edge.terminate();
    assert!(!told.all().contains("mints fail") && !told.all().contains("provider is down"), "{}", told.all());
}

/// Six callers at once want one lease: each is judged by its own token.
#[test]
fn callers_who_wait_for_one_lease_are_judged_each_on_its_own() {
    let pair = minted_by_policy();
    for round in 0..10 {
        let person = format!("person-{round}");
        let token = |groups: &[&str]| pair.idp.token_with(&person, json!({ "groups": groups, "acr": "mfa" }));
        let tokens: Vec<(String, u16)> =
            (0..6).map(|n| if n % 2 == 0 { (token(&["others"]), 403) } else { (token(&["patients"]), 302) }).collect();
        std::thread::scope(|scope| {
            let open = |token: &str| {
                super::client::once(&pair.edge.address, "GET", "/plugins/face-scan", &[&bearer(token)], "").status
            };
            let asked: Vec<_> =
                tokens.iter().map(|(token, status)| (scope.spawn(move || open(token)), *status)).collect();
            for (answer, status) in asked {
                // Once the lease is held, the edge's own policies decide: it has none.
                let got = answer.join().unwrap();
                assert!(got == status || got == 302, "{got} for {status}");
            }
        });
        assert_eq!(pair.edge.open(&tokens[1].0).status, 302);
    }
    assert_eq!(pair.vendor.mint_calls(), 10);
}
