//! Faults of files: each with its place, all in one run.

use super::*;
use crate::policy::Inventory;

/// A line for each fault: `FILE:LINE:COLUMN message`.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let compiled = compiled(files);
    assert!(compiled.policies.is_none() || compiled.faults.is_empty());
    compiled.faults.iter().map(|fault| shown(files, fault)).collect()
}

fn shown(files: &[(&str, &str)], fault: &Fault) -> String {
    let text = files.iter().find(|(file, _)| *file == fault.file).map_or("", |(_, text)| *text);
    let before = &text[..fault.offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column} {}", fault.file, fault.message)
}

#[test]
fn twenty_broken_files_are_all_named_with_their_places_in_one_run() {
    const ALL: &str = "(principal, action, resource)";
    let broken: Vec<(String, String, &str)> = [
        ("permit(principal, action, resource)", "1:36"),
        ("\npermit(principal, action resource);", "2:26"),
        ("allow(principal, action, resource);", "1:1"),
        ("permit(principal, action, resource) when { principal.acr == };", "1:61"),
        ("permit(principal, action, resource) when { principal.name == \"x\" };", "1:44"),
        ("permit(principal, action, resource)\nwhen { principal.acr == \"mfa\" };", "2:8"),
        ("permit(principal, action == Valet::Action::\"view\", resource);", "1:29"),
        ("permit(principal, action, resource is Valet::Folder);", "1:39"),
        ("permit(principal in Group::\"x\", action, resource);", "1:21"),
        ("permit(principal, action, resource) when { context.colour == \"red\" };", "1:44"),
        ("permit(principal, action in Valet::Action::\"use\", resource) when { context.path == \"/\" };", "1:68"),
        ("permit(principal, action, resource) when { principal.scopes == \"a\" };", "1:44"),
        ("permit(principal, action, resource) when { principal.claims.phone == \"1\" };", "1:44"),
        ("permit(principal, action, resource) when { principal.claims has level && principal.claims.level == \"1\" };", "1:74"),
        ("permit(principal == ?principal, action, resource);", "1:1"),
        ("@step_up(\"mfa\")\npermit(principal, action, resource);", "1:1"),
        ("@step_up_max_age(\"soon\") @step_up(\"mfa\") forbid(principal, action, resource);", "1:1"),
        ("\n\n  @id\n  forbid(principal, action, resource);", "3:3"),
        ("permit(principal, action == Valet::Action::\"reach\", resource) when { ip(\"10.0.0.0/99\").isIpv4() };", "1:70"),
        ("permit(principal, action, resource) when { 1 + \"a\" == 2 };", "1:48"),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (text, place))| (format!("f{n:02}.cedar"), text.to_owned(), place))
    .collect();
    let mut files: Vec<(&str, &str)> = broken.iter().map(|(file, text, _)| (file.as_str(), text.as_str())).collect();
    let good = format!("permit{ALL};");
    files.push(("z.cedar", &good));
    let found = faults(&files);
    for (file, text, place) in &broken {
        assert!(
            found.iter().any(|line| line.starts_with(&format!("{file}:{place} "))),
            "{file}:{place} {text}: {found:#?}"
        );
    }
    assert!(!found.iter().any(|line| line.starts_with("z.cedar")));
    assert!(
        !found.iter().any(|line| line.contains("for policy `")),
        "our numbers of policies are nobody's business: {found:#?}"
    );
}

#[test]
fn where_the_declarations_of_claims_are_faulty_all_that_has_nothing_to_do_with_them_is_still_found() {
    let text = "permit(principal, action, resource) when { principal.claims has phone && principal.claims.phone == \"1\" };\n\
                permit(principal, action, resource) when { principal.colour == \"red\" };\n";
    let compiled = compile(&sources(&[("a.cedar", text)]), None, None);
    let lines: Vec<String> = compiled.faults.iter().map(|fault| shown(&[("a.cedar", text)], fault)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("a.cedar:2:44 ") && compiled.policies.is_none(), "{lines:#?}");
}

