//! The switches of the simulated vendor.

use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::calls::CallKind;
use crate::demo::fault::{Fail, span_text};

/// What the vendor does wrong now. The default is: nothing. In JSON every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Which calls are hit.
    pub on: On,
    /// How many more calls are hit, then all is well; `None`: every one. Counts down, so a reading tells how many are left.
    pub times: Option<u32>,
    /// Each answer waits this long first.
    #[serde(with = "span_text")]
    pub delay: Option<Duration>,
    /// An answer that is no use, in place of the right one.
    pub fail: Option<Fail>,
    /// `Retry-After` in seconds beside a status in `fail`.
    pub retry_after: Option<u32>,
    /// What is wrong with the URLs minted.
    pub url: Option<UrlFault>,
    /// Life of the URLs minted, in place of the simulator's own. `0s`: ended on arrival.
    #[serde(with = "span_text")]
    pub life: Option<Duration>,
    /// This text in place of every URL minted.
    pub url_text: Option<String>,
}

impl Faults {
    /// Every call fails in this way.
    pub fn failing(fail: Fail) -> Self {
        Self { fail: Some(fail), ..Self::default() }
    }

    /// Every call is answered with this status; a number that is no status counts as 500.
    pub fn status(status: u16) -> Self {
        Self::failing(Fail::Status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Calls wait until other faults are set, and are answered by those.
    pub fn hang() -> Self {
        Self::failing(Fail::Hang)
    }

    /// Every answer comes this much later.
    pub fn slow(delay: Duration) -> Self {
        Self { delay: Some(delay), ..Self::default() }
    }

    /// Every URL minted has this fault.
    pub fn url(url: UrlFault) -> Self {
        Self { url: Some(url), ..Self::default() }
    }

    /// Every URL minted lives this long.
    pub fn life(life: Duration) -> Self {
        Self { life: Some(life), ..Self::default() }
    }

    /// Every mint answers this text as its URL.
    pub fn url_text(text: &str) -> Self {
        Self { url_text: Some(text.to_owned()), ..Self::default() }
    }

    /// The same for these calls only.
    #[must_use]
    pub fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    /// The same for the next `times` calls only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// What hits a call of this kind; counts it. A call that nothing here could change is not counted.
    pub(super) fn claim(&mut self, kind: CallKind) -> Self {
        let for_urls = self.url.is_some() || self.life.is_some() || self.url_text.is_some();
        let for_all = self.delay.is_some() || self.fail.is_some();
        let hit = self.on.covers(kind) && (for_all || (for_urls && kind == CallKind::Mint));
        match &mut self.times {
            _ if !hit => return Self::default(),
            Some(0) => return Self::default(),
            Some(left) => *left -= 1,
            None => {}
        }
        self.clone()
    }
}

/// Which calls a fault hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// Every call of the API; never the plug-in's pages.
    #[default]
    All,
    /// Calls that ask for a URL.
    Mint,
    /// Calls that register a user.
    Register,
}

impl On {
    fn covers(self, kind: CallKind) -> bool {
        match (self, kind) {
            (_, CallKind::Page | CallKind::Other) => false,
            (Self::All, _) | (Self::Mint, CallKind::Mint) | (Self::Register, CallKind::Register) => true,
            (Self::Mint | Self::Register, _) => false,
        }
    }
}

/// What can be wrong with a minted URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum UrlFault {
    /// It points to `https://plugin.foreign.example`.
    WrongHost,
    /// It ended a minute ago.
    Expired,
    /// Its token has no `exp`.
    NoExp,
    /// It lives one minute.
    Short,
    /// It lives ten years.
    Years,
}

/// How the v2 API writes the URL; v1 is always text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum UrlAs {
    /// A JSON string.
    #[default]
    String,
    /// The bare text.
    Text,
    /// `{"url": "…"}`.
    Object,
}

/// What the v2 API answers to the registration of a user who exists. Both kinds of deployment are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExistingUser {
    /// 200 with the stored user.
    #[default]
    Ok,
    /// 400 with a body that contains `already exists`.
    AlreadyExists,
}

impl FromStr for Faults {
    type Err = serde_json::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_json() {
        let faults = Faults {
            on: On::Mint,
            times: Some(2),
            delay: Some(Duration::from_millis(1500)),
            fail: Some(Fail::Status(StatusCode::SERVICE_UNAVAILABLE)),
            retry_after: Some(5),
            url: Some(UrlFault::NoExp),
            life: Some(Duration::from_secs(10)),
            url_text: Some("x".to_owned()),
        };
        let text = serde_json::to_string(&faults).unwrap();
        assert_eq!(text.parse::<Faults>().unwrap(), faults, "{text}");
        assert_eq!("{}".parse::<Faults>().unwrap(), Faults::default());
    }

    #[test]
    fn an_unknown_switch_is_refused() {
        assert!(r#"{"dealy":"2s"}"#.parse::<Faults>().is_err());
        assert!(r#"{"on":"everything"}"#.parse::<Faults>().is_err());
    }

    #[test]
    fn a_counted_fault_hits_that_many_of_its_calls_and_no_other() {
        let mut faults = Faults::status(500).on(On::Mint).times(2);
        let hits: Vec<bool> = [CallKind::Register, CallKind::Mint, CallKind::Page, CallKind::Mint, CallKind::Mint]
            .into_iter()
            .map(|kind| faults.claim(kind).fail.is_some())
            .collect();
        assert_eq!(hits, [false, true, false, true, false]);
        assert_eq!(faults.times, Some(0));
    }

    #[test]
    fn a_fault_of_urls_is_not_used_up_by_a_registration() {
        let mut faults = Faults::url(UrlFault::Expired).times(1);
        assert_eq!(faults.claim(CallKind::Register).url, None);
        assert_eq!(faults.claim(CallKind::Mint).url, Some(UrlFault::Expired));
        assert_eq!(faults.claim(CallKind::Mint).url, None);
    }
}
