//! Recipes that contradict themselves, or lack something: each is named with its place.

use super::*;

const MINT: &str = "[provider.mint.embed]\n";
const CALL: &str = "method = \"POST\"\npath = \"/embed\"\n";
const READ: &str = "url = \"json:/url\"\nexpires = \"fixed\"\n";
const AUTH: &str = "auth = { bearer = true }\n";
const REGISTER: &str = "[provider.register]\npath = \"/users\"\n";

/// What `valet check` would print of a provider of these lines.
fn printed(lines: &str) -> Vec<String> {
    let folder = folder();
    let text = format!(
        "{GOOD}[[provider]]\nname = \"acme\"\nbase_url = \"https://api.acme.example\"\napi_key = {{ file = \"secrets/acme.key\" }}\n\
         redirect_hosts = [\"embed.acme.example\"]\n{lines}"
    );
    Config::parse(&text, "valet.toml", folder.path())
        .err()
        .into_iter()
        .flatten()
        .map(|fault| fault.to_string())
        .collect()
}

/// One with this `auth`.
fn auth(auth: &str) -> String {
    format!("auth = {auth}\n{MINT}{CALL}{READ}")
}

/// One with these lines in its mint.
fn mint(lines: &str) -> String {
    format!("{AUTH}{MINT}{lines}")
}

fn oauth2(more: &str) -> String {
    auth(&format!("{{ oauth2 = {{ token_url = \"https://id.acme.example/token\", client_id = \"c\"{more} }} }}"))
}

fn login(lines: &str) -> String {
    auth(&format!("{{ login = {{ path = \"/login\", token = \"json:/t\"{lines} }} }}"))
}

fn hmac(from: &str, to: &str) -> String {
    let good = "{ hmac = { algorithm = \"sha256\", text = \"{timestamp}{body}\", header = \"x-s\", encoding = \"hex\", timestamp_header = \"x-t\" } }";
    assert!(good.contains(from));
    auth(&good.replace(from, to))
}

fn jwt(more: &str) -> String {
    mint(&format!("jwt = {{ algorithm = \"HS256\", claims = {{ exp = \"{{now+1h:epoch#}}\" }} }}\n{more}"))
}

#[test]
fn what_is_whole_is_no_fault() {
    for good in [
        mint(&format!("{CALL}{READ}")),
        oauth2(""),
        oauth2(", client_auth = \"post\", scope = \"a b\""),
        login(", json = { user = \"u\", password = \"{api_key}\" }"),
        login(", form = { password = \"{api_key}\" }, expires = \"json:/e\""),
        hmac("hex", "base64"),
        auth("{ sigv4 = { region = \"eu-west-1\", service = \"quicksight\", access_key_id = \"AKID\" } }"),
        jwt("url = \"https://embed.acme.example/{jwt}\"\n"),
        jwt("token = \"jwt\"\n"),
        format!("{AUTH}{REGISTER}{MINT}path = \"/u/{{register:/id}}\"\n{READ}"),
        mint(&format!(
            "{CALL}url = \"https://embed.acme.example/{{answer:/room}}?t={{answer:/t}}\"\nexpires = \"json:/e\"\n"
        )),
        mint(&format!(
            "{CALL}token = \"json:/t\"\nexpires = \"jwt\"\nretry = {{ attempts = 2, on = [\"unreachable\", \"503\"] }}\n"
        )),
    ] {
        assert_eq!(printed(&good), Vec::<String>::new(), "{good}");
    }
}

