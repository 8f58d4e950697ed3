//! The request that another proxy asks about, read from the fields that it wrote beside the client's own, with all the suspicion of the data plane.
//!
//! Two families of fields are in use: `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` (Traefik, Caddy) and `X-Original-Method`, `-URL`, `-URI` (nginx).
//! A client may have written those of the family that its proxy does not: two that differ refuse the request. A third form needs no field (Envoy, Gateway
//! API): the target goes on behind our path, and method and `Host` are the client's.

use httparse::Header;

use crate::gateway::accept::forwarded::known_scheme;
use crate::gateway::http1::head::{Body, Head, is_host, is_token};
use crate::problem::Refusal;

/// Where other proxies ask.
const PATH: &str = "/.valet/authorize";

/// The longest target, as in a request line of the data plane.
const MAX_TARGET: usize = 8 * 1024;

/// What the asking proxy wants the answer to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct AnswerOptions {
    /// `login=never`: 401 in place of a redirect to the login page.
    pub never_login: bool,
    /// `forward=cut`: tell the `Cookie` without our credential.
    pub cut_cookie: bool,
    /// A preflight is answered, for a proxy that passes every answer on and takes no 2xx for leave.
    pub preflight: bool,
}

/// The request that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Original<'h> {
    method: &'h str,
    host: &'h str,
    target: &'h str,
    pub options: AnswerOptions,
}

impl<'h> Original<'h> {
    /// What `head` asks about; `None`: it is a request like any other. Who sent it must be a trusted proxy.
    ///
    /// # Errors
    ///
    /// Method, host or target is missing, unreadable, or told twice with two values; or an option is unknown.
    pub fn of(head: &Head<'h>) -> Option<Result<Self, Refusal>> {
        let rest = head.target.strip_prefix(PATH)?;
        match rest.as_bytes() {
            [] => Some(Self::read(head, None, AnswerOptions::default())),
            [b'?', ..] => Some(options(&rest[1..]).and_then(|options| Self::read(head, None, options))),
            [b'/', ..] => Some(Self::read(head, Some(rest), AnswerOptions::default())),
            _ => None,
        }
    }

    /// The same as a head that the questions are asked of: the asking request's fields, and no body, for that goes another way.
    pub fn head(&self, asking: &Head<'h>) -> Head<'h> {
        Head {
            method: self.method,
            target: self.target,
            headers: asking.headers,
            body: Body::Empty,
            close: asking.close,
            expects_continue: false,
            modern: true,
            http2: false,
            host: self.host,
            hostless: false,
        }
    }

    fn read(head: &Head<'h>, behind: Option<&'h str>, options: AnswerOptions) -> Result<Self, Refusal> {
        let mut told = Stated::default();
        if let Some(target) = behind {
            let host = Some(head.host).filter(|_| !head.hostless);
            told = Stated { method: Some(head.method), host, target: Some(target), scheme: None };
        }
        head.headers.iter().try_for_each(|field| told.take(field)).map_err(|Contradiction| Refusal::BadRequest)?;
        let Stated { method: Some(method), host: Some(host), target: Some(target), .. } = told else {
            return Err(Refusal::BadRequest);
        };
        if target.len() > MAX_TARGET {
            return Err(Refusal::UriTooLong);
        }
        // A method is a token (RFC 9110, section 9.1).
        let readable = is_token(method.as_bytes())
            && is_host(host)
            && target.starts_with('/')
            && target.bytes().all(|b| matches!(b, 0x21..=0x7e));
        if readable { Ok(Self { method, host, target, options }) } else { Err(Refusal::BadRequest) }
    }
}

/// Two fields say two things, or one says nothing that can be read.
struct Contradiction;

/// What the fields say so far.
#[derive(Default)]
struct Stated<'h> {
    method: Option<&'h str>,
    host: Option<&'h str>,
    target: Option<&'h str>,
    scheme: Option<&'static str>,
}

