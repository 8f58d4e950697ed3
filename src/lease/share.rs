//! Single-flight across nodes: the store is asked first, and grants the claim to mint with a fencing token.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::lease::flight::MintResult;
use crate::lease::held::{Lease, StoreVersion};
use crate::lease::key::LeaseKey;
use crate::lease::lease_policy::LeasePolicy;
use crate::lease::leases::Leases;
use crate::lease::outcome::Freshness;
use crate::lease::record::Record;
use crate::lease::records::Records;
use crate::lease::rules::Stored;
use crate::lease::store::settings::OnStoreLoss;
use crate::lease::store::{AcquireResult, Claim, Entry, Lost, Name, RENEW, SealedStore};
use crate::provider::{MintFailure, MintInput, Reason};

/// A turn is waited for a little longer than it lasts: then it is over for the store, too.
const MARGIN: Duration = Duration::from_millis(20);

/// Whoever waits for others this long has waited for many that died: the vendor's own time-outs are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// One flight's business with the store.
pub(super) struct SharedMint<'a> {
    pub policy: &'a Arc<LeasePolicy>,
    pub key: &'a LeaseKey,
    pub input: &'a MintInput,
    /// What whoever asks for it wants a lease to have, beside the plug-in's rules.
    pub freshness: Freshness,
    pub id: u64,
    /// `mints_per_subject` allows no mint for this long.
    pub limited: Option<Duration>,
}

impl SharedMint<'_> {
    /// Whether this lease is as fresh as asked for.
    fn takes(&self, lease: &Lease, now: Moment) -> bool {
        self.freshness.allows(lease, now.wall)
    }
}

impl<G: Records> Leases<G> {
    /// The landing of a flight, and whether its lease may be held.
    ///
    /// Dropped: a turn that was taken ends by itself.
    pub(super) async fn share(&self, store: &SealedStore, flight: &SharedMint<'_>) -> (MintResult, bool) {
        match self.through(store, flight).await {
            Ok(landed) => landed,
            Err(Lost) => self.alone(store, flight).await,
        }
    }

    /// The landing of a flight of "scan again": always a mint, whose URL takes the place of what the store holds. Until then, and if it fails, that goes on.
    /// Also where the flight counts as begun from now on.
    ///
    /// Dropped: what the store holds goes on.
    pub(super) async fn share_again(
        &self,
        store: &SealedStore,
        flight: &SharedMint<'_>,
        start: u64,
    ) -> (MintResult, bool, u64) {
        let Ok(number) = self.announce(store, flight).await else {
            let (result, keep) = self.by_itself(store, flight).await;
            if result.is_err() {
                return (result, keep, start);
            }
            // The store is told as soon as it can be.
            store.invalidate_later(flight.key.owner());
            return (result, keep, self.forget_but(flight, start));
        };
        let epoch = store.epoch();
        let (result, keep) = self.mint_within(flight).await;
        let Ok(lease) = result else { return (result, false, start) };
        // Forgotten meanwhile, or given up for a later scan.
        let current = self.records.look(flight.key.owner(), |record| record.keeps(start)).unwrap_or(true);
        if !current {
            return (Ok(lease), false, start);
        }
        if !keep || lease.is_counted() {
            // Too little life to be held, or none that nodes may share: what was held is given up all the same. While the store is lost it is owed.
            let _ = store.forget(flight.key.owner()).await;
            return (Ok(lease), false, self.forget_but(flight, start));
        }
        let life = lease.remaining(self.now().wall);
        let version = match store.replace(flight.key, number, life, &entry(&lease)).await {
            Ok(true) => StoreVersion { epoch, generation: number, shared: false },
            // A later scan has come, or a drop.
            Ok(false) => return (Ok(lease), false, start),
            // The store may have it or not: it forgets whatever it has, and is asked before this is sent from memory.
            Err(Lost) => {
                store.invalidate_later(flight.key.owner());
                StoreVersion::NONE
            }
        };
        // What others of this node have got from the store meanwhile is from before.
        let start = self.forget_but(flight, start);
        (Ok(Arc::new(lease.tied(version, flight.id))), true, start)
    }

    /// The number of this scan, for the store to tell it from later ones.
    async fn announce(&self, store: &SealedStore, flight: &SharedMint<'_>) -> Result<u64, Lost> {
        store.settle(flight.key.owner()).await?;
        store.announce(flight.key.owner()).await
    }

    /// Without the store: what is held goes on; else this node mints for itself, or refuses.
    async fn alone(&self, store: &SealedStore, flight: &SharedMint<'_>) -> (MintResult, bool) {
        let refuses = store.on_loss() == OnStoreLoss::Refuse;
        // Where nobody may mint, a URL that is less fresh than asked for is better than none.
        match self.held_any(flight.key).filter(|lease| refuses || flight.takes(lease, self.now())) {
            Some(lease) => (Ok(lease), false),
            None => self.by_itself(store, flight).await,
        }
    }

