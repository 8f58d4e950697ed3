//! What is known of one owner, as a state machine without time, locks or tasks of its own: who gets the held lease, who joins a mint, who starts one.

mod views;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Moment, Tick};
use crate::lease::flight::{Begun, Flight, MintResult, QUEUED, Ticket};
use crate::lease::held::Lease;
use crate::lease::outcome::Freshness;
use crate::lease::rules::Rules;
use crate::provider::MintFailure;

/// A failed mint answers for its key this long: no storm on a vendor in trouble, and no long punishment.
pub(super) const FAILURE_MEMORY: Duration = Duration::from_secs(1);

/// A failed mint in the background is tried again after this long at the earliest: its lease still serves.
const AHEAD_PAUSE: Duration = Duration::from_secs(10);

/// When mints under way use up `mints_per_subject`: how soon it is known whether they count.
const UNDECIDED: Duration = Duration::from_secs(1);

/// One key's state.
struct Slot {
    variant: Box<[u8]>,
    lease: Option<Arc<Lease>>,
    /// Where the mint of `lease` began.
    started: u64,
    /// The latest mint under way; those that ask now wait for it.
    flight: Option<Flight>,
    failed: Option<(Tick, MintFailure)>,
    ahead_not_before: Tick,
}

/// Everything of one owner.
#[derive(Default)]
pub struct Record {
    /// What began before this, by the book's numbers, is neither kept nor joined: it was forgotten, or a scan that began later has its URL.
    floor: u64,
    slots: Vec<Slot>,
    /// When this owner's mints succeeded, within the window of `mints_per_subject`. First those of a predecessor.
    minted: Vec<Tick>,
    window: Duration,
    /// Mints under way, of all variants: each may yet succeed, so each takes its place within `mints_per_subject`.
    running: u32,
    /// So many of `minted` are a predecessor's.
    handed: u16,
    visit_claimed: bool,
}

/// What a held lease must have to count.
#[derive(Clone, Copy)]
pub(super) struct Requirement {
    pub freshness: Freshness,
    /// Heard of since.
    pub epoch: Option<u32>,
}

/// What a flight is started for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A mint.
    Mint,
    /// The mint of a `POST`.
    Renewal,
    /// To ask the store again for what is held: a mint only where that no longer counts.
    AskAgain,
}

/// What a caller does next.
pub(super) enum Step {
    /// Take this.
    Held(Arc<Lease>),
    /// Wait for a mint that somebody else started.
    Join(watch::Receiver<Option<MintResult>>),
    /// Start a mint with this ticket.
    Start(Ticket),
    /// The mint that failed a moment ago answers.
    Failed(MintFailure),
    /// `mints_per_subject` is used up for this long.
    Limited(Duration),
}

/// What [`Record::land`] did.
#[derive(Default)]
pub(super) struct LandOutcome {
    pub kept: bool,
    pub replaced: Option<Arc<Lease>>,
}

impl Record {
    /// The held lease, if it may be sent, and whether one should be minted ahead.
    ///
    /// `epoch`: one that was last heard of before it does not count.
    pub(super) fn held(&self, variant: &[u8], now: Moment, epoch: Option<u32>) -> Option<(Arc<Lease>, bool)> {
        let slot = self.find(variant)?;
        let lease = slot.lease.as_ref().filter(|lease| lease.serves(now))?;
        if epoch.is_some_and(|epoch| lease.version.epoch != epoch) {
            return None;
        }
        let ahead = now.wall >= lease.refresh_at && slot.flight.is_none() && now.tick >= slot.ahead_not_before;
        Some((lease.clone(), ahead))
    }

    /// A `GET`: the held lease, if it is as fresh as asked for, or one mint for all who ask.
    pub(super) fn ask(
        &mut self,
        variant: &[u8],
        now: Moment,
        rules: &Rules,
        requirement: Requirement,
        id: u64,
    ) -> Step {
        let floor = self.floor;
        let Requirement { freshness, epoch } = requirement;
        if let Some((lease, _)) = self.held(variant, now, epoch).filter(|(lease, _)| freshness.allows(lease, now.wall))
        {
            return Step::Held(lease);
        }
        // Found, not made: a caller that is only turned away leaves nothing behind.
        if let Some(slot) = self.find(variant) {
            if let Some(flight) = slot.flight.as_ref().filter(|flight| flight.start >= floor) {
                return Step::Join(flight.landed.clone());
            }
            if let Some(failure) = slot.recent_failure(now.tick) {
                return Step::Failed(failure);
            }
        }
        // Held, and not heard of since the store was lost or back: to ask for it again is no mint.
        let unheard = self.held(variant, now, epoch).is_none() && self.held(variant, now, None).is_some();
        self.start(variant, now, rules, id, if unheard { Purpose::AskAgain } else { Purpose::Mint })
    }

