//! `external_id`: the name under which vendors know a subject.

use super::json::{Object, Selector};

/// Text with `{sub}` and `{claim:NAME}`.
#[derive(Debug)]
pub(super) struct ExternalId(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Subject,
    Claim(Selector),
}

impl ExternalId {
    /// Reads the template. `None` for an unknown or open placeholder, and for a text without any: all persons would be one.
    pub(super) fn parse(template: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, tail)) = rest.split_once('{') {
            let (placeholder, after) = tail.split_once('}')?;
            if !text.is_empty() {
                parts.push(Part::Text(text.into()));
            }
            parts.push(match (placeholder, placeholder.strip_prefix("claim:")) {
                ("sub", _) => Part::Subject,
                (_, Some(name)) => Part::Claim(Selector::parse(name)?),
                (_, None) => return None,
            });
            rest = after;
        }
        if parts.is_empty() || template.split(['{', '}']).count() != 1 + 2 * placeholders(&parts) {
            return None;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Some(Self(parts))
    }

    /// The name; `None` when a claim is absent, empty, not a string or holds a control character.
    pub(super) fn render(&self, subject: &str, payload: &Object<'_>) -> Option<Box<str>> {
        let mut text = String::with_capacity(subject.len());
        for part in &self.0 {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Subject => text.push_str(subject),
                Part::Claim(selector) => {
                    let claim = selector.find(payload)?.text()?;
                    if claim.is_empty() || claim.chars().any(char::is_control) {
                        return None;
                    }
                    text.push_str(claim);
                }
            }
        }
        Some(text.into())
    }
}

fn placeholders(parts: &[Part]) -> usize {
    parts.iter().filter(|part| !matches!(part, Part::Text(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::json;

    fn render(template: &str, payload: &str) -> Option<Box<str>> {
        ExternalId::parse(template).unwrap().render("ada", &json::object(payload.as_bytes()).unwrap())
    }

    #[test]
    fn the_name_is_built_from_subject_and_claims() {
        assert_eq!(render("{sub}", "{}").as_deref(), Some("ada"));
        assert_eq!(render("idp-{sub}!", "{}").as_deref(), Some("idp-ada!"));
        assert_eq!(render("{claim:org}/{sub}", r#"{"org":"acme"}"#).as_deref(), Some("acme/ada"));
        assert_eq!(render("{claim:/a/b}", r#"{"a":{"b":"c"}}"#).as_deref(), Some("c"));
        for payload in
            ["{}", r#"{"org":""}"#, r#"{"org":null}"#, r#"{"org":1}"#, r#"{"org":["a"]}"#, r#"{"org":"a\n"}"#]
        {
            assert_eq!(render("{claim:org}", payload), None, "{payload}");
        }
    }

    #[test]
    fn a_template_without_or_with_an_unknown_placeholder_is_refused() {
        for wrong in ["", "fixed", "{sub", "sub}", "{sub}}", "{{sub}", "{name}", "{claim:}", "{}", "}{sub}"] {
            assert!(ExternalId::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
