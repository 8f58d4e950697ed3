use proptest::prelude::*;

use super::*;

fn hosts(entries: &[&str]) -> RedirectHosts {
    let entries: Vec<_> = entries.iter().map(|entry| RedirectHost::read(entry).unwrap()).collect();
    RedirectHosts::from(&*entries)
}

fn wrong(entry: &str) -> bool {
    RedirectHost::read(entry).is_err()
}

#[test]
fn what_is_listed_is_allowed_and_its_neighbours_are_not() {
    let hosts = hosts(&[
        "plugin.good.example",
        "ported.example:8443",
        "*.wild.example",
        "*.both.example:444",
        "münchen.example",
    ]);
    for url in [
        "https://plugin.good.example",
        "https://plugin.good.example:443/",
        "HTTPS://Plugin.Good.Example/?action_token=a.b.c&patient=x#y",
        "https://plugin.good.example/a/../b?c=//evil.example/@",
        "https://ported.example:8443/",
        "https://a.wild.example/",
        "https://a.b.wild.example/",
        "https://a.both.example:444/",
        "https://xn--mnchen-3ya.example/",
    ] {
        assert_eq!(hosts.check(url), Ok(()), "{url}");
    }
    for url in [
        "https://evil.example/",
        "https://good.example/",
        "https://plugin.good.example.evil.example/",
        "https://xplugin.good.example/",
        "https://a.plugin.good.example/",
        "https://plugin.good.example:8443/",
        "https://plugin.good.example:80/",
        "https://ported.example/",
        "https://ported.example:8444/",
        "https://wild.example/",
        "https://awild.example/",
        "https://a.wild.example:444/",
        "https://a.both.example/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://evil.example/?https://plugin.good.example/",
        "https://evil.example#@plugin.good.example/",
    ] {
        assert_eq!(hosts.check(url), Err(UrlFault::ForbiddenHost), "{url}");
    }
}

#[test]
fn what_a_browser_might_read_otherwise_is_nonsense() {
    let hosts = hosts(&["good.example", "*.good.example", "127.0.0.1", "localhost"]);
    for url in [
        "",
        "good.example",
        "//good.example/",
        "/good.example",
        "/\\good.example",
        "/%09/good.example",
        "https:good.example",
        "https:/good.example",
        "https:///good.example",
        "https:////good.example",
        "https://",
        "https://?good.example",
        "http://good.example/",
        "ftp://good.example/",
        "ws://good.example/",
        "javascript://good.example/%0aalert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://user@good.example/",
        "https://user:pass@good.example/",
        "https://:@good.example/",
        "https://@good.example/",
        "https://evil.example@good.example/",
        "https://good.example@evil.example/",
        "https://good.example\\@evil.example/",
        "https://good.example/\\evil",
        "https:\\\\good.example\\",
        "https://good.example%2eevil/",
        "https://good%2eexample/",
        "https://good.example%00.evil.example/",
        "https://good.example./",
        "https://.good.example/",
        "https://a..good.example/",
        "https://good.example:/",
        "https://good.example:0/",
        "https://good.example:0443/",
        "https://good.example:65979/",
        "https://good.example:x/",
        "https://good.example:443:443/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://127.1/",
        "https://127.0.0.01/",
        "https://[::ffff:7f00:1/",
        "https://[0:0::1]/",
        "https://xn--/",
        "https://xn--a.good.example/",
        "https://good.example/\u{e9}",
        "https://g\u{f6}od.example/",
        "https://good\u{3002}example/",
        "https://good.example/a b",
        " https://good.example/",
        "https://good.example/\n",
        "https://good.example/\r\nset-cookie:a=b",
        "https://good\t.example/",
        "ht\ntps://good.example/",
        "https://good.example/\u{0}",
        "https://good.example/\u{7f}",
    ] {
        assert_eq!(hosts.check(url), Err(UrlFault::Nonsense), "{url:?}");
    }
}

#[test]
fn loopback_and_localhost_may_be_http_and_have_any_port() {
    let local = hosts(&["127.0.0.1", "[::1]", "localhost", "*.localhost", "app.localhost:8080"]);
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1:4711/",
        "https://127.0.0.1:4711/",
        "http://[::1]:4711/",
        "http://localhost:4711/",
        "http://a.b.localhost:4711/",
    ] {
        assert_eq!(local.check(url), Ok(()), "{url}");
    }
    assert_eq!(local.check("http://127.0.0.2/"), Err(UrlFault::ForbiddenHost));
    assert_eq!(hosts(&["localhost:8080"]).check("http://localhost:8081/"), Err(UrlFault::ForbiddenHost));
    assert_eq!(hosts(&["10.0.0.1"]).check("http://10.0.0.1/"), Err(UrlFault::Nonsense));
    assert_eq!(hosts(&["notlocalhost"]).check("http://notlocalhost/"), Err(UrlFault::Nonsense));
}

#[test]
fn a_url_has_at_most_8_kib() {
    let hosts = hosts(&["good.example"]);
    let of = |length: usize| format!("https://good.example/{}", "a".repeat(length - 21));
    assert_eq!(hosts.check(&of(8192)), Ok(()));
    assert_eq!(hosts.check(&of(8193)), Err(UrlFault::Nonsense));
}

#[test]
fn entries_that_would_allow_anybody_or_nobody_are_faults() {
    for entry in [
        "",
        " ",
        "*",
        "*.",
        "*.*.example.com",
        "a.*.example.com",
        "*.com",
        "*.co.uk",
        "*.github.io",
        "*.internal",
        "*.127.0.0.1",
        "*.[::1]",
        "https://a.example",
        "a.example/",
        "a.example?",
        "u@a.example",
        "a\\b",
        "a.example.",
        ".a.example",
        "a..example",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:080",
        "a.example:x",
        "2130706433",
        "0x7f.1",
        "127.1",
        "::1",
        "a b",
        "a%2eexample",
        "xn--a.example",
    ] {
        assert!(wrong(entry), "{entry:?} was accepted");
    }
    for entry in [
        "a",
        "A.Example",
        "a.example:1",
        "*.example.com",
        "*.a.internal",
        "*.localhost",
        "[::1]:80",
        "bücher.example",
        "*.foo.github.io",
    ] {
        assert!(!wrong(entry), "{entry:?} was refused");
    }
}

proptest! {
    /// Whatever is allowed has the allowed host where every reader looks for it: right after `https://`, up to the first delimiter.
    #[test]
    fn no_text_with_a_strange_authority_passes(
        authority in "(good\\.example|evil\\.example|[@:/\\\\%.?#a-z0-9\\[\\] ]|%2e|%40|xn--){0,6}", rest in "[/?#@\\\\:.a-z]{0,8}"
    ) {
        let text = format!("https://{authority}{rest}");
        if hosts(&["good.example", "*.good.example"]).check(&text).is_ok() {
            let host = text["https://".len()..].split(['/', '?', '#']).next().unwrap();
            let host = host.strip_suffix(":443").unwrap_or(host);
            prop_assert!(host == "good.example" || host.ends_with(".good.example"), "{text}");
            prop_assert!(host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'), "{text}");
        }
    }

    #[test]
    fn any_text_at_all_is_judged_without_a_panic(text in any::<String>(), entry in any::<String>()) {
        let _ = hosts(&["*.good.example"]).check(&text);
        let _ = RedirectHost::read(&entry);
    }
}
