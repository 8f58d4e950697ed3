//! Whatever the policies and claims are: nothing panics, nothing that fails opens, and no answer is another token's.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::policy::{Action, Authorizer, Authorizers, Circumstances, Decision, Denied, Person, Target};
use crate::session::{Memo, Session, Trait, Traits};
use crate::telemetry::Metrics;

fn metrics() -> Metrics {
    Metrics::new("0.0.0", "test").unwrap()
}

fn session(traits: Traits) -> Session {
    Session {
        issuer: "https://idp.example.com".into(),
        namespace: "https://idp.example.com".into(),
        subject: "ada".into(),
        external_id: "ada".into(),
        name_fault: None,
        log_id: "".into(),
        person: [0; 16],
        revocable: None,
        ends: Timestamp::from_millis(0),
        fields: Box::default(),
        session_name: crate::session::SessionName::Token([0; 32]),
        claims: Box::default(),
        traits: Some(Box::new(traits)),
        assertable: Box::default(),
        memo: Memo::default(),
        signed: crate::session::Signed::default(),
    }
}

fn word() -> impl Strategy<Value = Box<str>> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("\u{0}\"\\é")].prop_map(Box::from)
}

fn words() -> impl Strategy<Value = Box<[Box<str>]>> {
    vec(word(), 0..4).prop_map(Vec::into_boxed_slice)
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    let any = prop_oneof![
        Just(0),
        Just(-1),
        Just(i64::MAX),
        Just(i64::MIN),
        NOW.as_millis() - 7_200_000..NOW.as_millis() + 7_200_000
    ];
    proptest::option::of(any.prop_map(Timestamp::from_millis))
}

fn claim() -> impl Strategy<Value = (Box<str>, Trait)> {
    prop_oneof![
        word().prop_map(|text| ("email".into(), Trait::Text(text))),
        any::<i64>().prop_map(|number| ("level".into(), Trait::Integer(number))),
        any::<bool>().prop_map(|value| ("staff".into(), Trait::Boolean(value))),
        words().prop_map(|texts| ("roles".into(), Trait::Set(texts))),
    ]
}

fn traits() -> impl Strategy<Value = Traits> {
    (proptest::option::of(word()), words(), words(), time(), time(), words(), vec(claim(), 0..3)).prop_map(
        |(acr, amr, scopes, auth_time, issued_at, groups, claims)| {
            // A token has each claim once.
            let claims: std::collections::BTreeMap<Box<str>, Trait> = claims.into_iter().collect();
            Traits { acr, amr, scopes, auth_time, issued_at, groups, claims: claims.into_iter().collect() }
        },
    )
}

/// Conditions over what a token and the time say.
fn condition() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "principal in Valet::Group::\"a\"",
        "principal in Valet::Group::\"b\"",
        "principal has acr && principal.acr == \"a\"",
        "principal.amr.contains(\"b\")",
        "principal.scopes.containsAny([\"a\", \"c\"])",
        "principal has auth_time && context.now.durationSince(principal.auth_time) < duration(\"1h\")",
        "principal has issued_at && principal.issued_at.offset(duration(\"1h\")) > context.now",
        "principal.claims has email && principal.claims.email like \"*a*\"",
        // Overflows for most numbers.
        "principal.claims has level && principal.claims.level * 3 + 9223372036854775000 > 0",
        "principal.claims has staff && principal.claims.staff",
        "principal.claims has roles && principal.claims.roles.containsAll([\"a\"])",
    ])
}

fn policy() -> impl Strategy<Value = String> {
    let effect = proptest::sample::select(vec!["permit", "permit", "permit", "forbid", "@step_up(\"mfa\") forbid"]);
    let action = proptest::sample::select(vec![
        "action",
        "action in Valet::Action::\"use\"",
        "action == Valet::Action::\"renew\"",
    ]);
    let keyword = proptest::sample::select(vec!["when", "unless"]);
    (effect, action, keyword, condition()).prop_map(|(effect, action, keyword, condition)| {
        format!("{effect}(principal, {action}, resource) {keyword} {{ {condition} }};")
    })
}

