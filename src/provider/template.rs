//! Text with `{…}` values in it. A brace that is meant is doubled; docs/recipes.md lists the values.

mod value;

use serde_json::Value as Json;

pub(super) use self::value::{Answered, Place, TimeForm, Value, Values};

/// Whether a value that keeps its type can be this one.
pub fn is_whole_number(text: &str) -> bool {
    value::whole(text).is_some()
}

/// Whether this is a JSON pointer (RFC 6901, section 3). The one to the whole document is of no use here.
pub(super) fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|after| after.starts_with(['0', '1']))
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Box<str>),
    Value(Value),
}

/// A piece of a text with names in braces.
pub(super) enum Section<'t> {
    /// Not empty; doubled braces are single here.
    Literal(String),
    /// What stands between two braces.
    Name(&'t str),
}

/// Whether a text of a recipe has this value, such as `subject_hash`.
pub fn has_value(text: &str, wanted: &str) -> bool {
    sections(text).is_some_and(|found| found.iter().any(|one| matches!(one, Section::Name(name) if *name == wanted)))
}

/// Whether two values of a person stand side by side in a text of a recipe, so that `a` and `bc` read as `ab` and `c`. A language is one of a list.
pub fn has_neighbours(text: &str) -> bool {
    let is_persons = |one: &Section<'_>| matches!(one, Section::Name(name) if *name != "language");
    sections(text).is_some_and(|found| found.windows(2).any(|pair| pair.iter().all(is_persons)))
}

/// The pieces, in order; no two literals follow each other. `None`: a brace lacks its other half.
pub(super) fn sections(text: &str) -> Option<Vec<Section<'_>>> {
    let mut found = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let end = rest.find(['{', '}']).filter(|end| brace == "{" && rest[*end..].starts_with('}'))?;
        if !literal.is_empty() {
            found.push(Section::Literal(std::mem::take(&mut literal)));
        }
        found.push(Section::Name(&rest[..end]));
        rest = &rest[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        found.push(Section::Literal(literal));
    }
    Some(found)
}

/// Text with values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Box<[Part]>,
    /// One value alone that keeps its JSON type: it was written with a `#` at its end.
    typed: bool,
}

impl Template {
    /// Reads a template. The fault does not repeat the text.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const UNBALANCED: &str = "a brace without its other half; `{{` and `}}` stand for the braces themselves";
        let mut parts = Vec::new();
        let mut typed = false;
        for section in sections(text).ok_or(UNBALANCED)? {
            parts.push(match section {
                Section::Literal(literal) => Part::Literal(literal.into()),
                Section::Name(name) => {
                    let (value, keeps_type) = Value::parse(name)?;
                    typed |= keeps_type;
                    Part::Value(value)
                }
            });
        }
        if typed && parts.len() > 1 {
            return Err("`#` keeps the type of a value that stands alone; beside other text it is text");
        }
        Ok(Self { parts: parts.into(), typed })
    }

    /// Reads one for a place that takes only some values.
    pub(super) fn parse_for(text: &str, place: Place) -> Result<Self, &'static str> {
        let template = Self::parse(text)?;
        if template.typed && !place.json {
            return Err("`#` has a meaning in JSON alone: here everything is text");
        }
        template.values().try_for_each(|value| place.takes(value))?;
        Ok(template)
    }

    /// The pieces, in order; no two literals follow each other.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether it is one value alone that keeps its JSON type.
    pub(super) fn is_typed(&self) -> bool {
        self.typed
    }

    /// The values, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Value(value) => Some(value),
        })
    }

    /// The text with its values, each written by `escape`. `None`: an optional value is absent, and the parameter goes with it.
    pub(super) fn fill(
        &self,
        values: &Values<'_>,
        escape: impl Fn(&str, &mut String) -> Result<(), Unfit>,
    ) -> Result<Option<String>, Unfit> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                // The operator's own, and a URL as it stands.
                Part::Value(Value::BaseUrl) => text.push_str(values.base_url),
                Part::Value(value) => match values.text(value) {
                    Some(found) => escape(&found, &mut text)?,
                    None if value.is_optional() => return Ok(None),
                    None => return Err(Unfit),
                },
            }
        }
        Ok(Some(text))
    }

    /// [`Template::fill`] with the values as they are.
    pub(super) fn fill_plain(&self, values: &Values<'_>) -> Result<Option<String>, Unfit> {
        self.fill(values, |value, text| {
            text.push_str(value);
            Ok(())
        })
    }

    /// [`Template::fill`] for a place in JSON.
    pub(super) fn fill_json(&self, values: &Values<'_>) -> Result<Option<Json>, Unfit> {
        match &*self.parts {
            [Part::Value(value)] if self.typed => match values.json(value) {
                Some(found) => Ok(Some(found)),
                None if value.is_optional() => Ok(None),
                None => Err(Unfit),
            },
            _ => Ok(self.fill_plain(values)?.map(Json::String)),
        }
    }
}

