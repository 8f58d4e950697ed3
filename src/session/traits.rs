//! What policies may read of a token, kept beside the session.

use super::claim_path::ClaimPath;
use super::claims::date;
use super::json::{Number, Object, Selector, Value};
use crate::clock::Timestamp;

/// What a verified token says of its session, for policies. What is absent in the token, or of another type, is absent here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traits {
    /// `acr` (OpenID Connect Core, section 2): how strong the sign-in was.
    pub acr: Option<Box<str>>,
    /// `amr` ([RFC 8176](https://www.rfc-editor.org/rfc/rfc8176)): by which methods one signed in.
    pub amr: Box<[Box<str>]>,
    /// `scope` ([RFC 9068](https://www.rfc-editor.org/rfc/rfc9068)) or `scp`, one by one.
    pub scopes: Box<[Box<str>]>,
    /// `auth_time`: when one signed in.
    pub auth_time: Option<Timestamp>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// The values of the groups' claim.
    pub groups: Box<[Box<str>]>,
    /// The declared claims that the token has, by their declared names.
    pub claims: Box<[(Box<str>, Trait)]>,
}

/// The value of one declared claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trait {
    /// A text.
    Text(Box<str>),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// A list of texts.
    Set(Box<[Box<str>]>),
}

/// What a declared claim must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraitKind {
    /// A JSON string.
    Text,
    /// A JSON number without a fraction, in 64 bits.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A JSON list of strings.
    Set,
}

/// Which claims policies read, and what they must be.
#[derive(Clone, Debug, Default)]
pub struct TraitClaims {
    groups: Option<Selector>,
    claims: Vec<(Box<str>, Selector, TraitKind)>,
}

impl TraitClaims {
    /// The claim whose strings are the groups.
    pub fn groups(&mut self, claim: &ClaimPath) {
        self.groups = Some(claim.selector().clone());
    }

    /// One more claim under the name by which policies read it.
    pub fn declare(&mut self, name: &str, claim: &ClaimPath, kind: TraitKind) {
        self.claims.push((name.into(), claim.selector().clone(), kind));
    }

    /// What this token says.
    pub(super) fn read(&self, payload: &Object<'_>) -> Traits {
        let text = |name: &str| payload.get(name).and_then(Value::text).map(Box::from);
        let time = |name: &str| date(payload, name).ok().flatten();
        let declared = |(name, selector, kind): &(Box<str>, Selector, TraitKind)| {
            Some((name.clone(), value(selector.find(payload)?, *kind)?))
        };
        Traits {
            acr: text("acr"),
            amr: payload.get("amr").map(texts).unwrap_or_default(),
            scopes: scopes(payload),
            auth_time: time("auth_time"),
            issued_at: time("iat"),
            groups: self.groups.as_ref().and_then(|groups| groups.find(payload)).map(texts).unwrap_or_default(),
            claims: self.claims.iter().filter_map(declared).collect(),
        }
    }
}

/// The texts of a list; one text is a list of one. What is no text is skipped.
fn texts(value: &Value<'_>) -> Box<[Box<str>]> {
    match value {
        Value::Text(text) => [text.as_ref().into()].into(),
        Value::List(list) => list.iter().filter_map(Value::text).map(Box::from).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Box::default(),
    }
}

/// A text is parted at its spaces (RFC 6749, section 3.3); Entra ID and others have `scp`, as a text or a list.
fn scopes(payload: &Object<'_>) -> Box<[Box<str>]> {
    match payload.get("scope").or_else(|| payload.get("scp")) {
        Some(Value::Text(text)) => text.split(' ').filter(|scope| !scope.is_empty()).map(Box::from).collect(),
        Some(other) => texts(other),
        None => Box::default(),
    }
}