/// Each with the key that is at fault.
fn wrong() -> Vec<(String, &'static str)> {
    vec![
        (auth("{}"), "provider.auth"),
        (auth("{ bearer = true, basic = \"u\" }"), "provider.auth"),
        (auth("{ bearer = false }"), "provider.auth.bearer"),
        (auth("{ bearer = true, prefix = \"Token \" }"), "provider.auth.prefix"),
        (auth("{ header = \"x\", prefix = \" Token\" }"), "provider.auth.prefix"),
        (auth("{ basic = \"a:b\" }"), "provider.auth.basic"),
        (
            auth(
                "{ bearer = true, hmac = { algorithm = \"sha256\", text = \"{body}\", header = \"x\", encoding = \"hex\" } }",
            ),
            "provider.auth",
        ),
        (oauth2("").replace("https://id", "http://id"), "provider.auth.oauth2.token_url"),
        (oauth2("").replace("acme.example/token", "acme.example/token?a=b"), "provider.auth.oauth2.token_url"),
        (oauth2("").replace("\"c\"", "\"\""), "provider.auth.oauth2.client_id"),
        (oauth2(", scope = \"\""), "provider.auth.oauth2.scope"),
        (oauth2(", audience = \"\""), "provider.auth.oauth2.audience"),
        (oauth2(", client_auth = \"none\""), "provider.auth.oauth2.client_auth"),
        (oauth2(", key_id = \"k\""), "provider.auth.oauth2.key_id"),
        (oauth2(", algorithm = \"RS256\""), "provider.auth.oauth2.algorithm"),
        (oauth2(", client_auth = \"private_key_jwt\", algorithm = \"HS256\""), "provider.auth.oauth2.algorithm"),
        (oauth2(", client_auth = \"private_key_jwt\""), "provider.api_key"),
        (login(""), "provider.auth.login.json"),
        (login(", json = { user = \"u\" }"), "provider.auth.login.json"),
        (login(", json = { user = \"{subject}\", password = \"{api_key}\" }"), "provider.auth.login.json"),
        (login(", json = { p = \"{api_key}\" }, form = { p = \"{api_key}\" }"), "provider.auth.login.json"),
        (login(", json = { p = \"{api_key}\" }").replace("json:/t", "text"), "provider.auth.login.token"),
        (login(", json = { p = \"{api_key}\" }").replace("\"/login\"", "\"login\""), "provider.auth.login.path"),
        (hmac("sha256", "md5"), "provider.auth.hmac.algorithm"),
        (hmac("{timestamp}{body}", "{timestamp}{subject}"), "provider.auth.hmac.text"),
        (hmac("{timestamp}{body}", "{body}"), "provider.auth.hmac.text"),
        (hmac("\"hex\"", "\"hax\""), "provider.auth.hmac.encoding"),
        (hmac("\"x-t\"", "\"x-s\""), "provider.auth.hmac.timestamp_header"),
        (hmac("\"x-s\"", "\"content-length\""), "provider.auth.hmac.header"),
        (
            auth("{ sigv4 = { region = \"eu west\", service = \"q\", access_key_id = \"A\" } }"),
            "provider.auth.sigv4.region",
        ),
        (mint(CALL), "provider.mint.embed.url"),
        (mint(&format!("{CALL}url = \"json:/url\"\n")), "provider.mint.embed.expires"),
        (mint(&format!("{CALL}{READ}token = \"json:/t\"\n")), "provider.mint.embed.token"),
        (mint(&format!("{CALL}token = \"jwt\"\nexpires = \"fixed\"\n")), "provider.mint.embed.token"),
        (mint(&format!("{CALL}token = \"json:/t\"\nexpires = \"jwt:t\"\n")), "provider.mint.embed.expires"),
        (mint(&format!("{CALL}url = \"json:/u\"\nexpires = \"jwt\"\n")), "provider.mint.embed.expires"),
        (mint(&format!("{CALL}url = \"text\"\nexpires = \"json:/e\"\n")), "provider.mint.embed.expires"),
        (
            mint(&format!("{CALL}url = \"http://embed.acme.example/{{answer:/a}}\"\nexpires = \"fixed\"\n")),
            "provider.mint.embed.url",
        ),
        (mint(&format!("{CALL}url = \"https://{{answer:/host}}/\"\nexpires = \"fixed\"\n")), "provider.mint.embed.url"),
        (
            mint(&format!("{CALL}url = \"https://embed.acme.example{{answer:/a}}\"\nexpires = \"fixed\"\n")),
            "provider.mint.embed.url",
        ),
        (
            mint(&format!("{CALL}url = \"https://embed.acme.example/{{language}}\"\nexpires = \"fixed\"\n")),
            "provider.mint.embed.url",
        ),
        (
            mint(&format!("{CALL}url = \"https://embed.acme.example/{{jwt}}\"\nexpires = \"fixed\"\n")),
            "provider.mint.embed.url",
        ),
        (
            mint(&format!("{CALL}url = \"https://u@embed.acme.example/{{answer:/a}}\"\nexpires = \"fixed\"\n")),
            "provider.mint.embed.url",
        ),
        (jwt(&format!("{CALL}token = \"jwt\"\n")), "provider.mint.embed.path"),
        (jwt("url = \"json:/url\"\n"), "provider.mint.embed.url"),
        (jwt("url = \"https://embed.acme.example/\"\n"), "provider.mint.embed.url"),
        (jwt("token = \"json:/t\"\n"), "provider.mint.embed.token"),
        (jwt("token = \"jwt\"\nexpires = \"json:/e\"\n"), "provider.mint.embed.expires"),
        (jwt("token = \"jwt\"\n").replace("HS256", "none"), "provider.mint.embed.jwt.algorithm"),
        (
            jwt("token = \"jwt\"\n").replace("claims = {", "header = { alg = \"none\" }, claims = {"),
            "provider.mint.embed.jwt.header.alg",
        ),
        (jwt("token = \"jwt\"\n").replace("exp =", "iat ="), "provider.mint.embed.expires"),
        (jwt("token = \"jwt\"\n").replace("HS256", "RS256"), "provider.api_key"),
        (jwt("token = \"jwt\"\nretry = { attempts = 2, on = [\"503\"] }\n"), "provider.mint.embed.retry"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"1\" }}\nform = {{ a = \"1\" }}\n")), "provider.mint.embed.form"),
        (mint(&format!("path = \"/e\"\n{READ}form = {{ a = \"1\" }}\n")), "provider.mint.embed.form"),
        (mint(&format!("{CALL}{READ}form = {{ a = \"{{now+6h:epoch#}}\" }}\n")), "provider.mint.embed.form.a"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"{{now+6h#}}\" }}\n")), "provider.mint.embed.json.a"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"x{{seconds:6h#}}\" }}\n")), "provider.mint.embed.json.a"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"{{seconds:soon}}\" }}\n")), "provider.mint.embed.json.a"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"{{subject#}}\" }}\n")), "provider.mint.embed.json.a"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"{{register:/id}}\" }}\n")), "provider.mint.embed.json.a"),
        (mint(&format!("{CALL}{READ}json = {{ a = \"{{answer:/id}}\" }}\n")), "provider.mint.embed.json.a"),
        (
            format!("{AUTH}{REGISTER}json = {{ a = \"{{register:/id}}\" }}\n{MINT}{CALL}{READ}"),
            "provider.register.json.a",
        ),
        (
            format!("{AUTH}{REGISTER}{MINT}{CALL}{READ}json = {{ a = \"{{register:id}}\" }}\n"),
            "provider.mint.embed.json.a",
        ),
        (
            mint(&format!("{CALL}{READ}retry = {{ attempts = 0, on = [\"503\"] }}\n")),
            "provider.mint.embed.retry.attempts",
        ),
        (
            mint(&format!("{CALL}{READ}retry = {{ attempts = 2, on = [\"timeout\"] }}\n")),
            "provider.mint.embed.retry.on",
        ),
        (mint(&format!("{CALL}{READ}retry = {{ attempts = 2, on = [\"200\"] }}\n")), "provider.mint.embed.retry.on"),
        (
            mint(&format!("{CALL}{READ}accept_if = [{{ status = 409, body_contains = \"\" }}]\n")),
            "provider.mint.embed.accept_if",
        ),
        (format!("headers = {{ Authorization = \"x\" }}\n{AUTH}{MINT}{CALL}{READ}"), "provider.headers.Authorization"),
    ]
}

#[test]
fn more_than_fifty_recipes_with_a_hole_or_a_contradiction_are_named_with_their_place() {
    let wrong = wrong();
    assert!(wrong.len() >= 50, "{}", wrong.len());
    for (lines, key) in wrong {
        let printed = printed(&lines);
        let at = |fault: &String| {
            let (place, rest) = fault.split_once(' ').unwrap();
            let numbers: Vec<_> =
                place.strip_prefix("valet.toml:").unwrap().split(':').map(str::parse::<usize>).collect();
            numbers.len() == 2 && numbers.iter().all(Result::is_ok) && rest.starts_with(&format!("{key}: "))
        };
        assert!(printed.iter().any(at), "{key} is not named: {printed:#?} for\n{lines}");
    }
}
