//! Normalises and judges a request path: one reading for the choice of the route and for the app (path confusion).

use std::borrow::Cow;

use smallvec::SmallVec;

/// A path that can be read in two ways, or in none: why, for whom it is explained to. Clients are told nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct BadPath(pub &'static str);

/// The request target, taken apart.
pub(in crate::gateway) struct Target<'t> {
    /// The path: it starts with `/` and has no `.`/`..` segments and no `//`.
    pub path: Cow<'t, str>,
    /// What stands after the first `?`.
    pub query: Option<&'t str>,
    /// The path holds an encoded `/` (`%2f`), which only some routes allow.
    pub encoded_slash: bool,
}

/// Judges a target in origin-form, or in absolute-form if its authority is `host`.
pub(in crate::gateway) fn judge<'t>(target: &'t str, host: &str) -> Result<Target<'t>, BadPath> {
    let origin_form = if target.starts_with('/') { target } else { from_absolute(target, host)? };
    // One look for both: most targets have neither.
    let (path, query) = match memchr::memchr2(b'?', b'#', origin_form.as_bytes()) {
        None => (origin_form, None),
        Some(_) if memchr::memchr(b'#', origin_form.as_bytes()).is_some() => {
            return Err(BadPath("a `#` is no part of a path"));
        }
        Some(at) => (&origin_form[..at], Some(&origin_form[at + 1..])),
    };
    let (path, encoded_slash) = normal(path)?;
    Ok(Target { path, query, encoded_slash })
}

/// RFC 9112, 3.2.2: the authority of absolute-form must be that of `Host`.
fn from_absolute<'t>(target: &'t str, host: &str) -> Result<&'t str, BadPath> {
    let (scheme, rest) = target.split_once("://").ok_or(BadPath("it begins with no `/`"))?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(BadPath("an address begins with `https://` or `http://`"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if host.is_empty() || !authority.eq_ignore_ascii_case(host) {
        return Err(BadPath("the address and `Host` name different hosts"));
    }
    match path {
        "" => Ok("/"),
        path if path.starts_with('/') => Ok(path),
        _ => Err(BadPath("there is no path behind the host")),
    }
}

/// Resolves dot segments and doubled slashes once; refuses what only a second reading would show. Whether it holds an encoded slash.
fn normal(path: &str) -> Result<(Cow<'_, str>, bool), BadPath> {
    if is_plain(path) {
        return Ok((Cow::Borrowed(path), false));
    }
    let encoded_slash = if path.contains('%') || path.contains('\\') { judge_escapes(path)? } else { false };
    let mut odd = false;
    for segment in path.split('/').skip(1) {
        if matches!(segment, "." | "..") {
            odd = true;
        } else if is_hidden_dot(segment) {
            return Err(BadPath("an escape or a `;` hides a segment `.` or `..`"));
        }
    }
    if !odd && !path.contains("//") {
        return Ok((Cow::Borrowed(path), encoded_slash));
    }
    Ok((Cow::Owned(resolve(path)), encoded_slash))
}

/// Whether there is nothing in it to judge: no escape, no `\`, no `;`, no segment that is empty or begins with a dot.
fn is_plain(path: &str) -> bool {
    // Without a branch for each byte, so that the compiler makes vectors of it.
    let odd = |byte: u8| matches!(byte, b'%' | b'\\' | b';');
    let pairs = path.as_bytes().iter().zip(path.as_bytes().get(1..).unwrap_or_default());
    !path.bytes().fold(false, |found, byte| found | odd(byte))
        && !pairs.fold(false, |found, (first, next)| found | ((*first == b'/') & matches!(next, b'/' | b'.')))
}

/// RFC 3986, 5.2.4, with empty segments dropped. A final `/`, `.` or `..` leaves a final `/`.
fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    if kept.is_empty() || matches!(last, "" | "." | "..") {
        out.push('/');
    }
    out
}

