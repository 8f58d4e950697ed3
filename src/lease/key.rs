//! To whom a lease belongs. A key that is too narrow hands out somebody else's URL, so everything that decides what a URL is goes in.

use std::fmt;

use aws_lc_rs::digest;
use smallvec::SmallVec;

use crate::lease::settings::Reuse;
use crate::provider::{MintContext, MintInput};
use crate::session::{Session, SessionName};

/// What the configuration contributes to a key: SHA-256 over issuer, plug-in, provider, mint and the recipe's fingerprint (which covers its `redirect_hosts`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope([u8; 32]);

impl Scope {
    /// The scope of an owner.
    pub fn of(owner: &[u8]) -> Option<Self> {
        owner.first_chunk().copied().map(Self)
    }

    /// The owner of this subject's leases.
    pub fn owner(&self, subject: &str) -> Vec<u8> {
        [self.0.as_slice(), subject.as_bytes()].concat()
    }

    /// The subject, if the owner is of this scope.
    pub fn subject_of<'a>(&self, owner: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(owner.strip_prefix(self.0.as_slice())?).ok()
    }

    /// The scope of one issuer's subjects ([`Session::namespace`]) at one plug-in.
    pub fn new(issuer: &str, plugin: &str, provider: &str, mint: &str, fingerprint: &[u8; 32]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [issuer.as_bytes(), plugin.as_bytes(), provider.as_bytes(), mint.as_bytes(), fingerprint] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut scope = [0; 32];
        scope.copy_from_slice(hash.finish().as_ref());
        Self(scope)
    }
}

/// What of a plug-in is opened, as far as the request says it.
#[derive(Clone, Copy, Default)]
pub struct Opened<'a> {
    /// One of the plug-in's languages.
    pub language: Option<&'a str>,
    /// The plug-in's parameters, sorted by name.
    pub parameters: &'a [(Box<str>, Box<str>)],
}

impl Opened<'_> {
    /// What is asked of a mint for this session.
    pub fn mint_input(self, session: &Session, context: MintContext) -> MintInput {
        MintInput {
            external_id: session.external_id().into(),
            issuer: session.namespace().into(),
            subject: session.subject().into(),
            language: self.language.map(Into::into),
            claims: session.claims().into(),
            parameters: self.parameters.into(),
            context: MintContext { revocable: session.revocable(), ..context },
        }
    }
}

/// The key of a lease: its *owner* (one person at one plug-in) and its *variant* (language, session, the values that the recipe uses).
///
/// Built on the stack for each request; owner and variant are compared in full, never by a hash alone.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseKey {
    owner: SmallVec<[u8; 128]>,
    variant: SmallVec<[u8; 128]>,
}

impl LeaseKey {
    /// The key for this session. `claims` are positions in [`Session::claims`] of those that the recipe uses.
    pub fn new(scope: &Scope, session: &Session, reuse: Reuse, opened: Opened<'_>, claims: &[usize]) -> Self {
        let mut owner = SmallVec::from_slice(&scope.0);
        owner.extend_from_slice(session.subject().as_bytes());

        let mut variant = SmallVec::new();
        put(&mut variant, opened.language);
        put(&mut variant, Some(session.external_id()));
        match (reuse, session.session_name()) {
            (Reuse::User | Reuse::Never, _) => variant.push(0),
            (Reuse::Session, SessionName::Claim(id)) => {
                variant.push(1);
                put(&mut variant, Some(id));
            }
            // Without a name for the session no other token gets its URL.
            (Reuse::Session, SessionName::Token(digest)) => {
                variant.push(2);
                variant.extend_from_slice(digest);
            }
        }
        for &position in claims {
            put(&mut variant, session.claims().get(position).and_then(Option::as_deref));
        }
        for (name, value) in opened.parameters {
            put(&mut variant, Some(name));
            put(&mut variant, Some(value));
        }
        Self { owner, variant }
    }

    /// One person at one plug-in.
    pub fn owner(&self) -> &[u8] {
        &self.owner
    }

    /// Which of this person's URLs.
    pub fn variant(&self) -> &[u8] {
        &self.variant
    }

    #[cfg(test)]
    pub(crate) fn raw(owner: &str, variant: &str) -> Self {
        Self { owner: owner.as_bytes().into(), variant: variant.as_bytes().into() }
    }
}

/// The name at the vendor for which a variant is.
pub(super) fn external_id_of(variant: &[u8]) -> Option<&str> {
    let (_language, rest) = take(variant)?;
    std::str::from_utf8(take(rest)?.0?).ok()
}

/// The session to which a variant belongs, if it belongs to one that has a name.
pub(super) fn session_of(variant: &[u8]) -> Option<&str> {
    let (_language, rest) = take(variant)?;
    let (_external_id, rest) = take(rest)?;
    let (kind, rest) = rest.split_first()?;
    (*kind == 1).then_some(())?;
    std::str::from_utf8(take(rest)?.0?).ok()
}

