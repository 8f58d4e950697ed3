//! What is minted: read from the answer, put together, or signed here; and judged.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Asking, Inner, note, unfit};
use crate::clock::Timestamp;
use crate::http_client::Response;
use crate::provider::answer::{Answer, ExpiryRule, UrlRule};
use crate::provider::diagnosis::{Diagnosis, Step};
use crate::provider::encoding::{UNRESERVED, has_dot_segment};
use crate::provider::jwt::{LocalJwt, Signed};
use crate::provider::outcome::Fault;
use crate::provider::redirect_hosts::UrlFault;
use crate::provider::template::{Answered, Template, Unfit, Values};
use crate::provider::{Minted, PluginUrl, trial};

/// A URL that ends sooner can't be followed in time.
const TOO_SHORT: Duration = Duration::from_secs(5);

impl Inner {
    /// What the vendor has answered.
    pub(super) fn read(
        &self,
        asking: &Asking<'_>,
        answer: &Response,
        register: Option<&Answered>,
    ) -> Result<Minted, Fault> {
        let mint = asking.mint;
        if !mint.accepts(answer.status, &answer.body) {
            return Err(self.fault(asking, Step::Mint, answer));
        }
        let read = Answer::new(&answer.body, &mint.url, &mint.expires, mint.uses.is_some());
        let text = match &mint.url {
            UrlRule::Template(template) => {
                let answered = Answered::read(read.json(), &mint.answer).map_err(|pointer| {
                    note(asking, Diagnosis::without_value(Step::Mint, &pointer, read.json()));
                    Fault::Nonsense
                })?;
                address(template, &Values { answer: Some(&answered), ..self.values(asking, register) })
                    .map_err(|Unfit| unfit(asking))?
            }
            rule => read.url(rule).ok_or_else(|| {
                note(asking, Diagnosis::without_url(rule, &answer.body));
                Fault::Nonsense
            })?,
        };
        super::step(asking, || trial::minted(&mint.url, mint.is_token, &text));
        let url = self.judge(asking, &text, Some(&answer.body))?;
        let ends = read.ends(&mint.expires, &text, asking.start);
        let now = self.admission.clock.now();
        // By our clock.
        let ahead = self.vendor_clock.ahead(&answer.headers, now, &self.admission.name);
        let hold_until = ends.filter(|_| !ahead.is_zero()).map(|ends| ends.minus(ahead));
        let uses = mint.uses.as_ref().and_then(|rule| read.uses(rule, &text));
        self.minted(asking, url, uses, (ends, hold_until))
    }

    /// What we sign ourselves, with the first key.
    pub(super) fn sign(
        &self,
        asking: &Asking<'_>,
        jwt: &LocalJwt,
        register: Option<&Answered>,
    ) -> Result<Minted, Fault> {
        let values = self.values(asking, register);
        let Some((_, key)) = self.keys.in_order().next() else { return Err(Fault::Refused) };
        let Signed { token, ends } = jwt.sign(&key, &values).map_err(|Unfit| unfit(asking))?;
        let text = match &asking.mint.url {
            UrlRule::Template(template) => {
                address(template, &Values { jwt: Some(&token), ..values }).map_err(|Unfit| unfit(asking))?
            }
            _ => token,
        };
        super::step(asking, || trial::minted(&asking.mint.url, asking.mint.is_token, &text));
        let url = self.judge(asking, &text, None)?;
        let ends = match &asking.mint.expires {
            ExpiryRule::Signed | ExpiryRule::Token => ends,
            rule => Answer::new(b"", &asking.mint.url, rule, false).ends(rule, &text, asking.start),
        };
        let uses = asking
            .mint
            .uses
            .as_ref()
            .and_then(|rule| Answer::new(b"", &asking.mint.url, &asking.mint.expires, false).uses(rule, &text));
        self.minted(asking, url, uses, (ends, None))
    }

    /// Whether it may be handed on.
    fn judge(&self, asking: &Asking<'_>, text: &str, body: Option<&[u8]>) -> Result<PluginUrl, Fault> {
        if asking.mint.is_token {
            return PluginUrl::token(text).ok_or_else(|| {
                note(asking, Diagnosis::new("no_url", "what stands where `token` looks is no token"));
                Fault::Nonsense
            });
        }
        self.recipe.parts.redirect_hosts.check(text).map_err(|fault| match fault {
            UrlFault::Nonsense => {
                note(asking, Diagnosis::no_url(body.unwrap_or_default()));
                Fault::Nonsense
            }
            UrlFault::ForbiddenHost => {
                note(asking, Diagnosis::new("forbidden_host", "the minted URL leads to a host outside redirect_hosts"));
                self.tell_host(text);
                Fault::ForbiddenHost
            }
        })?;
        Ok(PluginUrl::new(text))
    }

    fn minted(
        &self,
        asking: &Asking<'_>,
        url: PluginUrl,
        uses: Option<u32>,
        (ends, hold_until): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Minted, Fault> {
        if uses == Some(0) {
            note(asking, Diagnosis::new("url_ended", "what was minted may be used no more: its count is 0"));
            return Err(Fault::Nonsense);
        }
        let now = self.admission.clock.now();
        if hold_until.or(ends).is_some_and(|ends| ends <= now.plus(TOO_SHORT)) {
            let what = "what was minted has ended, or ends within 5 s: look at the clocks";
            note(asking, Diagnosis::new("url_ended", what));
            return Err(Fault::Nonsense);
        }
        super::step(asking, || trial::ends(&asking.mint.expires, ends.is_some(), uses));
        let end_unread = ends.is_none() && asking.mint.expires != ExpiryRule::Fixed;
        if end_unread {
            self.unread.note(&self.admission.name, &asking.mint.name, self.admission.clock.tick());
        }
        Ok(Minted { url, ends, end_unread, hold_until, uses })
    }
}

/// An address with its values, each percent-encoded: none adds a segment, a parameter or a fragment.
fn address(template: &Template, values: &Values<'_>) -> Result<Zeroizing<String>, Unfit> {
    let escape = |value: &str, text: &mut String| {
        text.extend(percent_encoding::utf8_percent_encode(value, UNRESERVED));
        Ok(())
    };
    let text = Zeroizing::new(template.fill(values, escape)?.ok_or(Unfit)?);
    let path = text.split(['?', '#']).next().unwrap_or_default();
    if has_dot_segment(path) { Err(Unfit) } else { Ok(text) }
}