/// Refuses escapes that hide a `\`, a control character or another escape, bad hex, bytes that are no UTF-8, a raw `\`. Whether an escape
/// hides a `/`.
fn judge_escapes(path: &str) -> Result<bool, BadPath> {
    if path.contains('\\') {
        return Err(BadPath("a `\\` is a `/` to some apps, write it as `/`"));
    }
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut encoded_slash = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let value = bytes.get(at + 1..at + 3).and_then(hex).ok_or(BadPath("a `%` has no two hex digits behind it"))?;
        if matches!(value, 0x00..=0x1f | 0x7f | b'\\') {
            return Err(BadPath("an escape hides a control character or a `\\`"));
        }
        encoded_slash |= value == b'/';
        decoded.push(value);
        at += 3;
    }
    // What is an escape again after decoding (`%252f`, `%25%32%66`) says one thing to a reader that decodes once and another to one that does so twice.
    if memchr::memchr_iter(b'%', &decoded).any(|at| is_escape(&decoded[at + 1..])) {
        return Err(BadPath("an escape hides another escape"));
    }
    std::str::from_utf8(&decoded).map(|_| encoded_slash).map_err(|_| BadPath("its escapes are no UTF-8"))
}

/// Whether `rest`, read behind a `%`, makes an escape: two hex digits (RFC 3986, section 2.1), or `u` and four, as some servers of Microsoft take it.
fn is_escape(rest: &[u8]) -> bool {
    match rest {
        [b'u' | b'U', rest @ ..] => rest.len() >= 4 && rest[..4].iter().all(u8::is_ascii_hexdigit),
        rest => rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit),
    }
}

/// What ends a segment for some reader once it is decoded: parameters, or a query or a fragment in which there was none.
const CUTS: [char; 3] = [';', '?', '#'];

/// A segment that is `.` or `..` only after decoding, or after cutting (raw or decoded); an encoded slash parts segments too.
fn is_hidden_dot(segment: &str) -> bool {
    if !segment.contains(['%', ';']) {
        return false;
    }
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
    decoded.split('/').any(|part| matches!(part.split(CUTS).next().unwrap_or_default(), "." | ".."))
}

/// A path in the one spelling by which paths of requests and of the configuration are compared. An escape that is the only way to write its byte
/// in a URI (a space, `é`) is decoded, for nobody reads it as anything else. Any other (`%61`, `%2f`) stays, in lower case (RFC 3986, section
/// 6.2.2.1): an app may tell it from the character that it stands for.
pub(crate) fn standing(path: &str) -> Cow<'_, str> {
    // Each request asks, and few paths have one: as in `is_plain`.
    if path.bytes().fold(false, |found, byte| found | (byte == b'%')) { spelled(path) } else { Cow::Borrowed(path) }
}

fn spelled(path: &str) -> Cow<'_, str> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let pair = behind.get(..2).filter(|_| first == b'%');
        let Some((pair, value)) = pair.and_then(|pair| Some((pair, hex(pair)?))) else {
            out.push(first);
            rest = behind;
            continue;
        };
        if has_plain_form(value) {
            out.push(b'%');
            out.extend(pair.iter().map(u8::to_ascii_lowercase));
        } else {
            out.push(value);
        }
        rest = behind.get(2..).unwrap_or_default();
    }
    String::from_utf8(out).map_or(Cow::Borrowed(path), Cow::Owned)
}

/// Whether a byte means something in a URI without an escape: RFC 3986, section 2.2 (reserved) and 2.3 (unreserved), but for brackets, which no path
/// has; and what [`judge`] looks at, `%`, `\` and control characters.
fn has_plain_form(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~:/?#@!$&'()*+,;=%\\".contains(&byte)
}

/// The ways in which an app may read a judged path that holds an escape or a `;`, besides as it stands: it decodes it whole, or all but the slashes,
/// or not; cuts the parameters of each segment at `;`, before that or after, or both; takes an escaped `?` or `#` for the path's end; and makes one
/// slash of several. No reading holds dot segments or another escape: [`judge`] has refused those. Each is spelled as [`standing`] does.
pub(in crate::gateway) fn readings(path: &str) -> SmallVec<[String; 2]> {
    let path = &*standing(path);
    let whole = decode(path, false);
    let mut all = SmallVec::new();
    let slashes = |text: &str| memchr::memchr_iter(b'/', text.as_bytes()).count();
    if !whole.contains(CUTS) && slashes(&whole) == slashes(path) {
        all.push(merge(&whole));
        return all;
    }
    let cut_first = cut(path);
    for start in [path, &cut_first] {
        for decoded in [start.to_owned(), decode(start, false), decode(start, true)] {
            let ended = decoded.split(['?', '#']).next().unwrap_or_default();
            for read in [&*decoded, ended, &cut(&decoded), &cut(ended)] {
                let read = merge(read);
                if !all.contains(&read) {
                    all.push(read);
                }
            }
        }
    }
    all
}

