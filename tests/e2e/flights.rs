//! One mint for any number of callers, owned by none of them.

use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::{CallKind, Faults};

use crate::kit::{FACE_SCAN, Setup, Stack};

/// 400 requests at once for one user; their URLs, each once.
async fn four_hundred(stack: &Stack) -> Vec<String> {
    let mut sent = Vec::new();
    for n in 0..400 {
        let ask = stack.get(FACE_SCAN);
        sent.push(if n % 2 == 0 { ask.as_user("ada") } else { ask.as_browser_of("ada") }.start().await);
    }
    let mut urls = Vec::new();
    for sent in &mut sent {
        urls.push(sent.answer().await.assert_status(302).location().to_owned());
    }
    urls.sort();
    urls.dedup();
    urls
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_requests_at_once_for_a_cold_user_are_one_mint_and_one_url() {
    let stack = Stack::start().await;
    stack.until_ready().await;
    let urls = four_hundred(&stack).await;
    assert_eq!(urls.len(), 1);
    assert_eq!((stack.vendor().mint_count(), stack.vendor().registrations()), (1, 1));
    assert_eq!(stack.mints("ok"), 1);
    assert_eq!(stack.count("valet_leases_total", &[("source", "minted")]), 1);
    let others = ["hit", "joined"].map(|source| stack.count("valet_leases_total", &[("source", source)]));
    assert_eq!(others.iter().sum::<u64>(), 399);
}

#[tokio::test]
async fn four_hundred_who_wait_for_a_slow_vendor_are_one_mint() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::hang());
    let (urls, ()) = tokio::join!(four_hundred(&stack), async {
        stack.until_sessions(400).await;
        stack.vendor_does(Faults::default());
    });
    assert_eq!(urls.len(), 1);
    assert_eq!((stack.vendor().mint_count(), stack.vendor().registrations()), (1, 1));
    assert_eq!(stack.count("valet_leases_total", &[("source", "joined")]), 399);
}

#[tokio::test]
async fn a_mint_outlives_the_caller_who_started_it() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::hang());
    let first = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(1).await;
    let mut second = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(2).await;
    drop(first);
    let mut third = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(3).await;
    stack.vendor_does(Faults::default());
    let url = second.answer().await.assert_status(302).location().to_owned();
    assert_eq!(third.answer().await.assert_status(302).location(), url);
    assert_eq!((stack.vendor().mint_count(), stack.vendor().registrations()), (1, 1));
}

#[tokio::test]
async fn a_mint_that_all_have_left_is_held_for_the_next() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::hang().on(valet_gateway::demo::provider::On::Mint));
    let only = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.vendor().until_mints(1).await;
    drop(only);
    stack.vendor_does(Faults::default());
    stack.url_of("ada").await;
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn all_who_wait_for_a_mint_that_fails_are_told_so_at_once_and_it_is_not_repeated() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::hang());
    let mut sent = Vec::new();
    for _ in 0..50 {
        sent.push(stack.get(FACE_SCAN).as_user("ada").start().await);
    }
    stack.until_sessions(50).await;
    stack.vendor_does(Faults::status(500));
    for sent in &mut sent {
        sent.answer().await.assert_problem(502, "provider-unavailable");
    }
    assert_eq!((stack.vendor().calls().len(), stack.mints("unreachable")), (1, 1));
}

#[tokio::test]
async fn the_same_subject_of_two_issuers_is_two_persons() {
    let stack = Setup::new().issuers(&["one|{sub}", "{sub}"]).start().await;
    let url = async |idp: usize| {
        let token = stack.token_of(idp, "ada");
        let url = stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302).location().to_owned();
        assert_eq!(stack.get(FACE_SCAN).bearer(&token).send().await.location(), url);
        url
    };
    assert_ne!(url(0).await, url(1).await);
    assert_eq!(stack.vendor().users(), ["ada", "one|ada"]);
    assert_eq!((stack.vendor().mint_count(), stack.vendor().registrations()), (2, 2));
    let both = stack.get(FACE_SCAN).bearer(stack.token_of(0, "ada")).cookie(stack.token_of(1, "ada")).send().await;
    both.assert_problem(400, "bad-request");
}

