//! `external_id`: the name under which vendors know a subject.
//!
//! One name must never mean two persons. Within one template each value but the last ends at the fixed text behind it, so it may not hold
//! that text. Of two templates that could give one name, the more definite one keeps the name, and the other refuses it.

mod braces;
mod template;

use std::fmt;

use super::claims::TENANT_CLAIM;
use super::json::{self, Object, Selector};

use self::template::Piece;

pub use self::template::{ExternalIdTemplate, TENANT};

/// Text with `{sub}` and `{claim:NAME}`.
#[derive(Debug)]
pub(super) struct ExternalId {
    /// The fixed text before the first value.
    beginning: Box<str>,
    /// At least one.
    values: Box<[Value]>,
    /// `{claim:tid}` stands in it as fixed text, for the issuer is a tenant's: a token must have the claim, though its value is known.
    needs_tid: bool,
}

#[derive(Debug)]
struct Value {
    source: Source,
    /// The fixed text up to the next value or to the end; empty at most behind the last value.
    after: Box<str>,
}

#[derive(Debug)]
enum Source {
    Subject,
    Claim(Selector),
}

/// Why the vendor is not told a name: it could be another person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// A value holds the fixed text that ends it.
    Separator,
    /// The name reads as one that the `external_id` of another issuer gives.
    OtherIssuer,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Separator => {
                "a value holds the fixed text that stands behind it in `external_id`: the name could be another person's"
            }
            Self::OtherIssuer => "the name reads as one that the `external_id` of another issuer gives",
        })
    }
}

/// The name of one person.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) fault: Option<NameFault>,
}

/// What two templates mean for each other's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precedence {
    /// They share no name.
    Apart,
    /// The first keeps the names that both could give.
    First,
    /// The second keeps them.
    Second,
    /// Nothing tells whose a name is.
    Alike,
}

impl ExternalIdTemplate {
    /// Whether it tells one person of an issuer, which is this tenant's, from another.
    pub fn tells_persons_apart(&self, tenant: Option<&str>) -> bool {
        ExternalId::new(self, tenant).is_some()
    }
}

impl ExternalId {
    /// Of an issuer that is this tenant's. All its tokens have one `tid`, which is fixed text then. `None`: nothing tells one person from another.
    pub(super) fn new(template: &ExternalIdTemplate, tenant: Option<&str>) -> Option<Self> {
        let (mut beginning, mut needs_tid) = (String::new(), false);
        let mut values = Vec::<(Source, String)>::new();
        for piece in &template.pieces {
            let fixed: &str = match (piece, tenant) {
                (Piece::Text(text), _) => text,
                (Piece::Tenant, tenant) => tenant?,
                (piece, Some(tenant)) if piece.is_tid() => {
                    needs_tid = true;
                    tenant
                }
                (Piece::Subject, _) => {
                    values.push((Source::Subject, String::new()));
                    continue;
                }
                (Piece::Claim(claim), _) => {
                    values.push((Source::Claim(claim.selector().clone()), String::new()));
                    continue;
                }
            };
            values.last_mut().map_or(&mut beginning, |(_, after)| after).push_str(fixed);
        }
        let values: Box<[Value]> =
            values.into_iter().map(|(source, after)| Value { source, after: after.into() }).collect();
        (!values.is_empty()).then(|| Self { beginning: beginning.into(), values, needs_tid })
    }

    /// The claims that stand in the way of a name: absent, empty, no text, or with a control character in it.
    pub(super) fn lacking(&self, payload: &Object<'_>) -> Vec<String> {
        let tid = (self.needs_tid && payload.get(TENANT_CLAIM).is_none()).then(|| TENANT_CLAIM.to_owned());
        let is_good = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        let lacking = self.values.iter().filter_map(|value| match &value.source {
            Source::Claim(claim) if !claim.find(payload).and_then(json::Value::text).is_some_and(is_good) => {
                Some(claim.written())
            }
            Source::Subject | Source::Claim(_) => None,
        });
        tid.into_iter().chain(lacking).collect()
    }

    /// The name; `None` when a claim is absent, empty, not a string or holds a control character.
    pub(super) fn render(&self, subject: &str, payload: &Object<'_>) -> Option<Name> {
        // That it is the tenant's own the claims' rules see to.
        if self.needs_tid && payload.get(TENANT_CLAIM).is_none() {
            return None;
        }
        let mut text = String::with_capacity(self.beginning.len() + subject.len());
        text.push_str(&self.beginning);
        let mut fault = None;
        for (at, value) in self.values.iter().enumerate() {
            let start = text.len();
            match &value.source {
                Source::Subject => text.push_str(subject),
                Source::Claim(selector) => {
                    let claim = selector.find(payload)?.text()?;
                    if claim.is_empty() || claim.chars().any(char::is_control) {
                        return None;
                    }
                    text.push_str(claim);
                }
            }
            let end = text.len();
            text.push_str(&value.after);
            // Also one that begins in the value and ends in the fixed text: then `:` + `::` would be `::` + `:`.
            let ends_early = || text[start..].find(&*value.after).is_some_and(|found| start + found < end);
            if at + 1 < self.values.len() && ends_early() {
                fault = Some(NameFault::Separator);
            }
        }
        Some(Name { text: text.into(), fault })
    }

