//! The time rules of a plug-in's leases (contract, "Leases").

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::lease::held::{Lease, StoreVersion};
use crate::lease::settings::{MintsPerSubject, Reuse};
use crate::provider::{MintFailure, Minted, PluginUrl};

/// A URL with less life than this is nonsense: it would end while the browser loads the page.
const MIN_SENSIBLE: Duration = Duration::from_secs(5);

/// One plug-in's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For whom a URL is used again.
    pub reuse: Reuse,
    /// A URL is never held longer.
    pub max_age: Duration,
    /// Life that every held URL still has when it is sent.
    pub min_remaining: Duration,
    /// When less is left, mint in the background.
    pub refresh_ahead: Option<Duration>,
    /// Renewals ahead begin up to this much later, each at a time of its own: leases of one hour are not renewed in one.
    pub spread: Duration,
    /// The bound on mints of one subject.
    pub mints_per_subject: MintsPerSubject,
}

/// A lease as it lay in a store.
pub(super) struct Stored {
    pub url: PluginUrl,
    pub own_end: Timestamp,
    pub end_unread: bool,
    pub end: Timestamp,
    pub began: Timestamp,
}

/// A judged URL: the lease, and whether it has too little life to be kept.
pub(super) struct Judged {
    pub lease: Lease,
    pub short: bool,
}

impl Rules {
    /// Judges what the vendor gave, and makes a lease of it. `began`: when the mint began.
    pub(super) fn judge(&self, minted: Minted, began: Moment, now: Moment, seq: u64) -> Result<Judged, MintFailure> {
        // By both clocks: a wall clock that is set back during the mint doesn't prolong the lease.
        let left_by_tick = self.max_age.saturating_sub(now.tick.since(began.tick));
        let bound = began.wall.plus(self.max_age).min(now.wall.plus(left_by_tick));
        let bound = minted.hold_until.map_or(bound, |until| until.min(bound));
        let end = minted.ends.map_or(bound, |own| own.min(bound));
        let left = end.since(now.wall);
        if left <= MIN_SENSIBLE {
            return Err(MintFailure::Nonsense);
        }
        let usable = left.saturating_sub(self.min_remaining);
        let serve_until = Moment { wall: end.minus(self.min_remaining), tick: now.tick.plus(usable) };
        let lease = Lease {
            url: minted.url,
            own_end: minted.ends.unwrap_or(end),
            end_unread: minted.end_unread,
            end,
            began: began.wall,
            serve_until,
            refresh_at: self.refresh_at(end),
            seq,
            version: StoreVersion::NONE,
            uses: minted.uses.map(|uses| Arc::new(AtomicU32::new(uses))),
            minted_by: None,
        };
        Ok(Judged { short: usable.is_zero(), lease })
    }

    /// Judges what comes out of a store as if it had just been minted. `None`: it has too little life, or claims a mint in the future and more
    /// life than any mint gives.
    pub(super) fn judge_again(&self, stored: Stored, now: Moment, seq: u64) -> Option<Lease> {
        // Of clocks that differ the later one counts.
        let began = stored.began.min(now.wall);
        let end = stored.end.min(began.plus(self.max_age));
        let usable = end.since(now.wall).checked_sub(self.min_remaining).filter(|usable| !usable.is_zero())?;
        let serve_until = Moment { wall: end.minus(self.min_remaining), tick: now.tick.plus(usable) };
        let refresh_at = self.refresh_at(end);
        let Stored { url, own_end, end_unread, .. } = stored;
        // What is counted lies in no store.
        let (version, uses) = (StoreVersion::NONE, None);
        Some(Lease {
            url,
            own_end,
            end_unread,
            end,
            began,
            serve_until,
            refresh_at,
            seq,
            version,
            uses,
            minted_by: None,
        })
    }

    /// Judges what is held by these rules, which were not in force when it was judged: they may shorten it, and prolong nothing. `None`: it has too
    /// little life.
    pub(super) fn tighten(&self, lease: &Lease, now: Moment) -> Option<Lease> {
        let end = lease.end.min(lease.began.plus(self.max_age));
        let usable = end.since(now.wall).checked_sub(self.min_remaining).filter(|usable| !usable.is_zero())?;
        let mut tightened = lease.tied(lease.version, lease.seq);
        tightened.end = end;
        tightened.refresh_at = self.refresh_at(end);
        tightened.serve_until = Moment {
            wall: end.minus(self.min_remaining).min(lease.serve_until.wall),
            tick: now.tick.plus(usable).min(lease.serve_until.tick),
        };
        Some(tightened)
    }

    /// Whether these hold some leases less long than those did.
    pub fn are_tighter_than(&self, before: &Self) -> bool {
        self.max_age < before.max_age || self.min_remaining > before.min_remaining
    }