/// `corp-ada` of the one issuer would be `ada` of the other: at the vendor, in its dashboard and in its bill.
#[tokio::test]
async fn a_subject_that_reads_as_another_issuers_is_not_permitted_and_counted() {
    for order in [[0, 1], [1, 0]] {
        let external_ids = ["corp-{sub}", "{sub}"];
        let setup = Setup::new().issuers(&order.map(|at| external_ids[at]));
        let stack = setup.start().await;
        let [corp, open] = [0, 1].map(|wanted| order.iter().position(|at| *at == wanted).unwrap());
        let get = async |idp: usize, user: &str| stack.get(FACE_SCAN).bearer(stack.token_of(idp, user)).send().await;
        get(corp, "ada").await.assert_status(302);
        get(open, "corp-ada").await.assert_problem(403, "not-permitted");
        stack
            .post(FACE_SCAN)
            .bearer(stack.token_of(open, "corp-ada"))
            .send()
            .await
            .assert_problem(403, "not-permitted");
        get(open, "corp").await.assert_status(302);
        get(open, "ada").await.assert_status(302);
        // With the longer beginning before it, it reads as nobody else's.
        get(corp, "corp-ada").await.assert_status(302);
        assert_eq!(stack.vendor().users(), ["ada", "corp", "corp-ada", "corp-corp-ada"]);
        assert_eq!(stack.answered("forbidden"), 2);
    }
}

#[tokio::test]
async fn a_claim_that_holds_the_separator_of_the_vendors_id_is_not_permitted_and_counted() {
    let stack = Setup::new().issuers(&["{claim:org}:{sub}"]).start().await;
    let get = async |org: &str, user: &str| {
        let token = stack.idp().token(&TokenRequest::user(user).claim("org", org));
        stack.get(FACE_SCAN).bearer(token).send().await
    };
    get("a", "b:c").await.assert_status(302);
    get("a:b", "c").await.assert_problem(403, "not-permitted");
    assert_eq!(stack.vendor().users(), ["a:b:c"]);
    assert_eq!(stack.answered("forbidden"), 1);
}

#[tokio::test]
async fn the_subjects_of_a_moved_issuer_keep_their_lease_and_their_registration() {
    let stack = Setup::new().moved_issuer().start().await;
    let [old, new] = [0, 1].map(|idp| stack.token_of(idp, "ada"));
    let url = stack.get(FACE_SCAN).bearer(&old).send().await.assert_status(302).location().to_owned();
    assert_eq!(stack.get(FACE_SCAN).bearer(&new).send().await.assert_status(302).location(), url);
    // One person, so one of the two counts; another person's token beside it does not.
    let both = stack.get(FACE_SCAN).bearer(&new).cookie(&old).send().await;
    assert_eq!(both.assert_status(302).location(), url);
    let other = stack.get(FACE_SCAN).bearer(&new).cookie(stack.token_of(0, "bob")).send().await;
    other.assert_problem(400, "bad-request");
    // A new scan by the one is the other's too.
    let again = stack.post(FACE_SCAN).bearer(&new).send().await.assert_status(303).location().to_owned();
    assert_ne!(again, url);
    assert_eq!(stack.get(FACE_SCAN).bearer(&old).send().await.location(), again);
    assert_eq!(stack.vendor().users(), ["ada"]);
    assert_eq!((stack.vendor().mint_count(), stack.vendor().registrations()), (2, 1));
    let lines = stack.lines.all(6).await;
    assert_eq!(lines[0]["subject"], lines[1]["subject"]);
}

#[tokio::test]
async fn subjects_reach_the_vendor_as_they_are() {
    let stack = Stack::start().await;
    let subjects = ["auth0|a b", "a/../b", "a&x=1", "\"}", "é", "%2e%2e", "a+b", "a?b#c", "{subject}"];
    for subject in subjects {
        stack.url_of(subject).await;
        let calls = stack.vendor().calls();
        let mint = calls.last().unwrap();
        assert_eq!(mint.kind, CallKind::Mint);
        assert_eq!(mint.parameter("external_user_id").as_deref(), Some(subject));
    }
    let mut expected = subjects.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(stack.vendor().users(), expected);
}