    /// The flight's own mint, unless `mints_per_subject` allows none: that is asked here, for what is held is no mint.
    async fn mint_within(&self, flight: &SharedMint<'_>) -> (MintResult, bool) {
        if let Some(wait) = flight.limited {
            self.gauges.limited.inc();
            return (Err(MintFailure::Limited(wait)), false);
        }
        self.mint(flight.policy, flight.input, flight.id).await
    }

    async fn by_itself(&self, store: &SealedStore, flight: &SharedMint<'_>) -> (MintResult, bool) {
        match store.on_loss() {
            OnStoreLoss::Local => {
                let (result, keep) = self.mint_within(flight).await;
                if let (Ok(lease), true) = (&result, keep && !is_counted(&result)) {
                    store.keep_later(flight.key, lease.remaining(self.now().wall), &entry(lease));
                }
                (result, keep)
            }
            OnStoreLoss::Refuse => (Err(MintFailure::StoreLost), false),
        }
    }

    async fn through(&self, store: &SealedStore, flight: &SharedMint<'_>) -> Result<(MintResult, bool), Lost> {
        let SharedMint { key, input, .. } = flight;
        // A store may lose even this before it is asked again.
        let forgotten = store.settle(key.owner()).await?;
        let name = store.name(key)?;
        let began = self.now();
        let mut subscription = store.subscription(&name);
        // A URL with little life left goes only to the callers that waited for its mint.
        let mut life = Some(input.context.life);
        loop {
            subscription.mark_unchanged();
            // Of before the question: what the store says may be older than what is heard meanwhile.
            let epoch = store.epoch();
            let known = self.known(flight).max(forgotten);
            match store.begin(key, &name, life, known).await? {
                AcquireResult::Held(entry, generation, left) => {
                    match self.adopt(flight, &entry, (epoch, generation, left)) {
                        Some(lease) => return Ok((Ok(lease), true)),
                        // Of another configuration, of a clock that nobody should trust, or less fresh than asked for.
                        None => life = None,
                    }
                }
                AcquireResult::Failed(failure, generation) => {
                    // Somebody's failed mint takes nothing away from who holds one.
                    return Ok((self.held_of(flight, generation).ok_or(failure), false));
                }
                AcquireResult::Wait(_) if self.now().tick.since(began.tick) > PATIENCE => {
                    return Ok((Err(MintFailure::TimedOut), false));
                }
                AcquireResult::Wait(wait) => {
                    // Woken, or the turn is over; an ear that is gone hears nothing.
                    let _ = tokio::time::timeout(wait + MARGIN, async {
                        if subscription.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    })
                    .await;
                    // What has come meanwhile may do.
                    life = Some(input.context.life);
                }
                AcquireResult::Claim(claim) => return self.claim(store, flight, &name, claim).await,
            }
        }
    }

    /// It is this node's turn: what it holds of the same generation is put back, else it mints.
    async fn claim(
        &self,
        store: &SealedStore,
        flight: &SharedMint<'_>,
        name: &Name,
        claim: Claim,
    ) -> Result<(MintResult, bool), Lost> {
        let epoch = store.epoch();
        if let Some(lease) = self.held_of(flight, claim.generation) {
            let lease =
                Arc::new(lease.tied(StoreVersion { epoch, generation: claim.generation, shared: true }, flight.id));
            flight.policy.counts.shared.inc();
            if lease.is_counted() {
                store.give_up(name, claim, None).await;
                return Ok((Ok(lease), true));
            }
            let kept = store.keep(flight.key, name, claim, lease.remaining(self.now().wall), &entry(&lease)).await?;
            return Ok((Ok(lease), kept));
        }
        let (result, keep) = {
            let mint = self.mint_within(flight);
            tokio::pin!(mint);
            loop {
                tokio::select! {
                    landed = &mut mint => break landed,
                    // Whether it goes on or not, the result decides.
                    () = tokio::time::sleep(RENEW) => drop(store.renew(name, claim).await),
                }
            }
        };
        match result {
            Ok(lease) if keep => {
                let version = StoreVersion { epoch, generation: claim.generation, shared: false };
                let lease = Arc::new(lease.tied(version, flight.id));
                if lease.is_counted() {
                    // Each node would count for itself: it stays with this one.
                    store.give_up(name, claim, None).await;
                    return Ok((Ok(lease), true));
                }
                match store.keep(flight.key, name, claim, lease.remaining(self.now().wall), &entry(&lease)).await {
                    Ok(true) => Ok((Ok(lease), true)),
                    // Somebody's newer turn: one URL in the end, and it is theirs, if there is one yet.
                    Ok(false) => Ok(match self.theirs(store, flight, name).await {
                        Some(theirs) => (Ok(theirs), true),
                        None => (Ok(lease), false),
                    }),
                    // The store may have it or not, and another node may mint: it is asked before this is sent from memory.
                    Err(Lost) => Ok((Ok(Arc::new(lease.tied(StoreVersion::NONE, flight.id))), true)),
                }
            }
            result => {
                store.give_up(name, claim, result.as_ref().err().copied()).await;
                Ok((result, keep))
            }
        }
    }

