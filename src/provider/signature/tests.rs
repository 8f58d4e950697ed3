use bytes::Bytes;

use super::*;

fn call<'a>(method: &'a Method, host: &'a str, target: &str, body: &'a Bytes, now: i64) -> Outgoing<'a> {
    Outgoing { method, host, target: target.into(), headers: HeaderMap::new(), body, now: Timestamp::from_secs(now) }
}

fn sigv4(region: &str, service: &str) -> Sigv4 {
    Sigv4 { region: region.into(), service: service.into(), access_key_id: "AKIDEXAMPLE".into() }
}

/// The secret of AWS's own examples.
fn aws_secret() -> Secret {
    Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec())
}

/// 2015-08-30T12:36:00Z, as in AWS's examples.
const THEN: i64 = 1_440_938_160;

#[test]
fn sigv4_gives_the_signatures_of_awss_own_examples() {
    let empty = Bytes::new();
    // "get-vanilla" of AWS's Signature Version 4 test suite.
    let mut vanilla = call(&Method::GET, "example.amazonaws.com", "/", &empty, THEN);
    sigv4("us-east-1", "service").sign(&aws_secret(), &mut vanilla).unwrap();
    assert_eq!(
        vanilla.headers[AUTHORIZATION],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    assert!(vanilla.headers[AUTHORIZATION].is_sensitive());
    // The example of the IAM documentation, "Create a signed AWS API request".
    let mut iam = call(&Method::GET, "iam.amazonaws.com", "/?Action=ListUsers&Version=2010-05-08", &empty, THEN);
    iam.headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap());
    sigv4("us-east-1", "iam").sign(&aws_secret(), &mut iam).unwrap();
    assert_eq!(
        iam.headers[AUTHORIZATION],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    );
}

/// Computed by botocore 1.44.8, `SigV4Auth`, at the same time with the same key.
#[test]
fn sigv4_gives_the_signatures_of_botocore() {
    let host = "quicksight.eu-west-1.amazonaws.com";
    let body = Bytes::from_static(br#"{"id":"a&b=c"}"#);
    let target = "/accounts/1/users/a%26b%3Dc%20%C3%A9%22%7D%0A/embed-url?z=1&a=%7E&a=%2F&id=a%26b";
    let mut hostile = call(&Method::POST, host, target, &body, THEN);
    hostile.headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    hostile.headers.insert("x-amz-security-token", "t  o k".parse().unwrap());
    hostile.headers.insert("x-own", "is not signed".parse().unwrap());
    sigv4("eu-west-1", "quicksight").sign(&aws_secret(), &mut hostile).unwrap();
    assert_eq!(
        hostile.headers[AUTHORIZATION],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/quicksight/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
         Signature=6bcb6b80af1f5309d4625bd714bdd624a06f450cb707832e441f24d6c9005fff"
    );
    let empty = Bytes::new();
    let target = "/accounts/1/dashboards/d%2Fx/embed-url?creds-type=IAM&session-lifetime=600";
    let mut plain = call(&Method::GET, host, target, &empty, THEN);
    sigv4("us-east-1", "quicksight").sign(&aws_secret(), &mut plain).unwrap();
    let value = plain.headers[AUTHORIZATION].to_str().unwrap();
    assert!(value.ends_with("Signature=26d22333e73044e28a9016e72a30c02d8aa624e5b11090eda0a33329365e2d6b"), "{value}");
}

fn hmac(toml: &str) -> Result<Hmac, Vec<String>> {
    let settings: HmacSettings = toml::from_str(toml).unwrap();
    let mut faults = Vec::new();
    let made = Hmac::compile(&settings, &mut |key: &str, _: &str| faults.push(key.to_owned()));
    if faults.is_empty() { Ok(made.unwrap()) } else { Err(faults) }
}

#[test]
fn an_hmac_is_over_exactly_what_the_recipe_says() {
    // RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?".
    let body = Bytes::from_static(b"ya want for nothing?");
    for (encoding, algorithm, signature) in [
        ("hex", "sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "hex",
            "sha384",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        ("base64", "sha256", "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="),
    ] {
        let toml =
            format!("algorithm = '{algorithm}'\ntext = 'what do {{body}}'\nheader = 'x-sig'\nencoding = '{encoding}'");
        let mut sent = call(&Method::POST, "h", "/p?q=1", &body, 7);
        hmac(&toml).unwrap().sign(&Secret::new(b"Jefe".to_vec()), &mut sent).unwrap();
        assert_eq!(sent.headers["x-sig"], signature);
        assert_eq!(sent.headers.len(), 1);
    }
    let toml = "algorithm = 'sha256'\ntext = '{timestamp}|{method}|{path}|{query}|{path_and_query}|{{{body}'\nheader = 'x-sig'\nprefix = 'v1='\nencoding = 'hex'\ntimestamp_header = 'x-ts'";
    let mut sent = call(&Method::POST, "h", "/p?q=1", &body, 7);
    hmac(toml).unwrap().sign(&Secret::new(b"Jefe".to_vec()), &mut sent).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
    let expected = hmac::sign(&key, b"7|POST|/p|q=1|/p?q=1|{ya want for nothing?");
    assert_eq!(sent.headers["x-sig"], format!("v1={}", hex(expected.as_ref())));
    assert_eq!(sent.headers["x-ts"], "7");
}

#[test]
fn a_signature_with_a_hole_names_its_key() {
    let good = "algorithm = 'sha256'\ntext = '{timestamp}{body}'\nheader = 'x-sig'\nencoding = 'hex'\ntimestamp_header = 'x-ts'";
    assert!(hmac(good).is_ok());
    for (from, to, key) in [
        ("sha256", "md5", "algorithm"),
        ("'hex'", "'hax'", "encoding"),
        ("{timestamp}{body}", "{timestamp}{subject}", "text"),
        ("{timestamp}{body}", "{timestamp", "text"),
        ("{timestamp}{body}", "plain", "text"),
        ("{timestamp}{body}", "{body}", "text"),
        ("'x-ts'", "'x-sig'", "timestamp_header"),
        ("'x-ts'", "'host'", "timestamp_header"),
        ("'x-sig'", "'a b'", "header"),
        ("\ntimestamp_header = 'x-ts'", "", "timestamp_header"),
    ] {
        assert!(good.contains(from));
        let faults = hmac(&good.replace(from, to)).unwrap_err();
        assert!(faults.contains(&key.to_owned()), "{to}: {faults:?}");
    }
}