/// A policy about everybody, or about one person or group: with that in its scope, where it is looked up by name, and as its first condition.
fn of_somebody() -> impl Strategy<Value = (String, String)> {
    let whom = proptest::sample::select(vec![
        "",
        " in Valet::Group::\"a\"",
        " in Valet::Group::\"b\"",
        " == Valet::User::\"i a\"",
        " in Valet::User::\"i b\"",
        " is Valet::User in Valet::Group::\"c\"",
    ]);
    let effect = proptest::sample::select(vec!["permit", "permit", "permit", "forbid", "@step_up(\"mfa\") forbid"]);
    let keyword = proptest::sample::select(vec!["when", "unless"]);
    (whom, effect, keyword, condition()).prop_map(|(whom, effect, keyword, condition)| {
        let rest = format!("{keyword} {{ {condition} }};");
        let first = if whom.is_empty() { String::new() } else { format!("when {{ principal{whom} }} ") };
        (
            format!("{effect}(principal{whom}, action, resource) {rest}"),
            format!("{effect}(principal, action, resource) {first}{rest}"),
        )
    })
}

fn authorizer(policies: &Arc<Policies>) -> Authorizer {
    Authorizers::new(Some(policies.clone()), &metrics())
        .of(Target::Plugin("scan", "acme"), &[Action::Open, Action::Renew])
}

/// What the policies say without any memory, one policy after the other.
fn expected(policies: &Arc<Policies>, action: Action, person: &Person<'_>, now: Timestamp) -> Decision {
    authorizer(policies).decide(action, person, || vec![Circumstances::at(now)]).unwrap()
}

fn label(outcome: &Result<crate::policy::Permit, Denied>) -> &'static str {
    match outcome {
        Ok(_) => "permit",
        Err(Denied::Denied) => "deny",
        Err(Denied::StepUp(_)) => "step_up",
        Err(Denied::Failed) => "error",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("VALET_LONG").is_some() { 20_000 } else { 200 }))]

    /// Two tokens of one person, asked in any order while time goes on: each gets what the policies say to it now.
    #[test]
    fn two_tokens_of_one_subject_never_share_a_verdict(
        policies in vec(policy(), 1..6),
        one in traits(),
        other in traits(),
        steps in vec((any::<bool>(), any::<bool>(), prop_oneof![Just(0_u64), Just(1), Just(999), Just(1000), Just(3_600_000)]), 1..12),
    ) {
        let policies = set(&policies.join("\n"));
        let authorizer = authorizer(&policies);
        let (clock, clock_control) = Clock::manual(NOW);
        let sessions = [session(one), session(other)];
        // When each of them was asked last, by action.
        let mut asked: [[Option<Timestamp>; 2]; 2] = [[None; 2]; 2];
        for (who, renew, wait) in steps {
            clock_control.advance(std::time::Duration::from_millis(wait));
            let (session, action) = (&sessions[usize::from(who)], if renew { Action::Renew } else { Action::Open });
            let now = clock.now();
            let judged = authorizer.judge(action, Some(session), &clock, |_| unreachable!("nothing of the request is read"));
            let since = &mut asked[usize::from(who)][usize::from(renew)];
            // An answer may be that of up to a second ago, and of no other time.
            let told = since.filter(|at| now.since(*at).as_millis() < 1000).unwrap_or(now);
            let decision = expected(&policies, action, &Person::from(session), told);
            let fresh = expected(&policies, action, &Person::from(session), now);
            prop_assert!([decision.label(), fresh.label()].contains(&label(&judged.outcome)), "{:?}", judged);
            if told == now {
                *since = Some(now);
                prop_assert_eq!(label(&judged.outcome), fresh.label());
            }
        }
    }

    /// Policies whose scope names somebody else are not asked at all: that changes no answer, and no name in it.
    #[test]
    fn a_policy_says_the_same_whether_its_scope_or_its_condition_names_whom_it_is_about(
        policies in vec(of_somebody(), 0..10),
        traits in traits(),
        subject in word(),
    ) {
        let (by_scope, by_condition): (Vec<String>, Vec<String>) = policies.into_iter().unzip();
        let (by_scope, by_condition) = (set(&by_scope.join("\n")), set(&by_condition.join("\n")));
        for person in [Person::said("i", &subject, None, &traits), Person::anonymous()] {
            let decide = |policies| expected(policies, Action::Open, &person, NOW);
            prop_assert_eq!(decide(&by_scope), decide(&by_condition));
        }
    }

    /// People who are alike to the policies share an answer, and nobody gets another's: each gets what would be said to that person alone.
    #[test]
    fn who_is_alike_shares_an_answer_and_nobody_gets_another_s(
        policies in vec(of_somebody(), 0..5),
        people in vec(traits(), 1..6),
    ) {
        let policies: Vec<String> = policies.into_iter().map(|(by_scope, _)| by_scope).collect();
        let policies = set(&policies.join("\n"));
        let (authorizer, (clock, _)) = (authorizer(&policies), Clock::manual(NOW));
        let sessions = people.into_iter().flat_map(|traits| {
            ["a", "b", "c"].map(|subject| Session { namespace: "i".into(), subject: subject.into(), ..session(traits.clone()) })
        });
        for session in sessions.map(Some).chain([None, None]) {
            let judged = authorizer.judge(Action::Open, session.as_ref(), &clock, |_| unreachable!("nothing of the request is read"));
            let person = session.as_ref().map_or_else(Person::anonymous, Person::from);
            let alone = expected(&policies, Action::Open, &person, NOW);
            prop_assert_eq!(label(&judged.outcome), alone.label());
            prop_assert_eq!(judged.policy.as_deref(), authorizer.name(&alone));
        }
    }

    /// A policy that fails in evaluation never opens, whatever stands beside it.
    #[test]
    fn a_policy_that_fails_never_opens(policies in vec(policy(), 0..6), traits in traits(), at in 0..6_usize) {
        let failing = "permit(principal, action, resource) when { 9223372036854775807 + (if principal.issuer == \"\" then 0 else 1) > 0 };";
        let mut policies = policies;
        policies.insert(at.min(policies.len()), failing.to_owned());
        let policies = set(&policies.join("\n"));
        for action in [Action::Open, Action::Renew] {
            let decision = expected(&policies, action, &Person::said("i", "s", None, &traits), NOW);
            prop_assert_eq!(decision.label(), "error");
        }
    }

    /// Whatever stands in the files, reading them ends in a set or in faults whose places are in the files.
    #[test]
    fn no_text_makes_the_reader_panic(text in policy_like()) {
        let compiled = compiled(&[("a.cedar", &text)]);
        prop_assert!(compiled.policies.is_some() == compiled.faults.is_empty());
        for fault in compiled.faults.iter().chain(&compiled.warnings) {
            prop_assert!(fault.file != "a.cedar" || fault.offset <= text.len(), "{fault:?} in {text:?}");
        }
    }
}

