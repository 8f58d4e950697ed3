//! Answers for people who are alike: Cedar is asked once for each kind of person, and not for each token.
//!
//! An answer follows from what the policies can see. Where they look at neither the time nor the request, nor at anything that is another for each
//! person or sign-in, two tokens that say the same of all else are the same question.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use super::Policy;
use super::entity::{ANONYMOUS, Person, Types};
use super::reads::Reads;
use crate::session::{Trait, Traits};

/// So many kinds of people are remembered for one action on one resource; at the bound all are forgotten.
const MAX_KINDS: usize = 256;

/// A kind with a longer description is one that hardly anybody else is of. With [`MAX_KINDS`] it bounds the memory: 256 KiB.
const MAX_BYTES: usize = 1024;

/// What differs from person to person, or from sign-in to sign-in.
const PERSONAL: [&str; 4] = ["subject", "session", "auth_time", "issued_at"];

/// Whom a policy names, wherever it does.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// One person, by name. Whoever has no session is no person.
    person: bool,
    groups: BTreeSet<Box<str>>,
}

impl Named {
    /// Scope and conditions are looked through.
    pub fn of(policy: &cedar_policy::Policy, types: &Types) -> Self {
        let mut named = Self::default();
        for name in policy.entity_literals() {
            let id: &str = name.id().as_ref();
            if *name.type_name() == types.group {
                named.groups.insert(id.into());
            } else if *name.type_name() == types.user {
                named.person |= id != ANONYMOUS;
            }
        }
        named
    }
}

/// All that the policies can see of a person.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind(Box<[u8]>);

/// The answers about one action on one resource.
#[derive(Debug)]
pub(super) struct Alike {
    reads: Reads,
    /// The groups that the policies name: the others make no difference.
    groups: BTreeSet<Box<str>>,
    answers: Mutex<HashMap<Kind, u32>>,
}

impl Alike {
    /// For those of these policies that have a say; `None`: each person is asked about.
    pub fn new<'p>(policies: impl Iterator<Item = &'p Policy> + Clone) -> Option<Self> {
        let reads = policies.clone().fold(Reads::default(), |reads, policy| reads | policy.reads);
        let differs = reads.differs_each_time() || reads.has_time() || PERSONAL.iter().any(|one| reads.has(one));
        if differs || policies.clone().any(|policy| policy.named.person) {
            return None;
        }
        let groups = policies.flat_map(|policy| policy.named.groups.iter().cloned()).collect();
        Some(Self { reads, groups, answers: Mutex::default() })
    }

    /// What kind of person this is; `None`: of one too rare.
    pub fn kind(&self, person: &Person<'_>) -> Option<Kind> {
        let Traits { acr, amr, scopes, auth_time: _, issued_at: _, groups, claims } = person.traits;
        let mut groups: Vec<&str> =
            groups.iter().map(|group| &**group).filter(|group| self.groups.contains(*group)).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut kind = Description(vec![u8::from(person.is_anonymous())]);
        kind.texts(groups.into_iter());
        if self.reads.has("issuer") {
            kind.text(person.issuer);
        }
        if self.reads.has("acr") {
            kind.texts(acr.as_deref().into_iter());
        }
        for (attribute, texts) in [("amr", amr), ("scopes", scopes)] {
            if self.reads.has(attribute) {
                kind.texts(texts.iter().map(|text| &**text));
            }
        }
        if self.reads.has("claims") {
            kind.number(claims.len());
            for (name, value) in claims {
                kind.text(name);
                kind.value(value);
            }
        }
        Some(Kind(kind.0.into())).filter(|Kind(bytes)| bytes.len() <= MAX_BYTES)
    }

    /// What was answered about people of this kind.
    pub fn get(&self, kind: &Kind) -> Option<u32> {
        self.answers.lock().get(kind).copied()
    }

    /// Remembers an answer.
    pub fn put(&self, kind: Kind, answer: u32) {
        let mut answers = self.answers.lock();
        if answers.len() >= MAX_KINDS {
            answers.clear();
        }
        answers.insert(kind, answer);
    }
}

/// Bytes from which everything could be read back: what differs, differs here.
struct Description(Vec<u8>);

impl Description {
    fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts<'t>(&mut self, texts: impl Iterator<Item = &'t str> + Clone) {
        self.number(texts.clone().count());
        texts.for_each(|text| self.text(text));
    }

    fn value(&mut self, value: &Trait) {
        match value {
            Trait::Text(text) => {
                self.0.push(0);
                self.text(text);
            }
            Trait::Integer(number) => {
                self.0.push(1);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Trait::Boolean(value) => self.0.extend_from_slice(&[2, u8::from(*value)]),
            Trait::Set(texts) => {
                self.0.push(3);
                self.texts(texts.iter().map(|text| &**text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let alike = Alike { reads: Reads::default(), groups: BTreeSet::new(), answers: Mutex::default() };
        for kind in 0..10 * MAX_KINDS {
            alike.put(Kind(kind.to_le_bytes().into()), 7);
            assert_eq!(alike.get(&Kind(kind.to_le_bytes().into())), Some(7));
        }
        assert!(alike.answers.lock().len() <= MAX_KINDS);
        assert_eq!(alike.get(&Kind(0_usize.to_le_bytes().into())), None);
        let alike = Alike { groups: ["g".repeat(MAX_BYTES).into()].into(), ..alike };
        let traits = Traits { groups: ["g".repeat(MAX_BYTES).into()].into(), ..Traits::default() };
        assert_eq!(alike.kind(&Person::said("i", "s", None, &traits)), None);
    }
}
