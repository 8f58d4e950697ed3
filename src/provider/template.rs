//! Text with `{…}` values in it: `{subject}`, `{subject_hash}`, `{language}`, `{claim:NAME}`, `{claim:NAME?}`. A brace that is meant is doubled.

use super::MintInput;

/// A value that a recipe can put into a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Subject,
    SubjectHash,
    Language,
    Claim { name: Box<str>, optional: bool },
}

impl Value {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "subject" => Some(Self::Subject),
            "subject_hash" => Some(Self::SubjectHash),
            "language" => Some(Self::Language),
            _ => {
                let claim = name.strip_prefix("claim:")?;
                let (name, optional) = match claim.strip_suffix('?') {
                    Some(name) => (name, true),
                    None => (claim, false),
                };
                (!name.is_empty()).then(|| Self::Claim { name: name.into(), optional })
            }
        }
    }

    /// Whether its absence drops the parameter instead of refusing the call.
    pub(super) fn is_optional(&self) -> bool {
        match self {
            Self::Language => true,
            Self::Claim { optional, .. } => *optional,
            Self::Subject | Self::SubjectHash => false,
        }
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Box<str>),
    Value(Value),
}

/// Text with values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Part]>);

impl Template {
    /// Reads a template. The fault does not repeat the text.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const UNBALANCED: &str = "a brace without its other half; `{{` and `}}` stand for the braces themselves";
        let mut parts = Vec::new();
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
            let end =
                rest.find(['{', '}']).filter(|end| brace == "{" && rest[*end..].starts_with('}')).ok_or(UNBALANCED)?;
            let value = Value::parse(&rest[..end]).ok_or(
                "an unknown value in braces; known are {subject}, {subject_hash}, {language}, {claim:NAME} and {claim:NAME?}",
            )?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Value(value));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self(parts.into()))
    }

    /// The pieces, in order; no two literals follow each other.
    pub(super) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The values, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().filter_map(|part| match part {
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
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Value(value) => match values.get(value) {
                    Some(found) => escape(found, &mut text)?,
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
}

/// A required value is absent, or a value can't stand where the recipe puts it. No call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// What stands for the values in one mint.
pub(super) struct Values<'a> {
    pub(super) input: &'a MintInput,
    /// The names of `input.claims`.
    pub(super) claims: &'a [String],
    pub(super) subject_hash: Option<&'a str>,
}

impl Values<'_> {
    /// An empty value counts as absent.
    fn get(&self, value: &Value) -> Option<&str> {
        let found = match value {
            Value::Subject => Some(&*self.input.external_id),
            Value::SubjectHash => self.subject_hash,
            Value::Language => self.input.language.as_deref(),
            Value::Claim { name, .. } => {
                let at = self.claims.iter().position(|known| **known == **name)?;
                self.input.claims.get(at)?.as_deref()
            }
        };
        found.filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, optional: bool) -> Part {
        Part::Value(Value::Claim { name: name.into(), optional })
    }

    #[test]
    fn a_template_is_text_and_values() {
        let parts = |text| Template::parse(text).unwrap().0.into_vec();
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
            errand: Default::default(),
        };
        let claims = ["empty".to_owned(), "full".to_owned()];
        let values = Values { input: &input, claims: &claims, subject_hash: None };
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
