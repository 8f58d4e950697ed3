use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use std::collections::BTreeMap;

use super::super::MintInput;
use super::super::auth::Auth;
use super::super::template::Place;
use super::*;
use crate::setting::FieldFault;

fn call(toml: &str) -> CallTemplate {
    try_call(toml).unwrap()
}

fn try_call(toml: &str) -> Result<CallTemplate, Vec<FieldFault>> {
    let settings: super::super::settings::RevokeSettings = toml::from_str(toml).unwrap();
    let mut faults = Vec::new();
    let source = CallSource {
        method: &settings.method,
        default_method: Method::POST,
        path: &settings.path,
        query: &settings.query,
        headers: &settings.headers,
        json: &settings.json,
        form: &settings.form,
    };
    let auth = Auth::Header("x-api-key".parse().unwrap(), String::new());
    let secret = ["x-second".parse().unwrap()];
    let headers = [("x-client-id".parse().unwrap(), Template::parse("acme").unwrap())];
    let around = Surroundings {
        auth: Some(&auth),
        headers: &headers[..usize::from(toml.contains("client"))],
        secret_headers: &secret,
        place: Place::default(),
    };
    let call = source.compile("c", &around, &mut faults);
    if faults.is_empty() { Ok(call.unwrap()) } else { Err(faults) }
}

fn fill(call: &CallTemplate, subject: &str, language: Option<&str>) -> Result<Call, Unfit> {
    let input = MintInput {
        external_id: subject.into(),
        issuer: "https://idp.example".into(),
        subject: "s".into(),
        language: language.map(Into::into),
        claims: [Some("Rhône".into()), None].into(),
        parameters: [].into(),
        context: Default::default(),
    };
    let claims = ["region".to_owned(), "absent".to_owned()];
    call.fill("/api", &Values { claims: &claims, subject_hash: Some("hash"), ..Values::of(&input) })
}

fn target(toml: &str, subject: &str) -> Result<String, Unfit> {
    fill(&call(toml), subject, None).map(|call| call.target)
}

const IN_PATH: &str = "path = '/users/{subject}/x'";
const IN_QUERY: &str = "path = '/embed'\nquery = { a = '1', id = '{subject}', z = 'a b' }";
const IN_BODY: &str = "path = '/users'\njson = { id = '{subject}', n = { deep = ['<{subject}>', 1, true] } }";
const IN_FORM: &str = "path = '/users'\nform = { a = '1', id = '{subject}', 'z[0]' = 'a b', l = '{language}' }";
const IN_HEADER: &str = "path = '/users'\nheaders = { x-user = 'id {subject}' }";