impl<'h> Stated<'h> {
    fn take(&mut self, field: &Header<'h>) -> Result<(), Contradiction> {
        let Some(known) = Known::of(field.name) else { return Ok(()) };
        let value = std::str::from_utf8(field.value).map_err(|_| Contradiction)?.trim_ascii();
        match known {
            Known::Method => agree(&mut self.method, value, str::eq),
            Known::Host => agree(&mut self.host, value, str::eq_ignore_ascii_case),
            Known::Uri => agree(&mut self.target, value, str::eq),
            Known::Proto => self.take_scheme(value.split(',').next().unwrap_or_default()),
            Known::Url => {
                let (scheme, rest) = value.split_once("://").ok_or(Contradiction)?;
                let (host, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                self.take_scheme(scheme)?;
                agree(&mut self.host, host, str::eq_ignore_ascii_case)?;
                agree(&mut self.target, target, str::eq)
            }
        }
    }

    fn take_scheme(&mut self, text: &str) -> Result<(), Contradiction> {
        let scheme = known_scheme(text).ok_or(Contradiction)?;
        agree(&mut self.scheme, scheme, str::eq)
    }
}

fn agree<'h>(held: &mut Option<&'h str>, value: &'h str, same: fn(&str, &str) -> bool) -> Result<(), Contradiction> {
    match held {
        Some(before) if !same(before, value) => Err(Contradiction),
        _ => {
            *held = Some(value);
            Ok(())
        }
    }
}

/// The fields that describe the original request.
#[derive(Clone, Copy)]
enum Known {
    Method,
    Proto,
    Host,
    Uri,
    Url,
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        // The length tells most names apart before letters are compared.
        match name.len() {
            14 if name.eq_ignore_ascii_case("x-original-url") => Some(Self::Url),
            14 if name.eq_ignore_ascii_case("x-original-uri") => Some(Self::Uri),
            15 if name.eq_ignore_ascii_case("x-forwarded-uri") => Some(Self::Uri),
            16 if name.eq_ignore_ascii_case("x-forwarded-host") => Some(Self::Host),
            17 if name.eq_ignore_ascii_case("x-forwarded-proto") => Some(Self::Proto),
            17 if name.eq_ignore_ascii_case("x-original-method") => Some(Self::Method),
            18 if name.eq_ignore_ascii_case("x-forwarded-method") => Some(Self::Method),
            _ => None,
        }
    }
}

