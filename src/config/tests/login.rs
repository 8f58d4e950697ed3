//! `login_url` must lead to where one can sign in.

use super::*;

const APP: &str = "upstreams = [\"127.0.0.1:3000\"]";

fn warnings(text: &str) -> Vec<String> {
    parse(text).unwrap().warnings.into_iter().filter(|warning| warning.contains("login_url")).collect()
}

/// [`GOOD`] with a login page for all, and these tables.
fn with_login(url: &str, tables: &str) -> String {
    with("[session]", &format!("login_url = \"{url}\"")) + &tables.replace("APP", APP)
}

#[test]
fn a_login_url_that_leads_to_an_app_that_needs_a_session_is_a_warning() {
    let required = "[[app]]\nname = \"portal\"\nAPP\n";
    for url in ["/login", "/login?x=1#top", "https://app.example.com/login", "https://APP.example.com:443"] {
        let warned = warnings(&with_login(url, required));
        assert_eq!(warned.len(), 1, "{url}: {warned:#?}");
        assert!(
            warned[0].starts_with("session.login_url: leads to the app \"portal\", which needs a session"),
            "{warned:#?}"
        );
        assert!(warned[0].contains("session = \"none\""), "{warned:#?}");
    }
    for url in ["https://login.example.org/login", "https://example.com/login"] {
        assert_eq!(warnings(&with_login(url, required)), [""; 0], "{url}");
    }
    let plugin = warnings(&with_login("/plugins/face-scan", ""));
    assert!(plugin[0].starts_with("session.login_url: leads to the plug-in \"face-scan\","), "{plugin:#?}");
}

#[test]
fn the_right_layout_and_a_login_page_elsewhere_are_no_warning() {
    let required = "[[app]]\nname = \"portal\"\nAPP\n";
    for need in ["none", "optional"] {
        let open = format!("[[app]]\nname = \"sign-in\"\npath = \"/login\"\nsession = \"{need}\"\nAPP\n");
        assert_eq!(warnings(&with_login("/login", &format!("{required}{open}"))), [""; 0], "{need}");
        assert_eq!(warnings(&with_login("/logins", &format!("{required}{open}"))).len(), 1, "{need}");
    }
    assert_eq!(warnings(&with_login("/login", "")), [""; 0]);
}

#[test]
fn each_key_is_judged_by_the_host_of_its_route() {
    let elsewhere = "[[app]]\nname = \"wiki\"\nhost = \"wiki.example.com\"\nlogin_url = \"/in\"\nAPP\n";
    let here = "[[app]]\nname = \"sign-in\"\npath = \"/in\"\nhost = \"app.example.com\"\nsession = \"none\"\nAPP\n";
    let warned = warnings(&(GOOD.to_owned() + &format!("{elsewhere}{here}").replace("APP", APP)));
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert!(warned[0].starts_with("app.login_url: leads to the app \"wiki\""), "{warned:#?}");
    let there = here.replace("app.example.com", "*.example.com");
    let warned = warnings(&(GOOD.to_owned() + &format!("{elsewhere}{there}").replace("APP", APP)));
    assert_eq!(warned.len(), 1, "an exact host comes first: {warned:#?}");
    let named = elsewhere.replace("\"/in\"", "\"https://app.example.com/in\"");
    assert_eq!(warnings(&(GOOD.to_owned() + &format!("{named}{here}").replace("APP", APP))), [""; 0]);
    let plugin = with("reuse = \"user\"", "login_url = \"https://wiki.example.com/in\"");
    let warned = warnings(&(plugin + &elsewhere.replace("login_url = \"/in\"\n", "").replace("APP", APP)));
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert!(warned[0].starts_with("plugin.login_url: leads to the app \"wiki\""), "{warned:#?}");
}

#[test]
fn an_origin_of_an_app_is_written_as_browsers_send_it() {
    let app =
        |origins: &str| GOOD.to_owned() + &format!("[[app]]\nname = \"portal\"\n{APP}\nallowed_origins = {origins}\n");
    assert_faults(&app("[\"https://spa.example.com\"]"), &[]);
    assert_faults(
        &app("[\"https://spa.example.com\", \"https://spa.example.com/\"]"),
        &["app.allowed_origins: write the origin as \"https://spa.example.com\""],
    );
    assert_eq!(faults(&app("[\"*\", \"null\", \"http://spa.example.com\"]")).len(), 3);
}