/// Pieces of policies in any order, and anything else.
fn policy_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => proptest::sample::select(vec![
            "permit", "forbid", "(", ")", "principal", "action", "resource", ",", ";", "when", "unless", "{", "}", "==", "in", "is", "has", "like",
            "&&", "||", "!", "context", ".", "now", "path", "\"a\"", "Valet::User", "::", "Valet::Group::\"g\"", "?principal", "@id", "@step_up", "(\"x\")",
            "[", "]", "1", "9223372036854775808", "-", "ip(\"x\")", "datetime(\"2026-01-01\")", "if", "then", "else", "true", "//", "\n", "é", "\u{0}",
        ]).prop_map(str::to_owned),
        1 => policy(),
        1 => any::<String>(),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

#[test]
fn deeply_nested_policies_are_read_or_refused_and_never_too_much() {
    for depth in [10, 100, 1000, 2000] {
        for (open, close) in [("(", ")"), ("[", "]"), ("!", ""), ("if true then ", " else false")] {
            let text = format!(
                "permit(principal, action, resource) when {{ {}true{} }};",
                open.repeat(depth),
                close.repeat(depth)
            );
            let compiled = compiled(&[("a.cedar", &text)]);
            if let Some(policies) = compiled.policies {
                let decision = expected(&Arc::new(policies), Action::Open, &Person::anonymous(), NOW);
                assert!(
                    matches!(decision, Decision::Permit(_) | Decision::Error(_) | Decision::Deny(_)),
                    "{decision:?}"
                );
            }
        }
        for (first, operator, last) in [
            ("true", " && true", ""),
            ("false", " || true", ""),
            ("1", " - 1", " < 2"),
            ("1", " + 0", " < 2"),
            ("1", " * 1", " < 2"),
        ] {
            let chain =
                format!("permit(principal, action, resource) when {{ {first}{}{last} }};", operator.repeat(depth));
            let compiled = compiled(&[("a.cedar", &chain)]);
            assert!(compiled.faults.is_empty() || depth > 100, "{operator}: {:?}", compiled.faults);
        }
    }
    let long = format!("permit(principal, action, resource) when {{ \"{}\" == \"\" }};", "x".repeat(33 * 1024));
    let compiled = compiled(&[("a.cedar", &long)]);
    assert!(compiled.faults.iter().any(|fault| fault.message.contains("32 KiB")), "{:?}", compiled.faults);
}