/// The options in the query. An unknown one is refused: the operator meant something by it.
fn options(query: &str) -> Result<AnswerOptions, Refusal> {
    let mut options = AnswerOptions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair {
            "login=never" => options.never_login = true,
            "forward=cut" => options.cut_cookie = true,
            _ => return Err(Refusal::BadRequest),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAEFIK: [(&str, &str); 4] = [
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "wiki.example.com"),
        ("X-Forwarded-Uri", "/page?x=1"),
    ];

    const NGINX: [(&str, &str); 2] =
        [("X-Original-Method", "POST"), ("X-Original-URL", "https://wiki.example.com/page?x=1")];

    /// Method, host and target, or the refusal's status.
    fn read(target: &str, fields: &[(&str, &str)]) -> Option<Result<(String, AnswerOptions), u16>> {
        let headers: Vec<Header<'_>> =
            fields.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        let head = Head::of_parts("PUT", target, "own.example.com", &headers, false).ok()?;
        let original = Original::of(&head)?;
        let words = |found: Original<'_>| (format!("{} {} {}", found.method, found.host, found.target), found.options);
        Some(original.map(words).map_err(|refusal| refusal.row().status))
    }

    fn with<'a>(fields: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [fields, more].concat()
    }

    #[test]
    fn each_form_says_method_host_and_target() {
        let split = [("x-original-method", "POST"), ("x-original-uri", "/page?x=1"), TRAEFIK[2]];
        for fields in [&TRAEFIK[..], &NGINX, &split, &with(&TRAEFIK, &NGINX)] {
            let found = read(PATH, fields).unwrap().unwrap();
            assert_eq!(found, ("POST wiki.example.com /page?x=1".into(), AnswerOptions::default()), "{fields:?}");
        }
        let behind = read("/.valet/authorize/page?login=never", &[("X-Forwarded-Proto", "http")]).unwrap().unwrap();
        assert_eq!(behind, ("PUT own.example.com /page?login=never".into(), AnswerOptions::default()));
    }

    #[test]
    fn what_is_missing_refuses() {
        for fields in [&TRAEFIK[..], &NGINX] {
            for left_out in 0..fields.len() {
                let fields: Vec<_> =
                    fields.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, f)| *f).collect();
                let complete = left_out == 1 && fields.len() == 3;
                assert_eq!(read(PATH, &fields).unwrap().is_ok(), complete, "{fields:?}");
            }
        }
        assert_eq!(read(PATH, &[]), Some(Err(400)));
    }

    #[test]
    fn two_that_differ_refuse_and_two_that_agree_do_not() {
        for (name, other) in [
            ("X-Forwarded-Method", "GET"),
            ("X-Original-Method", "post"),
            ("X-Forwarded-Host", "portal.example.com"),
            ("X-Forwarded-Host", "wiki.example.com, wiki.example.com"),
            ("X-Forwarded-Uri", "/"),
            ("X-Original-URI", "/page"),
            ("X-Original-URL", "https://portal.example.com/page?x=1"),
            ("X-Original-URL", "https://wiki.example.com/page"),
            ("X-Original-URL", "http://wiki.example.com/page?x=1"),
            ("X-Original-URL", "/page?x=1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Proto", "gopher"),
            ("X-Forwarded-Uri", ""),
        ] {
            assert_eq!(read(PATH, &with(&TRAEFIK, &[(name, other)])), Some(Err(400)), "{name}: {other}");
        }
        for same in [("X-Forwarded-Host", "WIKI.example.com"), ("X-Original-URI", "/page?x=1"), TRAEFIK[0]] {
            assert!(read(PATH, &with(&TRAEFIK, &[same])).unwrap().is_ok(), "{same:?}");
        }
        let behind = |field| read("/.valet/authorize/page", &[field]).unwrap();
        assert!(behind(("X-Forwarded-Uri", "/page")).is_ok());
        for other in [("X-Forwarded-Uri", "/"), ("X-Forwarded-Host", "wiki.example.com"), ("X-Original-Method", "GET")]
        {
            assert_eq!(behind(other), Err(400), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_request_refuses() {
        for (n, value) in [
            (0, "P OST"),
            (0, ""),
            (2, "user@wiki.example.com"),
            (2, "wiki.example.com, portal.example.com"),
            (2, ""),
            (3, "page"),
            (3, "http://wiki.example.com/page"),
            (3, "/pa ge"),
            (3, "/pagé"),
            (3, "*"),
        ] {
            let mut fields = TRAEFIK;
            fields[n].1 = value;
            assert_eq!(read(PATH, &fields), Some(Err(400)), "{:?}", fields[n]);
        }
        let long = format!("/{}", "x".repeat(MAX_TARGET));
        let mut fields = TRAEFIK;
        fields[3].1 = &long;
        assert_eq!(read(PATH, &fields), Some(Err(414)));
        fields[3].1 = &long[..MAX_TARGET];
        assert!(read(PATH, &fields).unwrap().is_ok());
    }

    #[test]
    fn options_are_known_or_refused() {
        for (query, never_login, cut_cookie) in [
            ("", false, false),
            ("login=never", true, false),
            ("forward=cut", false, true),
            ("forward=cut&login=never", true, true),
        ] {
            let found = read(&format!("{PATH}?{query}"), &TRAEFIK).unwrap().unwrap().1;
            assert_eq!(found, AnswerOptions { never_login, cut_cookie, preflight: false }, "{query}");
        }
        for query in ["login=Never", "login", "login=always", "x=1"] {
            assert_eq!(read(&format!("{PATH}?{query}"), &TRAEFIK), Some(Err(400)), "{query}");
        }
        for other in ["/.valet/authorized", "/.valet", "/", "/x/.valet/authorize"] {
            assert_eq!(read(other, &TRAEFIK), None, "{other}");
        }
    }
}