    /// Whether this template could give the name. May say yes to a name that no session gets, never no to one that some session gets.
    pub(super) fn could_give(&self, name: &str) -> bool {
        let values = name.strip_prefix(&*self.beginning).and_then(|rest| rest.strip_suffix(self.ending()));
        let Some(mut rest) = values else { return false };
        for value in &self.values[..self.values.len() - 1] {
            let Some((_, tail)) = rest.split_once(&*value.after) else { return false };
            rest = tail;
        }
        true
    }

    /// Which of the two keeps a name that both could give. The more definite one does: the one with the longer beginning, then the longer
    /// ending, then more values, then more fixed text between them.
    pub(super) fn against(&self, other: &Self) -> Precedence {
        let begin_apart =
            !self.beginning.starts_with(&*other.beginning) && !other.beginning.starts_with(&*self.beginning);
        let end_apart = !self.ending().ends_with(other.ending()) && !other.ending().ends_with(self.ending());
        if begin_apart || end_apart {
            return Precedence::Apart;
        }
        match self.rank().cmp(&other.rank()) {
            std::cmp::Ordering::Greater => Precedence::First,
            std::cmp::Ordering::Less => Precedence::Second,
            std::cmp::Ordering::Equal => Precedence::Alike,
        }
    }

    fn rank(&self) -> [usize; 4] {
        let fixed = self.values.iter().map(|value| value.after.len()).sum();
        [self.beginning.len(), self.ending().len(), self.values.len(), fixed]
    }

    /// The fixed text behind the last value.
    fn ending(&self) -> &str {
        self.values.last().map_or("", |value| &value.after)
    }
}

