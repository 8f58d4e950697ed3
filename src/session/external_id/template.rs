//! The text of `external_id`, read.

use std::fmt;

use super::super::claim_path::ClaimPath;
use super::super::claims::TENANT_CLAIM;
use super::super::json::Selector;
use super::braces::{self, pieces};
use crate::setting::{FieldFault, TextSetting, text_setting};

/// What stands for a tenant in the settings of an issuer.
pub const TENANT: &str = "{tenant}";

/// Text with `{sub}`, `{claim:NAME}` and `{tenant}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalIdTemplate {
    text: Box<str>,
    pub(super) pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Subject,
    Claim(ClaimPath),
    /// What stands for `{tenant}` in `issuer`.
    Tenant,
}

impl Piece {
    /// Whether it is the claim in which a token repeats the tenant that its issuer names.
    pub(super) fn is_tid(&self) -> bool {
        matches!(self, Self::Claim(claim) if *claim.selector() == Selector::of_name(TENANT_CLAIM))
    }

    fn read(piece: &braces::Piece<'_>) -> Result<Self, &'static str> {
        match piece {
            braces::Piece::Text(text) if text.chars().any(char::is_control) => {
                Err("control characters are not allowed")
            }
            braces::Piece::Text(text) => Ok(Self::Text((*text).into())),
            braces::Piece::Value("sub") => Ok(Self::Subject),
            braces::Piece::Value("tenant") => Ok(Self::Tenant),
            braces::Piece::Value(value) => match value.strip_prefix("claim:") {
                Some(name) if name.ends_with('?') => {
                    Err("`?` is not allowed here: who lacks the claim would share one name with others")
                }
                Some(name) => name.parse().map(Self::Claim).map_err(|_| EXPECTED),
                None => Err(EXPECTED),
            },
        }
    }

    /// Whether its text differs from person to person.
    fn is_value(&self) -> bool {
        matches!(self, Self::Subject | Self::Claim(_))
    }
}

const EXPECTED: &str = "expected text with `{sub}` or `{claim:NAME}`";

impl ExternalIdTemplate {
    /// `{sub}`: what an issuer has that says nothing else.
    pub(in crate::session) fn subject() -> Self {
        Self { text: "{sub}".into(), pieces: [Piece::Subject].into() }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `{tenant}` stands in it.
    pub fn holds_tenant(&self) -> bool {
        self.pieces.contains(&Piece::Tenant)
    }

    /// Whether it tells the persons of one tenant from those of another.
    pub fn names_tenant(&self) -> bool {
        self.pieces.iter().any(|piece| *piece == Piece::Tenant || piece.is_tid())
    }

    /// That of one tenant.
    pub(in crate::session) fn of_tenant(&self, tenant: &str) -> Self {
        let filled = |piece: &Piece| match piece {
            Piece::Tenant => Piece::Text(tenant.into()),
            other => other.clone(),
        };
        Self { text: self.text.replace(TENANT, tenant).into(), pieces: self.pieces.iter().map(filled).collect() }
    }
}

impl fmt::Display for ExternalIdTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(ExternalIdTemplate);

impl TextSetting for ExternalIdTemplate {
    const EXAMPLE: &'static str = "{sub}";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let unpaired = "a brace has no partner; expected text with `{sub}` or `{claim:NAME}`";
        let cut = pieces(text).ok_or(FieldFault::of_value(unpaired))?;
        let read: Result<Box<[Piece]>, _> = cut.iter().map(Piece::read).collect();
        let pieces = read.map_err(FieldFault::of_value)?;
        if pieces.windows(2).any(|pair| pair.iter().all(Piece::is_value)) {
            return Err(FieldFault::of_value(
                "two values need fixed text between them, such as `:`; without it `a` and `bc` would be `ab` and `c`",
            ));
        }
        if !pieces.iter().any(Piece::is_value) {
            return Err(FieldFault::of_value(
                "without `{sub}` or `{claim:NAME}` every person would have one name at the vendor",
            ));
        }
        Ok(Self { text: text.into(), pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_id_names_the_person() {
        for good in [
            "{sub}",
            "idp-{sub}",
            "idp-{sub}!",
            "{claim:user_id}",
            "{claim:https://example.com/id}:{sub}",
            "{tenant}{sub}",
        ] {
            assert_eq!(ExternalIdTemplate::read(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "fixed",
            "{",
            "}",
            "{sub",
            "sub}",
            "{{sub}}",
            "{sub}}",
            "{{sub}",
            "}{sub}",
            "{}",
            "{name}",
            "{subject}",
            "{claim:}",
            "{claim:/a~2}",
            "{claim:x?}",
            "a\n{sub}",
            "{tenant}",
            "{tenant}-x",
        ] {
            assert!(ExternalIdTemplate::read(bad).is_err(), "{bad:?} was taken");
        }
        for bad in
            ["{claim:org}{sub}", "x-{sub}{claim:org}-y", "x-{claim:a}{claim:b}-{sub}", "{claim:a}-{claim:b}{sub}"]
        {
            let fault = ExternalIdTemplate::read(bad).unwrap_err();
            assert!(fault.message.contains("fixed text between"), "{bad:?}: {fault}");
        }
    }

    #[test]
    fn a_template_tells_tenants_apart_by_their_name_or_their_claim() {
        let names = |text: &str| ExternalIdTemplate::read(text).unwrap().names_tenant();
        assert!(names("{tenant}-{sub}") && names("{claim:tid}:{sub}") && names("{claim:/tid}:{sub}"));
        assert!(!names("{sub}") && !names("tid-{sub}") && !names("{claim:/a/tid}"));
    }
}
