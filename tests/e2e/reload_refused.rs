//! A configuration that can't be put in force whole is not put in force at all.

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::{App, FACE_SCAN, Setup};

/// Each way to fail, as a change of the file: how far the new configuration is built when it fails.
const BROKEN: &[(&str, &str, &str)] = &[
    // It can't be read.
    ("[server]", "[server", "not TOML"),
    ("[server]", "[sever]", "sever"),
    // It contradicts itself.
    ("provider = \"intelliprove\"", "provider = \"nobody\"", "no [[provider]] with this name"),
    ("reuse = \"user\"", "reuse = \"users\"", "reuse"),
    ("path = \"/portal/\"", "path = \"portal\"", "app.path"),
    ("audiences = [\"my-app\"]", "audiences = []", "audiences"),
    // It names files that are not there, or hold something else.
    ("file = \"key-0\"", "file = \"gone\"", "gone"),
    ("directory = \"policies\"", "directory = \"gone\"", "gone"),
    ("redirect_hosts = [\"127.0.0.1\"]", "redirect_hosts = [\"127.0.0.1\"]\nca = \"gone.pem\"", "gone.pem"),
    ("redirect_hosts = [\"127.0.0.1\"]", "redirect_hosts = [\"127.0.0.1\"]\nca = \"key-0\"", "key-0"),
    (
        "path = \"/portal/\"",
        "path = \"/portal/\"\nclient_certificate = { chain = \"x\", key = \"y\" }",
        "client_certificate",
    ),
    ("keys = { discovery = true }", "keys = { jwks_file = \"gone.json\" }", "gone.json"),
    ("[admin]\n", "[admin]\ntoken = { file = \"gone\" }\n", "gone"),
    ("[session]\n", "[log]\nsubject_key = { env = \"NOT_SET_IN_ANY_TEST\" }\n[session]\n", "NOT_SET_IN_ANY_TEST"),
    (
        "address = \"127.0.0.1:0\"\n",
        "address = \"127.0.0.1:0\"\ntls = [{ chain = \"gone\", key = \"gone\" }]\n",
        "gone",
    ),
    // It needs a new process.
    ("[server]\n", "[server]\nthreads = 7\n", "server.threads"),
    ("[session]\n", "[log]\nlevel = \"debug\"\n[session]\n", "log.level"),
    (
        "[session]\n",
        "[leases]\nstore = \"file\"\npath = \"leases\"\nseal_keys = [{ file = \"seal\" }]\n[session]\n",
        "leases.store",
    ),
    // An address can't be had: of this machine, and at all.
    ("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"TAKEN\"", "TAKEN"),
    ("[[listener]]\n", "[[listener]]\naddress = \"TAKEN\"\n[[listener]]\n", "TAKEN"),
    ("[[listener]]\n", "[[listener]]\naddress = \"192.0.2.1:1\"\n[[listener]]\n", "192.0.2.1:1"),
    ("[[listener]]\n", "[[listener]]\naddress = \"unix:/gone/valet.sock\"\n[[listener]]\n", "/gone"),
];