fn value(value: &Value<'_>, kind: TraitKind) -> Option<Trait> {
    match (kind, value) {
        (TraitKind::Text, Value::Text(text)) => Some(Trait::Text(text.as_ref().into())),
        (TraitKind::Boolean, Value::Bool(value)) => Some(Trait::Boolean(*value)),
        (TraitKind::Integer, Value::Number(Number::Whole(number))) => i64::try_from(*number).ok().map(Trait::Integer),
        (TraitKind::Integer, Value::Number(Number::Negative(number))) => Some(Trait::Integer(*number)),
        (TraitKind::Set, Value::List(list)) => {
            list.iter().map(|one| one.text().map(Box::from)).collect::<Option<_>>().map(Trait::Set)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::object;
    use super::*;

    fn read(claims: &TraitClaims, payload: &str) -> Traits {
        claims.read(&object(payload.as_bytes()).unwrap())
    }

    fn plain(list: &[Box<str>]) -> Vec<&str> {
        list.iter().map(|one| &**one).collect()
    }

    #[test]
    fn groups_are_the_texts_of_a_claim_and_one_text_is_one_group() {
        let mut claims = TraitClaims::default();
        claims.groups(&"/realm/groups".parse().unwrap());
        for (payload, groups) in [
            (r#"{"realm":{"groups":["a","b"]}}"#, vec!["a", "b"]),
            (r#"{"realm":{"groups":"a b"}}"#, vec!["a b"]),
            (r#"{"realm":{"groups":["a",1,null,["c"],"b"]}}"#, vec!["a", "b"]),
            (r#"{"realm":{"groups":7}}"#, vec![]),
            (r#"{"groups":["a"]}"#, vec![]),
        ] {
            assert_eq!(plain(&read(&claims, payload).groups), groups, "{payload}");
        }
    }

    #[test]
    fn scopes_are_parted_at_spaces_or_listed_and_scope_goes_before_scp() {
        let claims = TraitClaims::default();
        for (payload, scopes) in [
            (r#"{"scope":"a b  c"}"#, vec!["a", "b", "c"]),
            (r#"{"scope":["a","b c"]}"#, vec!["a", "b c"]),
            (r#"{"scp":"a b"}"#, vec!["a", "b"]),
            (r#"{"scp":["a"],"scope":"b"}"#, vec!["b"]),
            (r#"{"scope":""}"#, vec![]),
            ("{}", vec![]),
        ] {
            assert_eq!(plain(&read(&claims, payload).scopes), scopes, "{payload}");
        }
    }

    #[test]
    fn a_claim_of_another_type_is_absent() {
        let mut claims = TraitClaims::default();
        for (name, kind) in
            [("t", TraitKind::Text), ("i", TraitKind::Integer), ("b", TraitKind::Boolean), ("s", TraitKind::Set)]
        {
            claims.declare(name, &name.parse().unwrap(), kind);
        }
        let has = |payload: &str| read(&claims, payload).claims.to_vec();
        assert_eq!(
            has(r#"{"t":"x","i":-3,"b":false,"s":["x","y"]}"#),
            vec![
                ("t".into(), Trait::Text("x".into())),
                ("i".into(), Trait::Integer(-3)),
                ("b".into(), Trait::Boolean(false)),
                ("s".into(), Trait::Set(["x".into(), "y".into()].into())),
            ]
        );
        assert_eq!(has(r#"{"t":1,"i":"1","b":0,"s":"x"}"#), vec![]);
        assert_eq!(has(r#"{"t":null,"i":1.5,"b":"true","s":["x",1]}"#), vec![]);
        assert_eq!(has(r#"{"i":9223372036854775807}"#), vec![("i".into(), Trait::Integer(i64::MAX))]);
        assert_eq!(has(r#"{"i":9223372036854775808}"#), vec![]);
        assert_eq!(has(r#"{"i":-9223372036854775808}"#), vec![("i".into(), Trait::Integer(i64::MIN))]);
        assert!(["", "/a~"].iter().all(|name| name.parse::<ClaimPath>().is_err()));
    }

    #[test]
    fn times_and_methods_are_read_and_nonsense_is_absent() {
        let claims = TraitClaims::default();
        let traits = read(&claims, r#"{"acr":"mfa","amr":["pwd","otp"],"auth_time":100,"iat":200.7}"#);
        assert_eq!((traits.acr.as_deref(), plain(&traits.amr)), (Some("mfa"), vec!["pwd", "otp"]));
        assert_eq!(traits.auth_time, Some(Timestamp::from_secs(100)));
        assert_eq!(traits.issued_at, Some(Timestamp::from_secs(200)));
        let traits = read(&claims, r#"{"acr":1,"amr":{},"auth_time":"100","iat":-1}"#);
        assert_eq!(traits, Traits::default());
    }
}