    /// A mint in the background for a lease that still serves; `None` if there is no need or no right.
    pub(super) fn ahead(&mut self, variant: &[u8], now: Moment, rules: &Rules, id: u64) -> Option<Ticket> {
        self.held(variant, now, None).filter(|(_, requirement)| *requirement)?;
        match self.start(variant, now, rules, id, Purpose::Mint) {
            Step::Start(ticket) => Some(ticket),
            _ => {
                self.slot(variant).ahead_not_before = now.tick.plus(AHEAD_PAUSE);
                None
            }
        }
    }

    /// A `POST`: answered by a mint that began after this call. Those that wait for one that has not begun yet share it. What is held goes on
    /// until [`Record::renewed`].
    pub(super) fn renew(&mut self, variant: &[u8], now: Moment, rules: &Rules, id: u64) -> Step {
        let slot = self.slots.iter_mut().find(|slot| *slot.variant == *variant);
        if let Some(queued) = slot.and_then(|slot| slot.flight.as_mut()).filter(|flight| flight.start == QUEUED) {
            queued.renewal = queued.renewal.max(Some(id));
            return Step::Join(queued.landed.clone());
        }
        if let Some(failure) = self.find(variant).and_then(|slot| slot.recent_failure(now.tick)) {
            return Step::Failed(failure);
        }
        self.start(variant, now, rules, id, Purpose::Renewal)
    }

    /// The mint of a `POST` has brought a URL: gives up what began before that `POST`, in every variant. Nothing, if it was forgotten itself, or the
    /// URL of a later scan has come already. Returns what was given up.
    pub(super) fn renewed(&mut self, begun: Begun) -> Vec<Arc<Lease>> {
        if !self.keeps(begun.start) {
            return Vec::new();
        }
        self.floor = self.floor.max(begun.renewal);
        let older = self.slots.iter_mut().filter(|slot| slot.started < begun.renewal);
        older.filter_map(|slot| slot.lease.take()).collect()
    }

    /// Drops every lease; mints that have begun before `number` are not kept when they land.
    pub(super) fn forget(&mut self, number: u64) -> Vec<Arc<Lease>> {
        self.floor = self.floor.max(number);
        self.slots.iter_mut().filter_map(|slot| slot.lease.take()).collect()
    }

    /// Forgets all leases, except that the mint with this id, which began at `start`, may be kept in their place: `true`, unless it was forgotten before.
    pub(super) fn forget_but(
        &mut self,
        variant: &[u8],
        (id, start): (u64, u64),
        number: u64,
    ) -> (Vec<Arc<Lease>>, bool) {
        let kept = self.keeps(start);
        let dropped = self.forget(number);
        if let Some(flight) = self.flight(variant, id).filter(|_| kept) {
            flight.start = number;
        }
        (dropped, kept)
    }

    pub(super) fn keeps(&self, start: u64) -> bool {
        start >= self.floor
    }

    /// How long until one more mint may be allowed; `None`: now.
    pub(super) fn limited(&mut self, now: Tick, rules: &Rules) -> Option<Duration> {
        let within = rules.mints_per_subject.within.0;
        self.window = within;
        self.expire_mints(now);
        let taken = self.minted.len() + self.running as usize;
        if taken < rules.mints_per_subject.count as usize {
            return None;
        }
        Some(self.minted.iter().min().map_or(UNDECIDED, |oldest| within.saturating_sub(now.since(*oldest))))
    }

    /// Forgets mints that have left the window.
    fn expire_mints(&mut self, now: Tick) {
        let is_within = |minted: &Tick| now.since(*minted) < self.window;
        let handed = self.minted.iter().take(self.handed.into()).filter(|minted| is_within(minted)).count();
        self.minted.retain(is_within);
        self.handed = u16::try_from(handed).unwrap_or(u16::MAX);
    }

    /// Begins a mint that is neither joined nor kept, or says how long until one may be allowed. Ends with [`Record::landed`] or
    /// [`Record::abandon`].
    pub(super) fn reserve(&mut self, now: Tick, rules: &Rules) -> Option<Duration> {
        let wait = self.limited(now, rules);
        if wait.is_none() {
            self.running += 1;
        }
        wait
    }

    /// Notes that a mint has landed, and whether it gave a URL.
    pub(super) fn landed(&mut self, now: Tick, ok: bool) {
        self.running = self.running.saturating_sub(1);
        if ok {
            self.minted.push(now);
        }
    }

    /// The mint with this id begins now: a `POST` that comes later is not answered by it. `None`: another mint of its key has taken its place.
    pub(super) fn begin(&mut self, variant: &[u8], id: u64, number: u64) -> Option<Begun> {
        let number = number.max(self.floor);
        let flight = self.flight(variant, id)?;
        if flight.start == QUEUED {
            // A `POST` that it answers may have taken its number later and its turn at the record earlier.
            flight.start = flight.renewal.map_or(number, |renewal| number.max(renewal));
        }
        Some(Begun { start: flight.start, renewal: flight.renewal.unwrap_or(0) })
    }