#[tokio::test]
async fn whatever_is_wrong_with_the_new_one_the_old_one_serves_on_whole() {
    let app = App::start().await;
    let seal = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=";
    let setup = Setup::new().file("seal", seal).policies(&[("all.cedar", "permit (principal, action, resource);")]);
    let stack = setup.app(&app, "path = \"/portal/\"").start().await;
    let (good, url) = (stack.config(), stack.url_of("ada").await);
    let addresses = stack.gateway().addresses_now();
    let mut asked = 1;
    for (from, to, says) in BROKEN {
        assert!(good.contains(from), "{from:?} is not in:\n{good}");
        // Nobody else can listen where the gateway does.
        let (to, says) = (to.replace("TAKEN", &stack.address), says.replace("TAKEN", &stack.address));
        // With a change that would be seen if only it were put in force.
        let seen = good.replace("path = \"/plugins/face-scan\"\n", "path = \"/plugins/moved\"\n");
        let faults = stack.refused(&seen.replacen(from, &to, 1)).await;
        assert!(faults.iter().any(|fault| fault.contains(&says)), "{says}: {faults:#?}");
        assert_eq!(stack.url_of("ada").await, url, "after {says}");
        stack.get("/plugins/moved").as_user("ada").send().await.assert_status(404);
        stack.get("/portal/").as_user("ada").send().await.assert_status(200);
        asked += 1;
    }
    assert_eq!(stack.gateway().addresses_now(), addresses);
    assert_eq!(stack.count("valet_reloads_total", &[("outcome", "refused")]), asked - 1);
    assert_eq!((stack.mints("ok"), stack.count("valet_reloads_total", &[("outcome", "applied")])), (1, 0));
    // And a good one is still taken.
    let moved = good.replace("path = \"/plugins/face-scan\"", "path = \"/plugins/moved\"");
    assert_eq!(stack.reload_with(&moved).await, ["plugin.face-scan"]);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(404);
}

#[tokio::test]
async fn every_fault_is_told_at_once_as_valet_check_tells_it() {
    let stack = Setup::new().start().await;
    let broken =
        stack.config().replace("reuse = \"user\"", "reuse = \"users\"").replace("mint = \"face-scan\"", "mints = 1");
    let faults = stack.refused(&broken).await;
    let check = valet_gateway::config::Config::parse(&broken, "valet.toml", stack.directory.path());
    let check: Vec<String> = check.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(faults, check);
    assert!(faults.len() > 1, "{faults:?}");
}

#[tokio::test]
async fn policies_that_can_t_be_read_are_refused_and_the_old_set_still_judges() {
    let patients = "permit(principal in Valet::Group::\"patients\", action, resource);";
    let setup = Setup::new().policies(&[("a.cedar", patients), ("claims.toml", "groups = \"groups\"\n")]);
    let stack = setup.start().await;
    let token = |groups: &str| stack.idp().token(&TokenRequest::user("ada").claim("groups", vec![groups]));
    let (patient, other) = (token("patients"), token("others"));
    let old_set_judges = async || {
        // Of sessions that were judged before, and of new ones.
        for (token, status) in [(&patient, 302), (&other, 403), (&token("patients"), 302), (&token("others"), 403)] {
            stack.get(FACE_SCAN).bearer(token).send().await.assert_status(status);
        }
    };
    old_set_judges().await;
    let write = |file: &str, text: &str| {
        std::fs::write(stack.directory.path().join("policies").join(file), text).expect("a file of policies");
    };
    // One file that would open to everybody, and beside it one that can't be read: in each way in which one can't.
    write("a.cedar", "permit(principal, action, resource);");
    let mut refused = 0;
    for (file, text, place) in [
        ("b.cedar", "permit(principal, action, resource)", "policies/b.cedar:1:36 "),
        ("b.cedar", "\nforbid(principal, action, resource) when { principal.acr == \"x\" };", "policies/b.cedar:2:"),
        ("claims.toml", "groups = 1\n", "policies/claims.toml:1:10 groups"),
        ("b.cases.toml", "[[case]]\nname = \"c\"\naction = \"view\"\n", "policies/b.cases.toml:3:10 case.action"),
    ] {
        write("claims.toml", "groups = \"groups\"\n");
        write(file, text);
        let faults = stack.refused(&stack.config()).await;
        assert!(faults.iter().any(|fault| fault.contains(place)), "{place}: {faults:#?}");
        refused += 1;
        old_set_judges().await;
        std::fs::remove_file(stack.directory.path().join("policies").join(file)).expect("removed");
    }
    assert_eq!(stack.count("valet_reloads_total", &[("outcome", "refused")]), refused);
    // Mended, it is taken, and judges who is known already too.
    write("claims.toml", "groups = \"groups\"\n");
    assert_eq!(stack.reload_with(&stack.config()).await, ["policies"]);
    stack.get(FACE_SCAN).bearer(&other).send().await.assert_status(302);
}