#[test]
fn each_subject_is_sent_in_exactly_these_bytes() {
    for (subject, escaped) in [
        ("ada", "ada"),
        ("auth0|a b", "auth0%7Ca%20b"),
        ("a/../b", "a%2F..%2Fb"),
        ("a&x=1", "a%26x%3D1"),
        ("\"}", "%22%7D"),
        ("é", "%C3%A9"),
        ("%2f", "%252f"),
        ("a\r\nb", "a%0D%0Ab"),
        ("\0", "%00"),
        ("+;,?#", "%2B%3B%2C%3F%23"),
        ("-._~", "-._~"),
        ("...", "..."),
    ] {
        assert_eq!(target(IN_PATH, subject), Ok(format!("/api/users/{escaped}/x")));
        assert_eq!(target(IN_QUERY, subject), Ok(format!("/api/embed?a=1&id={escaped}&z=a%20b")));
    }
    for (subject, escaped) in
        [("auth0|a b", "auth0|a b"), ("\"}", "\\\"}"), ("é", "é"), ("a\r\nb", "a\\r\\nb"), ("\0", "\\u0000")]
    {
        let body = fill(&call(IN_BODY), subject, None).unwrap().body;
        let expected = format!(r#"{{"id":"{escaped}","n":{{"deep":["<{escaped}>",1,true]}}}}"#);
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }
}

#[test]
fn a_subject_that_would_climb_out_of_its_segment_makes_no_call() {
    for subject in [".", ".."] {
        assert_eq!(target(IN_PATH, subject), Err(Unfit));
        assert_eq!(target(IN_QUERY, subject), Ok(format!("/api/embed?a=1&id={subject}&z=a%20b")));
    }
    assert_eq!(target("path = '/u/%2e{subject}'", "."), Err(Unfit));
    assert_eq!(target("path = '/u/x{subject}'", ".."), Ok("/api/u/x..".into()));
    assert_eq!(target(IN_PATH, ""), Err(Unfit), "an empty segment");
}

#[test]
fn a_header_takes_visible_ascii_only() {
    let sent = fill(&call(IN_HEADER), "a,b;c", None).unwrap();
    assert_eq!(sent.headers["x-user"], "id a,b;c");
    for subject in ["a b", "é", "a\r\nx-admin: 1", "a\tb", "\0", "\u{7f}"] {
        assert_eq!(fill(&call(IN_HEADER), subject, None).err(), Some(Unfit), "{subject:?}");
    }
}

#[test]
fn only_language_and_optional_claims_drop_their_parameter() {
    let call = call(
        "path = '/p'\n\
         query = { a = 'x-{language}', b = '{claim:absent?}', c = '{claim:region}', d = '{subject_hash}' }\n\
         headers = { x-l = '{language}' }\n\
         json = { l = '{language}', list = ['{language}', 'k'], o = { l = '{language}' } }",
    );
    let without = fill(&call, "ada", None).unwrap();
    assert_eq!(without.target, "/api/p?c=Rh%C3%B4ne&d=hash");
    assert!(!without.headers.contains_key("x-l"));
    assert_eq!(&without.body[..], br#"{"list":["k"],"o":{}}"#);
    let with = fill(&call, "ada", Some("nl")).unwrap();
    assert_eq!(with.target, "/api/p?a=x-nl&c=Rh%C3%B4ne&d=hash");
    assert_eq!(with.headers["x-l"], "nl");
    assert_eq!(&with.body[..], br#"{"l":"nl","list":["nl","k"],"o":{"l":"nl"}}"#);
    let required = self::call("path = '/p'\nquery = { a = '{claim:absent}' }");
    assert_eq!(fill(&required, "ada", None).err(), Some(Unfit));
}

#[test]
fn doubled_braces_are_braces() {
    let call = call("path = '/p'\njson = { filter = '{{id:{subject}}}' }\nquery = { f = '{{}}' }");
    let sent = fill(&call, "ada", None).unwrap();
    assert_eq!((&sent.body[..], sent.target.as_str()), (&br#"{"filter":"{id:ada}"}"#[..], "/api/p?f=%7B%7D"));
}

#[test]
fn a_json_body_says_so_unless_the_recipe_says_more() {
    assert_eq!(fill(&call(IN_BODY), "ada", None).unwrap().headers["content-type"], "application/json");
    let own = format!("{IN_BODY}\nheaders = {{ content-type = 'application/vnd.api+json' }}");
    assert_eq!(fill(&call(&own), "ada", None).unwrap().headers["content-type"], "application/vnd.api+json");
    assert!(fill(&call(IN_PATH), "ada", None).unwrap().headers.is_empty());
}

#[test]
fn a_form_says_so_and_has_no_json_beside_it() {
    let sent = fill(&call(IN_FORM), "a&b=c é\n\"}", Some("nl")).unwrap();
    assert_eq!(sent.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(&sent.body[..], b"a=1&id=a%26b%3Dc%20%C3%A9%0A%22%7D&l=nl&z%5B0%5D=a%20b");
    for (more, key) in [
        ("json = { a = 1 }", "c.form"),
        ("method = 'GET'", "c.form"),
        ("headers = { Content-Type = 'application/json' }", "c.headers.Content-Type"),
        ("headers = { x-second = 'a' }", "c.headers.x-second"),
        ("headers = { X-Client-Id = 'a' }\nquery = { client = '1' }", "c.headers.X-Client-Id"),
    ] {
        let faults = try_call(&format!("{IN_FORM}\n{more}")).unwrap_err();
        assert_eq!(faults.iter().map(|fault| &*fault.path).collect::<Vec<_>>(), [key], "{more}");
    }
    assert_eq!(try_call("path = '/'\nform = { '' = 'x', a = '{' }").unwrap_err().len(), 2);
    let own = format!("{IN_FORM}\nheaders = {{ content-type = 'application/x-www-form-urlencoded; charset=utf-8' }}");
    assert!(try_call(&own).is_ok());
    let common = fill(&call("path = '/p'\nquery = { client = '1' }"), "ada", None).unwrap();
    assert_eq!(common.headers["x-client-id"], "acme");
}

#[test]
fn every_fault_of_a_call_is_named_with_its_key() {
    let faults = try_call(
        "method = 'get'\npath = 'users'\nquery = { a = '{', '' = 'x' }\n\
         headers = { host = 'x', 'b d' = 'x', X-Api-Key = 'x', e = 'é', f = '', a = '1', A = '2' }\njson = { g = { h = ['{x}'] } }",
    );
    let mut keys: Vec<_> = faults.unwrap_err().into_iter().map(|fault| fault.path).collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "c.headers.X-Api-Key",
            "c.headers.a",
            "c.headers.b d",
            "c.headers.e",
            "c.headers.f",
            "c.headers.host",
            "c.json.g.h",
            "c.method",
            "c.path",
            "c.query",
            "c.query.a"
        ]
    );
}

#[test]
fn paths_that_mean_something_else_are_faults() {
    for path in [
        "",
        "users",
        "//x",
        "/a//b",
        "/a/../b",
        "/a/%2E%2e/b",
        "/a?b",
        "/a#b",
        "/a b",
        "/é",
        "/%2",
        "/%zz",
        "/a\\b",
        "/{language}",
        "/{claim:a?}",
        "/{{a}}",
    ] {
        assert!(try_call(&format!("path = '{path}'")).is_err(), "{path} was accepted");
    }
    for path in ["/", "/a/", "/a.b/~c/@d;e=f/%20", "/{subject}", "/{claim:a}/{subject_hash}", "/..a/{subject}.."] {
        assert!(try_call(&format!("path = '{path}'")).is_ok(), "{path} was refused");
    }
}

#[test]
fn a_get_has_no_body_and_a_body_is_a_table() {
    assert!(try_call("method = 'GET'\npath = '/'\njson = { a = 1 }").is_err());
    for json in ["'{subject}'", "1", "[1]", "{ a = 1979-05-27 }"] {
        assert!(try_call(&format!("path = '/'\njson = {json}")).is_err(), "{json} was accepted");
    }
}

/// Path segments and query parameters as a server reads them.
fn read(target: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments =
        path.split('/').map(|segment| percent_decode_str(segment).decode_utf8().unwrap().into_owned()).collect();
    (segments, form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

proptest! {
    #[test]
    fn any_subject_survives_each_place_and_changes_nothing_else(subject in any::<String>().prop_filter("no id is empty", |s| !s.is_empty())) {
        match target(IN_PATH, &subject) {
            Ok(target) => {
                prop_assert!(target.bytes().all(|b| b.is_ascii_graphic()));
                let parsed = url::Url::parse(&format!("https://v.example{target}")).unwrap();
                prop_assert_eq!(parsed.path(), &target, "no reader sees another path");
                prop_assert_eq!(read(&target), (["", "api", "users", &subject, "x"].map(str::to_owned).to_vec(), vec![]));
            }
            Err(Unfit) => prop_assert!(subject == "." || subject == ".."),
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let sent = target(IN_QUERY, &subject).unwrap();
        prop_assert_eq!(read(&sent), (vec!["".into(), "api".into(), "embed".into()], vec![pair("a", "1"), pair("id", &subject), pair("z", "a b")]));
        let body: serde_json::Value = serde_json::from_slice(&fill(&call(IN_BODY), &subject, None).unwrap().body).unwrap();
        prop_assert_eq!(body, serde_json::json!({ "id": subject, "n": { "deep": [format!("<{subject}>"), 1, true] } }));
        let form = fill(&call(IN_FORM), &subject, None).unwrap();
        let fields: Vec<_> = form_urlencoded::parse(&form.body).into_owned().collect();
        prop_assert_eq!(fields, vec![pair("a", "1"), pair("id", &subject), pair("z[0]", "a b")]);
        match fill(&call(IN_HEADER), &subject, None) {
            Ok(sent) => {
                prop_assert_eq!(sent.headers.len(), 1);
                let expected = format!("id {subject}");
                prop_assert_eq!(sent.headers["x-user"].as_bytes(), expected.as_bytes());
            }
            Err(Unfit) => prop_assert!(!subject.bytes().all(|b| b.is_ascii_graphic())),
        }
    }

    #[test]
    fn any_settings_are_read_without_a_panic(path in any::<String>(), name in any::<String>(), value in any::<String>()) {
        let query = Some(BTreeMap::from([(name, value)]));
        let source = CallSource {
            method: &None, default_method: Method::GET, path: &Some(path), query: &query, headers: &query, json: &None,
            form: &query,
        };
        let around = Surroundings { auth: None, headers: &[], secret_headers: &[], place: Place::default() };
        source.compile("c", &around, &mut Vec::new());
    }
}