/// A part as [`put`] writes it, and what stands behind it.
fn take(parts: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (present, rest) = parts.split_first()?;
    if *present == 0 {
        return Some((None, rest));
    }
    let (length, rest) = rest.split_at_checked(4)?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
    Some((Some(part), rest))
}

impl fmt::Debug for LeaseKey {
    /// The subject stands in it in plain, so nothing is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseKey(…)")
    }
}

/// Length first, so that no two lists of parts give the same bytes; absent differs from empty.
fn put(out: &mut SmallVec<[u8; 128]>, part: Option<&str>) {
    match part {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::Memo;

    /// Everything that a lease belongs to.
    #[derive(Clone, Debug, PartialEq)]
    struct Facts {
        issuer: String,
        subject: String,
        session: Option<String>,
        plugin: String,
        provider: String,
        mint: String,
        language: Option<String>,
        external_id: String,
        claim: Option<String>,
        fingerprint: u8,
        parameter: Option<(String, String)>,
    }

    impl Facts {
        fn key(&self, reuse: Reuse) -> LeaseKey {
            let session = Session {
                issuer: self.issuer.as_str().into(),
                namespace: self.issuer.as_str().into(),
                subject: self.subject.as_str().into(),
                external_id: self.external_id.as_str().into(),
                name_fault: None,
                log_id: "".into(),
                person: [0; 16],
                revocable: None,
                session_name: match &self.session {
                    Some(name) => SessionName::Claim(name.as_str().into()),
                    None => SessionName::Token([7; 32]),
                },
                ends: crate::clock::Timestamp::from_millis(0),
                claims: Box::new([None, self.claim.as_deref().map(Into::into)]),
                traits: None,
                assertable: Box::default(),
                memo: Memo::default(),
                signed: crate::session::Signed::default(),
                fields: Box::default(),
            };
            let scope = Scope::new(&self.issuer, &self.plugin, &self.provider, &self.mint, &[self.fingerprint; 32]);
            let parameters: Vec<(Box<str>, Box<str>)> =
                self.parameter.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
            let opened = Opened { language: self.language.as_deref(), parameters: &parameters };
            LeaseKey::new(&scope, &session, reuse, opened, &[1])
        }
    }

    fn word() -> impl Strategy<Value = String> {
        "[ab\u{0}\u{1}|é]{0,3}"
    }

    prop_compose! {
        fn facts()(issuer in word(), subject in word(), session in prop::option::of(word()), plugin in word(),
            provider in word(), mint in word(), language in prop::option::of(word()), external_id in word(),
            claim in prop::option::of(word()), parameter in prop::option::of((word(), word())), fingerprint in 0u8..3) -> Facts {
            Facts { issuer, subject, session, plugin, provider, mint, language, external_id, claim, parameter, fingerprint }
        }
    }

    proptest! {
        #[test]
        fn two_keys_are_equal_only_if_all_facts_are(one in facts(), mut other in facts()) {
            prop_assert_eq!(one.key(Reuse::Session) == other.key(Reuse::Session), one == other);
            other.session = one.session.clone();
            prop_assert_eq!(one.key(Reuse::User) == other.key(Reuse::User), one == other);
        }

        #[test]
        fn changing_any_one_fact_gives_another_key(one in facts(), text in "[ab]{4}", which in 0..12) {
            let mut other = one.clone();
            match which {
                0 => other.issuer = text,
                1 => other.subject = text,
                2 => other.session = Some(text),
                3 => other.plugin = text,
                4 => other.provider = text,
                5 => other.mint = text,
                6 => other.language = Some(text),
                7 => other.external_id = text,
                8 => other.claim = Some(text),
                9 => other.parameter = Some((text, "x".into())),
                10 => other.parameter = Some(("x".into(), text)),
                _ => other.fingerprint += 1,
            }
            prop_assert_ne!(one.key(Reuse::Session), other.key(Reuse::Session));
        }
    }

    #[test]
    fn a_key_shows_nobody_in_debug_output() {
        assert_eq!(format!("{:?}", LeaseKey::raw("ada", "en")), "LeaseKey(…)");
    }

    #[test]
    fn the_session_counts_only_where_reuse_says_so() {
        let ada = Facts {
            issuer: "i".into(),
            subject: "ada".into(),
            session: Some("s1".into()),
            plugin: "p".into(),
            provider: "v".into(),
            mint: "m".into(),
            language: None,
            external_id: "ada".into(),
            claim: None,
            parameter: None,
            fingerprint: 0,
        };
        let later = Facts { session: Some("s2".into()), ..ada.clone() };
        assert_eq!(ada.key(Reuse::User), later.key(Reuse::User));
        assert_ne!(ada.key(Reuse::Session), later.key(Reuse::Session));
        assert_eq!(session_of(ada.key(Reuse::Session).variant()), Some("s1"));
        assert_eq!(session_of(ada.key(Reuse::User).variant()), None);
        assert_eq!(external_id_of(ada.key(Reuse::User).variant()), Some("ada"));
        let unnamed = Facts { session: None, ..ada };
        assert_eq!(session_of(unnamed.key(Reuse::Session).variant()), None);
    }
}