/// A required value is absent, or a value can't stand where the recipe puts it. No call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::MintInput;

    fn claim(name: &str, optional: bool) -> Part {
        Part::Value(Value::Claim { name: name.into(), optional })
    }

    #[test]
    fn doubled_braces_are_no_value_and_values_side_by_side_are_seen() {
        assert!(has_value("x-{subject_hash}", "subject_hash"));
        assert!(!has_value("{{subject_hash}}", "subject_hash") && !has_value("{subject}", "subject_hash"));
        assert!(has_neighbours("{{{subject}{claim:org}}}"));
        for apart in ["{subject}-{claim:org}", "{subject}{language}", "{{a}}{subject}", "{subject}{{{claim:org}"] {
            assert!(!has_neighbours(apart), "{apart}");
        }
    }

    #[test]
    fn a_template_is_text_and_values() {
        let parts = |text| Template::parse(text).unwrap().parts.into_vec();
        assert_eq!(parts(""), []);
        assert_eq!(parts("plain"), [Part::Literal("plain".into())]);
        assert_eq!(
            parts("a{subject}{claim:x}"),
            [Part::Literal("a".into()), Part::Value(Value::Subject), claim("x", false)]
        );
        assert_eq!(parts("{claim:x y?}é"), [claim("x y", true), Part::Literal("é".into())]);
        assert_eq!(parts("{{subject}}"), [Part::Literal("{subject}".into())]);
        assert_eq!(parts("{{{subject}}}").len(), 3);
    }

    #[test]
    fn a_wrong_template_is_refused() {
        for wrong in [
            "{",
            "}",
            "{subject",
            "subject}",
            "{sub{ject}",
            "{}",
            "{Subject}",
            "{claim:}",
            "{claim:?}",
            "{ subject }",
            "{{{",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn only_optional_values_drop_their_parameter() {
        let input = MintInput {
            external_id: "ada".into(),
            issuer: "i".into(),
            subject: "s".into(),
            language: None,
            claims: [Some("".into()), Some("x".into())].into(),
            parameters: [].into(),
            context: Default::default(),
        };
        let claims = ["empty".to_owned(), "full".to_owned()];
        let values = Values { claims: &claims, ..Values::of(&input) };
        let filled = |text| Template::parse(text).unwrap().fill_plain(&values);
        assert_eq!(filled("{subject}-{claim:full}"), Ok(Some("ada-x".into())));
        assert_eq!(filled("x{language}"), Ok(None));
        assert_eq!(filled("{claim:empty?}"), Ok(None));
        assert_eq!(filled("{claim:unknown?}"), Ok(None));
        assert_eq!(filled("{claim:empty}"), Err(Unfit));
        assert_eq!(filled("{claim:unknown}"), Err(Unfit));
        assert_eq!(filled("{subject_hash}"), Err(Unfit));
    }
}
