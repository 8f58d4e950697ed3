//! Content negotiation and Fetch Metadata: JSON or a redirect, a page or a problem, a prefetch, a language.

use crate::gateway::http1::head::Head;

/// The media ranges of `Accept`. Its field lines are one list (RFC 9110, section 5.3).
fn accepted<'h>(head: &Head<'h>) -> impl Iterator<Item = &'h str> {
    head.all("accept").filter_map(|line| std::str::from_utf8(line).ok()).flat_map(|line| line.split(','))
}

/// Whether `Accept` prefers JSON to a page: `application/json` is named and no page is wanted more. Equal wishes: the first named.
pub(in crate::gateway) fn prefers_json(head: &Head<'_>) -> bool {
    are_for_json(accepted(head))
}

fn are_for_json<'r>(ranges: impl Iterator<Item = &'r str>) -> bool {
    /// Weight and place.
    type Wish = Option<(u16, usize)>;
    let (mut json, mut page): (Wish, Wish) = (None, None);
    // A loop within the iterator's own: each redirect comes by here.
    ranges.enumerate().for_each(|(place, range)| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(weight).unwrap_or(1000);
        let slot = if name.eq_ignore_ascii_case("application/json") {
            &mut json
        } else if name.eq_ignore_ascii_case("text/html") || name.eq_ignore_ascii_case("application/xhtml+xml") {
            &mut page
        } else {
            return;
        };
        if slot.is_none_or(|(best, _)| weight > best) {
            *slot = Some((weight, place));
        }
    });
    match (json, page) {
        (None | Some((0, _)), _) => false,
        (Some(_), None) => true,
        (Some((json, first)), Some((page, second))) => json > page || (json == page && first < second),
    }
}

/// `q=0.25` in thousandths (RFC 9110, 12.4.2); a weight that can't be read counts as 0.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().unwrap_or(0.0);
    Some(if (0.0..=1.0).contains(&value) { (value * 1000.0) as u16 } else { 0 })
}

/// Somebody looks at the answer: a navigation, or (from browsers that don't say) a request for a page.
pub(in crate::gateway) fn is_navigation(head: &Head<'_>) -> bool {
    match head.text("sec-fetch-mode") {
        Some(mode) => mode.eq_ignore_ascii_case("navigate"),
        None => accepted(head)
            .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html")),
    }
}

/// Somebody would look at the answer: a navigation, as far as the client says it, that asks for no JSON.
pub(in crate::gateway) fn wants_page(head: &Head<'_>) -> bool {
    let told = head.text("sec-fetch-mode").is_some();
    is_navigation(head) && (told || !prefers_json(head))
}

/// The request comes from a frame (`Sec-Fetch-Dest`).
pub(in crate::gateway) fn is_framed(head: &Head<'_>) -> bool {
    head.text("sec-fetch-dest").is_some_and(is_frame)
}

/// Whether this destination is a frame.
pub(in crate::gateway) fn is_frame(dest: &str) -> bool {
    ["iframe", "frame", "embed", "object", "fencedframe"].iter().any(|kind| dest.eq_ignore_ascii_case(kind))
}

/// The browser fetches ahead of a click (`Sec-Purpose`, or `Purpose` of older ones).
pub(in crate::gateway) fn is_prefetch(head: &Head<'_>) -> bool {
    let ahead = |value: &[u8]| {
        value.split(|b| matches!(b, b';' | b',' | b' ')).any(|token| {
            token.eq_ignore_ascii_case(b"prefetch")
                || token.eq_ignore_ascii_case(b"prerender")
                || token.eq_ignore_ascii_case(b"preview")
        })
    };
    head.headers.iter().any(|field| {
        matches!(field.name.len(), 7 | 11)
            && (field.name.eq_ignore_ascii_case("sec-purpose") || field.name.eq_ignore_ascii_case("purpose"))
            && ahead(field.value)
    })
}

/// The first `language` of the query, if the plug-in has it: compared without case, spelled as configured.
pub(in crate::gateway) fn language<'c>(query: Option<&str>, known: &'c [Box<str>]) -> Option<&'c str> {
    if known.is_empty() {
        return None;
    }
    let (_, wanted) = form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == "language")?;
    known.iter().find(|language| language.eq_ignore_ascii_case(&wanted)).map(|language| &**language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_given_to_who_prefers_it() {
        for (accept, json) in [
            ("application/json", true),
            ("application/json, text/plain, */*", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("*/*", false),
            ("", false),
            ("application/json;q=0.5, text/html", false),
            ("application/json, text/html;q=0.9", true),
            ("application/json, text/html", true),
            ("text/html, application/json", false),
            ("application/json;q=0", false),
            ("APPLICATION/JSON ; q=1.0", true),
            ("application/json;q=nonsense", false),
        ] {
            assert_eq!(are_for_json(accept.split(',')), json, "{accept}");
        }
    }

    #[test]
    fn a_language_is_the_first_and_listed() {
        let known: Vec<Box<str>> = vec!["en".into(), "pt-BR".into()];
        for (query, language_) in [
            ("language=en", Some("en")),
            ("language=EN", Some("en")),
            ("x=1&language=pt-br&language=en", Some("pt-BR")),
            ("language=fr&language=en", None),
            ("language=", None),
            ("Language=en", None),
            ("language=%65n", Some("en")),
        ] {
            assert_eq!(language(Some(query), &known), language_, "{query}");
        }
        assert_eq!(language(None, &known), None);
        assert_eq!(language(Some("language=en"), &[]), None);
    }
}