    /// The mint with this id, which began at `start`, has landed. `keep`: the lease may be held (it is not short).
    pub(super) fn land(
        &mut self,
        variant: &[u8],
        (id, start): (u64, u64),
        result: &MintResult,
        keep: bool,
        now: Moment,
    ) -> LandOutcome {
        self.landed(now.tick, result.as_ref().is_ok_and(|lease| lease.is_minted_in(id)));
        let current = self.keeps(start);
        let slot = self.slot(variant);
        if slot.flight.as_ref().is_some_and(|flight| flight.id == id) {
            slot.flight = None;
        }
        let mut landed = LandOutcome::default();
        match result {
            Ok(lease) => {
                slot.failed = None;
                let held = slot.lease.as_ref().filter(|held| held.serves(now));
                // A mint ahead that brings less life than what is held changes nothing. The next one waits: a vendor whose URLs live shorter than
                // `refresh_ahead` is not asked at each request.
                let better = held.is_none_or(|held| held.end <= lease.end || held.version.epoch != lease.version.epoch);
                if held.is_some() {
                    slot.ahead_not_before = now.tick.plus(AHEAD_PAUSE);
                }
                if keep && current && better {
                    landed.replaced = slot.lease.replace(lease.clone());
                    slot.started = start;
                    landed.kept = true;
                }
            }
            Err(failure) => {
                if failure.is_everybodys() {
                    slot.failed = Some((now.tick.plus(FAILURE_MEMORY), *failure));
                }
                slot.ahead_not_before = now.tick.plus(AHEAD_PAUSE);
            }
        }
        landed
    }

    /// The mint with this id ended without a landing (its task was ended): nobody may wait for it.
    pub(super) fn abandon(&mut self, variant: &[u8], id: u64) {
        self.running = self.running.saturating_sub(1);
        if let Some(slot) = self.slots.iter_mut().find(|slot| *slot.variant == *variant) {
            slot.flight.take_if(|flight| flight.id == id);
        }
    }

    /// Forgets what no longer matters. Returns whether anything is left.
    pub(super) fn tidy(&mut self, now: Tick) -> bool {
        self.expire_mints(now);
        self.slots.retain(|slot| slot.lease.is_some() || slot.flight.is_some() || slot.recent_failure(now).is_some());
        !self.slots.is_empty() || !self.minted.is_empty() || self.running > 0
    }

    /// The visit that was asked for takes place.
    pub(super) fn visited(&mut self) {
        self.visit_claimed = false;
    }

    /// If nothing but the passing of time would clear this record away (no lease and no mint leads to it): how long until it should be looked
    /// at. Answered once, until [`Record::visited`].
    pub(super) fn claim_visit(&mut self, now: Tick) -> Option<Duration> {
        let orphan = self.running == 0 && self.slots.iter().all(|slot| slot.lease.is_none());
        if !orphan || self.visit_claimed {
            return None;
        }
        self.visit_claimed = true;
        let minted = self.minted.iter().max().map(|last| self.window.saturating_sub(now.since(*last)));
        Some(minted.unwrap_or_default().max(FAILURE_MEMORY))
    }

    fn start(&mut self, variant: &[u8], now: Moment, rules: &Rules, id: u64, purpose: Purpose) -> Step {
        let limited = self.limited(now.tick, rules);
        if let Some(wait) = limited.filter(|_| purpose != Purpose::AskAgain) {
            return Step::Limited(wait);
        }
        let renewal = purpose == Purpose::Renewal;
        let floor = self.floor;
        let (result, landed) = watch::channel(None);
        let slot = self.slot(variant);
        let after = slot
            .flight
            .as_ref()
            .filter(|flight| renewal && flight.renewal.is_some())
            .map(|flight| flight.landed.clone());
        // A forgetting may have taken its number later and its turn at the record earlier.
        let start = if after.is_some() { QUEUED } else { id.max(floor) };
        let renewal = renewal.then_some(id);
        slot.flight = Some(Flight { start, renewal, landed: landed.clone(), id });
        self.running += 1;
        let begun = Begun { start, renewal: renewal.unwrap_or(0) };
        Step::Start(Ticket { id, begun, result, landed, limited, after })
    }

    fn flight(&mut self, variant: &[u8], id: u64) -> Option<&mut Flight> {
        let slot = self.slots.iter_mut().find(|slot| *slot.variant == *variant)?;
        slot.flight.as_mut().filter(|flight| flight.id == id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn find(&self, variant: &[u8]) -> Option<&Slot> {
        self.slots.iter().find(|slot| *slot.variant == *variant)
    }

    fn slot(&mut self, variant: &[u8]) -> &mut Slot {
        let position = self.slots.iter().position(|slot| *slot.variant == *variant).unwrap_or_else(|| {
            // Most owners have one URL: no room is kept for more.
            self.slots.reserve_exact(1);
            self.slots.push(Slot {
                variant: variant.into(),
                lease: None,
                started: 0,
                flight: None,
                failed: None,
                ahead_not_before: Tick::from_millis(i64::MIN),
            });
            self.slots.len() - 1
        });
        &mut self.slots[position]
    }
}

impl Slot {
    fn recent_failure(&self, now: Tick) -> Option<MintFailure> {
        self.failed.filter(|(until, _)| now < *until).map(|(_, failure)| failure)
    }
}