#[test]
fn groups_of_which_no_claim_tells_are_worth_a_look() {
    let text = "\npermit(principal in Valet::Group::\"a\", action, resource);\n\
                permit(principal, action, resource) when { principal in Valet::Group::\"b\" };\n\
                forbid(principal, action == Valet::Action::\"renew\", resource);\n";
    let told = |claims: &str| {
        let claims: ClaimsFile = toml::from_str(claims).unwrap();
        let compiled = compile(&sources(&[("a.cedar", text)]), Some(&claims), None);
        assert!(compiled.policies.is_some());
        compiled.warnings.iter().map(|fault| shown(&[("a.cedar", text)], fault)).collect::<Vec<_>>()
    };
    assert_eq!(told("groups = \"groups\""), Vec::<String>::new());
    let message = "claims.toml has no `groups`, the claim that says who is in a group: nobody is in this one";
    assert_eq!(told(""), [format!("a.cedar:2:1 {message}"), format!("a.cedar:3:1 {message}")]);
}

#[test]
fn cedars_own_help_is_kept() {
    let found = faults(&[("a.cedar", "permit(principal, action == Valet::Action::\"opn\", resource);")]);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("; did you mean `Valet::Action::\"open\"`?"), "{found:?}");
}

#[test]
fn a_name_stands_once_in_all_files() {
    let text = "@id(\"one\")\npermit(principal, action, resource);\n";
    let found = faults(&[("a.cedar", text), ("b.cedar", &format!("\n{text}"))]);
    assert_eq!(found, ["b.cedar:2:1 @id(\"one\") stands at a.cedar:1 already"]);
}

#[test]
fn what_the_configuration_does_not_have_is_worth_a_look() {
    let inventory = Inventory {
        plugins: [("scan".to_owned(), "acme".to_owned())].into(),
        providers: ["acme".to_owned()].into(),
        apps: ["portal".to_owned()].into(),
    };
    let text = "permit(principal, action, resource == Valet::Plugin::\"scan\");\n\
                permit(principal, action, resource in Valet::Provider::\"acme\");\n\
                permit(principal, action, resource == Valet::App::\"portal\");\n\
                permit(principal, action, resource == Valet::Plugin::\"scna\");\n\
                permit(principal, action, resource in Valet::Provider::\"amce\");\n\
                permit(principal, action, resource) when { resource == Valet::App::\"protal\" };\n";
    let compiled = compile(&sources(&[("a.cedar", text)]), Some(&claims()), Some(&inventory));
    assert!(compiled.policies.is_some());
    let lines: Vec<String> = compiled.warnings.iter().map(|fault| shown(&[("a.cedar", text)], fault)).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, (place, name)) in lines.iter().zip([("4:1", "scna"), ("5:1", "amce"), ("6:1", "protal")]) {
        assert!(
            line.starts_with(&format!("a.cedar:{place} the configuration has no ")) && line.contains(name),
            "{line}"
        );
    }
}

#[test]
fn cases_that_can_t_be_asked_are_faults() {
    let policies = set("@id(\"all\") permit(principal, action, resource);");
    let inventory = Inventory { plugins: [("scan".to_owned(), "acme".to_owned())].into(), ..Inventory::default() };
    let session = |rest: &str| format!("session = {{ issuer = \"i\", subject = \"s\", {rest} }}");
    for (text, keys) in [
        ("action = \"open\"\nresource = \"scan\"\ncontext = { edge = \"e\" }".to_owned(), "context.edge"),
        ("action = \"mint\"\nresource = \"scan\"\ncontext = { path = \"/\" }".to_owned(), "context.path"),
        ("action = \"mint\"\nresource = \"scan\"\ncontext = { reason = \"why\" }".to_owned(), "context.reason"),
        ("action = \"open\"\nresource = \"scan\"\ncontext = { path = \"x\" }".to_owned(), "context.path"),
        ("action = \"open\"\nresource = \"scna\"".to_owned(), "resource"),
        ("action = \"reach\"\nresource = \"scan\"".to_owned(), "resource"),
        ("action = \"open\"\nresource = \"scan\"\nprovider = \"other\"".to_owned(), "provider"),
        ("action = \"open\"\nresource = \"scan\"\npolicy = \"none\"".to_owned(), "policy"),
        (
            format!("action = \"open\"\nresource = \"scan\"\n{}", session("claims = { phone = \"1\" }")),
            "session.claims.phone",
        ),
        (
            format!("action = \"open\"\nresource = \"scan\"\n{}", session("claims = { level = \"1\" }")),
            "session.claims.level",
        ),
    ] {
        let file: CasesFile = toml::from_str(&format!("[[case]]\nname = \"c\"\nexpect = \"deny\"\n{text}")).unwrap();
        let faults = file.cases[0].faults(&claims(), Some(&policies), Some(&inventory));
        assert_eq!(faults.iter().map(|(keys, _)| keys.join(".")).collect::<Vec<_>>(), [keys], "{text}: {faults:?}");
    }
}