    /// What a newer turn has brought, or a scan.
    async fn theirs(&self, store: &SealedStore, flight: &SharedMint<'_>, name: &Name) -> Option<Arc<Lease>> {
        let epoch = store.epoch();
        match store.begin(flight.key, name, Some(flight.input.context.life), self.known(flight)).await.ok()? {
            AcquireResult::Held(entry, generation, left) => self.adopt(flight, &entry, (epoch, generation, left)),
            AcquireResult::Claim(claim) => {
                store.give_up(name, claim, None).await;
                None
            }
            AcquireResult::Wait(_) | AcquireResult::Failed(..) => None,
        }
    }

    /// A lease of the store, judged as if it had just been minted.
    fn adopt(
        &self,
        flight: &SharedMint<'_>,
        entry: &Entry,
        (epoch, generation, left): (u32, u64, Duration),
    ) -> Option<Arc<Lease>> {
        // By the store's clock, too: the node that minted it may have another one.
        let now = self.now();
        let mut lease = readmit(flight.policy, entry, Some(left), now, flight.id)?;
        if !flight.takes(&lease, now) {
            return None;
        }
        lease.version = StoreVersion { epoch, generation, shared: true };
        flight.policy.counts.shared.inc();
        Some(Arc::new(lease))
    }

    /// The owner's generation as far as this node knows it.
    fn known(&self, flight: &SharedMint<'_>) -> u64 {
        let held = self.held_any(flight.key);
        held.map(|lease| lease.version.generation).filter(|generation| *generation != StoreVersion::LOCAL).unwrap_or(0)
    }

    /// Forgets an owner's leases here, and lets no earlier mint be kept except this one, whose URL takes their place. Where it counts as begun from
    /// now on: as before, if a forgetting has come that it must not outlive.
    fn forget_but(&self, flight: &SharedMint<'_>, start: u64) -> u64 {
        let (now, number, key) = (self.now(), self.next_id(), flight.key);
        let forget = |record: &mut Record| record.forget_but(key.variant(), (flight.id, start), number);
        let Some((dropped, kept)) = self.change(key.owner(), now, forget) else { return start };
        dropped.iter().for_each(|lease| self.forgotten(lease));
        if kept { number } else { start }
    }

    /// What is held of this generation, for a caller that found none that may be sent from memory.
    fn held_of(&self, flight: &SharedMint<'_>, generation: u64) -> Option<Arc<Lease>> {
        let held = self.held_any(flight.key).filter(|lease| lease.version.is_of(generation));
        held.filter(|lease| flight.input.context.reason == Reason::Miss && flight.takes(lease, self.now()))
    }

    /// What is held and still lives, whether or not it has been asked for again since the store was lost.
    fn held_any(&self, key: &LeaseKey) -> Option<Arc<Lease>> {
        let now = self.now();
        let held = self.records.look(key.owner(), |record| record.held(key.variant(), now, None)).flatten();
        held.map(|(lease, _)| lease)
    }
}

fn is_counted(result: &MintResult) -> bool {
    result.as_ref().is_ok_and(|lease| lease.is_counted())
}

/// What of a lease another process may take over.
pub(super) fn entry(lease: &Lease) -> Entry {
    Entry {
        // Sealed, into the store; or over a socket of this user alone, to the successor.
        url: lease.url.expose().to_owned().into(),
        is_token: lease.url.is_token(),
        own_end_ms: lease.own_end.as_millis(),
        end_unread: lease.end_unread,
        end_ms: lease.end.as_millis(),
        began_ms: lease.began.as_millis(),
    }
}

/// A lease of another process, judged as if it had just been minted; it ends at the latest when nothing is `left` of it.
pub(super) fn readmit(
    policy: &LeasePolicy,
    entry: &Entry,
    left: Option<Duration>,
    now: Moment,
    seq: u64,
) -> Option<Lease> {
    let mint = &policy.mint;
    let url = if entry.is_token { mint.readmit_token(&entry.url)? } else { mint.readmit(&entry.url)? };
    let end = Timestamp::from_millis(entry.end_ms);
    let stored = Stored {
        url,
        own_end: Timestamp::from_millis(entry.own_end_ms),
        end_unread: entry.end_unread,
        end: left.map_or(end, |left| end.min(now.wall.plus(left))),
        began: Timestamp::from_millis(entry.began_ms),
    };
    policy.rules.judge_again(stored, now, seq)
}