    /// When a lease that ends at `end` is renewed ahead, if somebody asks.
    fn refresh_at(&self, end: Timestamp) -> Timestamp {
        let later = self.spread.mul_f64(if self.spread.is_zero() { 0.0 } else { fastrand::f64() });
        self.refresh_ahead.map_or(Timestamp::from_millis(i64::MAX), |ahead| end.minus(ahead.saturating_sub(later)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Tick;
    use crate::provider::PluginUrl;
    use crate::units::Span;

    const H: u64 = 3600;

    fn rules() -> Rules {
        Rules {
            reuse: Reuse::User,
            max_age: Duration::from_secs(6 * H),
            min_remaining: Duration::from_secs(300),
            refresh_ahead: Some(Duration::from_secs(1800)),
            spread: Duration::ZERO,
            mints_per_subject: MintsPerSubject { count: 30, within: Span::secs(H) },
        }
    }

    fn at(millis: i64) -> Moment {
        Moment { wall: Timestamp::from_millis(1_800_000_000_000 + millis), tick: Tick::from_millis(millis) }
    }

    fn judged(life: Option<i64>) -> Result<Judged, MintFailure> {
        let ends = life.map(|secs| Timestamp::from_millis(at(0).wall.as_millis() + secs * 1000));
        rules().judge(
            Minted { url: PluginUrl::unchecked("https://x/"), ends, end_unread: false, hold_until: None, uses: None },
            at(0),
            at(0),
            1,
        )
    }

    #[test]
    fn a_url_ends_with_its_own_end_or_six_hours_after_the_mint_began() {
        assert_eq!(judged(Some(1000)).ok().unwrap().lease.end, at(1_000_000).wall);
        assert_eq!(judged(Some(999_999)).ok().unwrap().lease.end, at(6 * H as i64 * 1000).wall);
        assert_eq!(judged(None).ok().unwrap().lease.end, at(6 * H as i64 * 1000).wall);
        assert_eq!(judged(Some(999_999)).ok().unwrap().lease.own_end, at(999_999_000).wall);
    }

    #[test]
    fn what_is_promised_is_the_urls_own_end_or_a_fixed_ones_lease_and_nothing_that_was_not_found() {
        let promised = |ends: Option<Timestamp>, end_unread| {
            let minted =
                Minted { url: PluginUrl::unchecked("https://x/"), ends, end_unread, hold_until: None, uses: None };
            rules().judge(minted, at(0), at(0), 1).ok().unwrap().lease.promised()
        };
        assert_eq!(promised(Some(at(1_000_000).wall), false), Some(at(1_000_000).wall));
        assert_eq!(promised(None, false), Some(at(6 * H as i64 * 1000).wall));
        assert_eq!(promised(None, true), None);
    }

    #[test]
    fn six_hours_count_from_the_mints_start_not_from_its_answer() {
        let minted = Minted {
            url: PluginUrl::unchecked("https://x/"),
            ends: None,
            end_unread: false,
            hold_until: None,
            uses: None,
        };
        let lease = rules().judge(minted, at(0), at(4_000), 1).ok().unwrap().lease;
        assert_eq!(lease.end, at(6 * H as i64 * 1000).wall);
    }

    #[test]
    fn a_wall_clock_that_is_set_back_during_the_mint_does_not_prolong_the_lease() {
        let minted = Minted {
            url: PluginUrl::unchecked("https://x/"),
            ends: None,
            end_unread: false,
            hold_until: None,
            uses: None,
        };
        let set_back = Moment { wall: at(-3_600_000).wall, tick: Tick::from_millis(4_000) };
        let lease = rules().judge(minted, at(0), set_back, 1).ok().unwrap().lease;
        assert_eq!(lease.remaining(set_back.wall), Duration::from_secs(6 * H - 4));
        let usable = Duration::from_secs(6 * H - 4 - 300);
        let last = |wall| Moment { wall, tick: set_back.tick.plus(usable) };
        assert!(!lease.serves(last(set_back.wall)));
    }

    #[test]
    fn a_held_lease_serves_until_min_remaining_before_its_end() {
        let lease = judged(Some(1000)).ok().unwrap().lease;
        assert!(lease.serves(at(699_999)));
        assert!(!lease.serves(at(700_000)));
    }

    #[test]
    fn a_wall_clock_that_is_set_back_does_not_prolong_a_lease() {
        let lease = judged(Some(1000)).ok().unwrap().lease;
        let set_back = Moment { wall: at(0).wall, tick: Tick::from_millis(700_000) };
        assert!(!lease.serves(set_back));
        let set_forward = Moment { wall: at(700_000).wall, tick: Tick::from_millis(0) };
        assert!(!lease.serves(set_forward));
    }

    #[test]
    fn a_url_of_five_seconds_is_nonsense_and_one_of_min_remaining_is_short() {
        assert!(matches!(judged(Some(-1)), Err(MintFailure::Nonsense)));
        assert!(matches!(judged(Some(5)), Err(MintFailure::Nonsense)));
        assert!(judged(Some(6)).ok().unwrap().short);
        assert!(judged(Some(300)).ok().unwrap().short);
        assert!(!judged(Some(301)).ok().unwrap().short);
    }

    #[test]
    fn renewal_ahead_begins_where_it_was_asked_for_or_never() {
        let end = at(6 * H as i64 * 1000).wall;
        assert_eq!(rules().refresh_at(end), end.minus(Duration::from_secs(1800)));
        let spread = Rules { spread: Duration::from_secs(600), ..rules() };
        let at = |rules: &Rules| end.since(rules.refresh_at(end)).as_secs();
        let times: std::collections::BTreeSet<u64> = (0..1000).map(|_| at(&spread)).collect();
        assert!(times.iter().all(|secs| (1200..=1800).contains(secs)) && times.len() > 100, "{times:?}");
        let off = Rules { refresh_ahead: None, ..rules() };
        assert!(off.refresh_at(end) > end);
    }
}