/// Each `external_id` (with its issuer's tenant) that could give two persons one name together with an earlier one, where nothing tells whose
/// it is: the places of the earlier and the later one. Those that tell nobody apart are left out.
pub fn alike(templates: &[(&ExternalIdTemplate, Option<&str>)]) -> Vec<(usize, usize)> {
    let read: Vec<_> = templates.iter().map(|(template, tenant)| ExternalId::new(template, *tenant)).collect();
    let mut pairs = Vec::new();
    for (later, own) in read.iter().enumerate() {
        let Some(own) = own else { continue };
        let is_alike =
            |other: &Option<ExternalId>| other.as_ref().is_some_and(|other| own.against(other) == Precedence::Alike);
        pairs.extend(read.iter().take(later).position(is_alike).map(|earlier| (earlier, later)));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::session::json;
    use crate::setting::TextSetting as _;

    fn read(template: &str, tenant: Option<&str>) -> Option<ExternalId> {
        ExternalId::new(&ExternalIdTemplate::read(template).ok()?, tenant)
    }

    fn render(template: &str, payload: &str) -> Option<Name> {
        read(template, None).unwrap().render("ada", &json::object(payload.as_bytes()).unwrap())
    }

    fn text(template: &str, payload: &str) -> Option<String> {
        render(template, payload).map(|name| name.text.into())
    }

    #[test]
    fn the_name_is_built_from_subject_and_claims() {
        assert_eq!(text("{sub}", "{}").as_deref(), Some("ada"));
        assert_eq!(text("idp-{sub}!", "{}").as_deref(), Some("idp-ada!"));
        assert_eq!(text("{claim:org}/{sub}", r#"{"org":"acme"}"#).as_deref(), Some("acme/ada"));
        assert_eq!(text("{claim:/a/b}", r#"{"a":{"b":"c"}}"#).as_deref(), Some("c"));
        for payload in
            ["{}", r#"{"org":""}"#, r#"{"org":null}"#, r#"{"org":1}"#, r#"{"org":["a"]}"#, r#"{"org":"a\n"}"#]
        {
            assert_eq!(render("{claim:org}", payload), None, "{payload}");
        }
    }

    #[test]
    fn a_value_that_holds_its_separator_is_refused() {
        let fault = |template: &str, org: &str| render(template, &json!({ "org": org }).to_string()).unwrap().fault;
        assert_eq!(fault("{claim:org}:{sub}", "acme"), None);
        for org in ["a:b", ":", "acme:", ":acme"] {
            assert_eq!(fault("{claim:org}:{sub}", org), Some(NameFault::Separator), "{org}");
        }
        // What ends the name ends no value: nothing follows that could be taken for part of it.
        assert_eq!(fault("{sub}:{claim:org}:", "a:b"), None);
        assert_eq!(fault("{claim:org}", "a:b"), None);
        assert_eq!(fault("{claim:org}::{sub}", "a:b"), None);
        assert_eq!(fault("{claim:org}::{sub}", "a:"), Some(NameFault::Separator));
    }

    #[test]
    fn the_tenant_of_an_issuer_is_fixed_text_in_its_names() {
        let of = |template: &str, tenant: &str| read(template, Some(tenant)).unwrap();
        let payload = json::object(br#"{"tid":"red","org":"x"}"#).unwrap();
        let name = of("{claim:tid}:{sub}", "red").render("a:b", &payload).unwrap();
        assert_eq!((&*name.text, name.fault), ("red:a:b", None));
        // A token that lacks the claim is refused as with any other claim.
        assert_eq!(of("{claim:tid}:{sub}", "red").render("ada", &json::object(b"{}").unwrap()), None);
        for template in ["{claim:tid}:{sub}", "{sub}@{claim:/tid}", "x-{claim:tid}-{sub}"] {
            assert_eq!(of(template, "red").against(&of(template, "blue")), Precedence::Apart, "{template}");
        }
        let (short, long) = (of("{claim:tid}-{sub}", "a"), of("{claim:tid}-{sub}", "a-b"));
        assert_eq!(short.against(&long), Precedence::Second);
        assert!(long.could_give("a-b-ada") && !long.could_give("a-ada"));
        for without in ["{claim:tid}", "x-{claim:tid}"] {
            assert!(read(without, Some("red")).is_none(), "{without}");
        }
    }

    #[test]
    fn of_two_templates_the_more_definite_one_keeps_a_name() {
        let against = |one: &str, other: &str| read(one, None).unwrap().against(&read(other, None).unwrap());
        for (one, other, expected) in [
            ("corp-{sub}", "{sub}", Precedence::First),
            ("corp-{sub}", "corp-{claim:org}", Precedence::Alike),
            ("{sub}", "{sub}", Precedence::Alike),
            ("{sub}", "{claim:org}", Precedence::Alike),
            ("a-{sub}", "b-{sub}", Precedence::Apart),
            ("{sub}@a", "{sub}@b", Precedence::Apart),
            ("{sub}", "{sub}@b", Precedence::Second),
            ("{claim:tid}:{sub}", "{sub}", Precedence::First),
            ("{claim:tid}:{sub}", "{claim:org}-{sub}", Precedence::Alike),
            ("a{sub}", "ab{sub}", Precedence::Second),
        ] {
            assert_eq!(against(one, other), expected, "{one} {other}");
            let turned = match expected {
                Precedence::First => Precedence::Second,
                Precedence::Second => Precedence::First,
                same => same,
            };
            assert_eq!(against(other, one), turned, "{other} {one}");
        }
    }

    /// Templates over few characters, so that beginnings, separators and values meet often.
    fn template() -> impl Strategy<Value = String> {
        let value = prop_oneof![Just("{sub}"), Just("{claim:a}"), Just("{claim:b}")];
        let between = prop::collection::vec((value.clone(), "[x:]{1,2}"), 0..3);
        ("[x:]{0,2}", between, value, "[x:]{0,2}").prop_map(|(beginning, rest, last, ending)| {
            rest.into_iter().fold(beginning, |all, (value, after)| all + value + &after) + last + &ending
        })
    }

    /// Subject, and the claims `a` and `b`.
    fn person() -> impl Strategy<Value = [String; 3]> {
        ["[x:]{1,4}", "[x:]{1,4}", "[x:]{1,4}"].prop_map(|values| values)
    }

    /// The name under which the vendor learns of this person, if any; and the values that the template uses.
    fn told<'p>(own: &ExternalId, all: &[&ExternalId], person: &'p [String; 3]) -> Option<(Box<str>, Vec<&'p str>)> {
        let [subject, a, b] = person;
        let claims: Map<_, _> = [("a".to_owned(), json!(a)), ("b".to_owned(), json!(b))].into_iter().collect();
        let payload = serde_json::to_vec(&claims).unwrap();
        let name = own.render(subject, &json::object(&payload).unwrap()).unwrap();
        let yields = |other: &&&ExternalId| own.against(other) == Precedence::Second && other.could_give(&name.text);
        if name.fault.is_some() || all.iter().any(|other| yields(&other)) {
            return None;
        }
        let used = own.values.iter().map(|value| match &value.source {
            Source::Subject => subject.as_str(),
            Source::Claim(selector) if selector.find(&json::object(br#"{"a":""}"#).unwrap()).is_some() => a,
            Source::Claim(_) => b,
        });
        Some((name.text, used.collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, max_global_rejects: 1 << 16, ..ProptestConfig::default() })]

        /// Over all configurations that pass the check, one name at the vendor is one person: one issuer, and the same values.
        #[test]
        fn two_persons_never_have_one_name_at_the_vendor(
            templates in [template(), template()], which in [0..2_usize, 0..2_usize], persons in [person(), person()],
        ) {
            let read: Vec<_> = templates.iter().filter_map(|text| read(text, None)).collect();
            prop_assume!(read.len() == 2 && read[0].against(&read[1]) != Precedence::Alike);
            let all: Vec<&ExternalId> = read.iter().collect();
            let one = told(&read[which[0]], &all, &persons[0]);
            let other = told(&read[which[1]], &all, &persons[1]);
            if let (Some((one, values)), Some((other, others))) = (one, other) && one == other {
                prop_assert_eq!(which[0], which[1], "{:?} of two issuers", one);
                prop_assert_eq!(values, others, "{:?} of two persons", one);
            }
        }
    }
}