/// Decodes once. `but_slashes`: an escaped `/` stays as it is.
fn decode(path: &str, but_slashes: bool) -> String {
    if !but_slashes {
        return percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    }
    path.replace("%2F", "%2f").split("%2f").map(|part| decode(part, false)).collect::<Vec<_>>().join("%2f")
}

/// Each segment up to its first `;`.
fn cut(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}

/// One slash for several.
fn merge(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

fn hex(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(target: &str) -> Result<String, BadPath> {
        judge(target, "app.example").map(|target| target.path.into_owned())
    }

    #[test]
    fn an_encoded_slash_is_seen_and_hides_no_dots() {
        let slash = |target: &str| judge(target, "app.example").map(|target| target.encoded_slash);
        for (sent, seen) in [("/a%2fb", true), ("/a%2Fb?x", true), ("/a/b?x=%2f", false), ("/a%20b", false)] {
            assert_eq!(slash(sent), Ok(seen), "{sent}");
        }
        for sent in ["/a%2f..", "/..%2fa", "/a%2f%2e%2e%2fb", "/.%2f", "/a%2f..;x%2fb", "/a%2f%2e;%2fb", "/%2f..%2f"] {
            assert!(slash(sent).is_err(), "{sent}");
        }
    }

    #[test]
    fn dot_segments_and_doubled_slashes_are_resolved_once() {
        for (sent, judged) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b", "/a/b"),
            ("//a", "/a"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/", "/a/b/"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/%C3%A9", "/%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/100%25", "/100%25"),
            ("/100%25-1", "/100%25-1"),
            ("/%25u00", "/%25u00"),
            ("/a?x=../..", "/a"),
            ("http://app.example/a", "/a"),
            ("HTTP://APP.EXAMPLE", "/"),
        ] {
            assert_eq!(path(sent).as_deref(), Ok(judged), "{sent}");
        }
    }

    #[test]
    fn what_only_a_second_reading_would_show_is_refused() {
        for sent in [
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%1f",
            "/a%7f",
            "/a%0d%0a",
            "/%zz",
            "/%2",
            "/%",
            "/%ff",
            "/%c3",
            "/%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/..;/a",
            "/.;x/a",
            "/%2e%2e;/a",
            "/..%3b/a",
            "/%252e%252e/a",
            "/%252f",
            "/%25252f",
            "/%2561dmin",
            "/100%25ab",
            "/%25%32%66",
            "/%25%36%31",
            "/%252%66",
            "/%25u002f",
            "/..%3fx",
            "/..%23",
            "/a%2f..%3fx",
            "/%255c",
            "/%2500",
            "/a#b",
            "http://other.example/a",
            "ftp://app.example/a",
            "file:/etc/passwd",
            "x",
            "?q",
            "*",
            "http://app.example?x",
        ] {
            assert!(path(sent).is_err(), "{sent}");
        }
    }

    proptest! {
        #[test]
        fn a_judged_path_is_judged_the_same_again(sent in "/[a/.;%25eE\\\\?]{0,12}") {
            if let Ok(judged) = path(&sent) {
                prop_assert!(judged.starts_with('/') && !judged.contains("//"));
                prop_assert!(!judged.split('/').any(|segment| segment == "." || segment == ".."));
                prop_assert_eq!(path(&judged), Ok(judged.clone()));
            }
        }
    }
    #[test]
    fn each_reading_of_a_path_is_found_in_whatever_order_an_app_decodes_and_cuts() {
        for (path, read) in [
            ("/%61/b;x=1/c", "/a/b/c"),
            ("/x;%2fadmin", "/x/admin"),
            ("/x;%2fadmin", "/x"),
            ("/x%3b%2fadmin", "/x/admin"),
            ("/x%3b%2fadmin", "/x"),
            ("/x;y%2f/admin", "/x/admin"),
            ("/x%2f;/;%2fadmin", "/x/admin"),
            ("/;/admin", "/admin"),
            ("/%2f%2fadmin", "/admin"),
            ("/admin%3fx", "/admin"),
            ("/admin%23;x/y", "/admin"),
            ("/a;/", "/a/"),
        ] {
            let all = readings(path);
            assert!(all.iter().any(|reading| reading == read), "{path}: {all:?}");
        }
        assert_eq!(readings("/%C3%A9/a%20b").to_vec(), ["/\u{e9}/a b"]);
        assert_eq!(readings("/%C3%A9;x/a").to_vec(), ["/\u{e9};x/a", "/\u{e9}/a"]);
    }

    #[test]
    fn a_path_is_compared_in_one_spelling_of_what_only_an_escape_can_write() {
        for (path, one) in [
            ("/a/b", "/a/b"),
            ("/caf%C3%A9/x", "/caf\u{e9}/x"),
            ("/caf%c3%a9/x", "/caf\u{e9}/x"),
            ("/a%20b%7Bc%7d%5B", "/a b{c}["),
            ("/%63af%C3%A9", "/%63af\u{e9}"),
            ("/a%2Fb%3B%3F%23%25%2b%5C%7E", "/a%2fb%3b%3f%23%25%2b%5c%7e"),
            // What no judged path holds is left as it is.
            ("/%zz%2", "/%zz%2"),
            ("/%C3", "/%C3"),
        ] {
            assert_eq!(standing(path), one, "{path}");
            assert_eq!(standing(one), one, "{path}");
        }
    }

    /// What an app does to a path before it looks for its own route, by a number.
    fn lenient(step: u8, path: &str) -> String {
        let parts = |path: &str, cuts: &[char]| -> String {
            path.split('/').map(|part| part.split(cuts).next().unwrap()).collect::<Vec<_>>().join("/")
        };
        match step {
            0 => percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned(),
            1 => lenient(0, &path.replace("%2f", "\0").replace("%2F", "\0")).replace('\0', "%2f"),
            2 => parts(path, &[';']),
            3 => path.split(['?', '#']).next().unwrap().to_owned(),
            4 => path.split('/').filter(|part| !part.is_empty()).fold(String::new(), |out, part| out + "/" + part),
            _ => resolve(path),
        }
    }

    /// The prefix that a path belongs to, of those that have an app of their own.
    fn home(path: &str) -> Option<&'static str> {
        let below =
            |prefix: &&str| path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        ["/x/a/a", "/a/x", "/x/a", "/aa", "/a"].into_iter().find(below)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_order_of_decoding_and_cutting_leads_an_app_to_a_path_of_another_route(
            sent in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "/", "a", "a", "x", ";", "%2f", "%2F", "%3b", "%3B", "%61", "%78", "%25", ".", "..", "%2e", "%3f",
                    "%23", "%252f", "%2561", "2f", "61", "3b", "u002f", "%5c",
                ]),
                0..10,
            ),
            steps in prop::collection::vec(0..6u8, 0..7),
        ) {
            let sent = format!("/{}", sent.concat());
            if let Ok(judged) = path(&sent) {
                let same = readings(&judged).iter().all(|reading| home(reading) == home(&judged));
                let app = steps.iter().fold(judged.clone(), |path, step| lenient(*step, &path));
                prop_assert!(!same || home(&app) == home(&judged), "{} is {} to an app", judged, app);
            }
        }

        #[test]
        fn however_a_path_is_escaped_one_of_its_readings_is_the_path(
            parts in prop::collection::vec(
                (prop::sample::select(vec!['a', '~', '\u{e9}', ' ', '{']), any::<bool>(), any::<bool>()),
                0..8,
            ),
        ) {
            let plain = parts.iter().fold(String::from("/"), |text, (c, ..)| text + &c.to_string());
            let (mut least, mut sent) = (String::from("/"), String::from("/"));
            for (c, escaped, small) in parts {
                let escape = c.to_string().bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
                let escape = if small { escape.to_ascii_lowercase() } else { escape };
                let must = !matches!(c, 'a' | '~');
                if must { least.push_str(&escape) } else { least.push(c) }
                if must || escaped { sent.push_str(&escape) } else { sent.push(c) }
            }
            let judged = path(&sent).unwrap();
            prop_assert!(readings(&judged).contains(&plain), "{}", judged);
            prop_assert_eq!(standing(&least), plain);
        }
    }
}
