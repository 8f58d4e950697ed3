//! A mint among several nodes: the store is asked first, and says whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::lease::book::Book;
use crate::lease::ground::Ground;
use crate::lease::held::{Lease, Tie};
use crate::lease::key::LeaseKey;
use crate::lease::plan::Plan;
use crate::lease::record::{Landing, Record};
use crate::lease::store::settings::OnStoreLoss;
use crate::lease::store::{Entry, Lost, Name, RENEW, Turn, Turned, Vault};
use crate::provider::{MintFailure, MintInput, Reason};

/// A turn is waited for a little longer than it lasts: then it is over for the store, too.
const MARGIN: Duration = Duration::from_millis(20);

/// Whoever waits for others this long has waited for many that died: the vendor's own time-outs are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// One flight's business with the store.
pub(super) struct Errand<'a> {
    pub plan: &'a Arc<Plan>,
    pub key: &'a LeaseKey,
    pub input: &'a MintInput,
    pub id: u64,
}

impl<G: Ground> Book<G> {
    /// The landing of a flight, and whether its lease may be held.
    ///
    /// Dropped: a turn that was taken ends by itself.
    pub(super) async fn share(&self, vault: &Vault, errand: &Errand<'_>) -> (Landing, bool) {
        match self.through(vault, errand).await {
            Ok(landed) => landed,
            Err(Lost) => self.alone(vault, errand).await,
        }
    }

    /// The same for "scan again": always a mint, whose URL takes the place of what the store holds. Until then, and if it fails, that goes on.
    /// Also where the flight counts as begun from now on.
    ///
    /// Dropped: what the store holds goes on.
    pub(super) async fn share_again(&self, vault: &Vault, errand: &Errand<'_>, start: u64) -> (Landing, bool, u64) {
        let Ok(number) = self.announce(vault, errand).await else {
            let (landing, keep) = self.by_itself(vault, errand).await;
            if landing.is_err() {
                return (landing, keep, start);
            }
            // The store is told as soon as it can be.
            vault.owe(errand.key.owner());
            return (landing, keep, self.forget_but(errand, start));
        };
        let epoch = vault.epoch();
        let (landing, keep) = self.mint(errand.plan, errand.input, errand.id).await;
        let Ok(lease) = landing else { return (landing, false, start) };
        // Forgotten meanwhile, or given up for a later scan.
        let current = self.ground.look(errand.key.owner(), |record| record.keeps(start)).unwrap_or(true);
        if !current {
            return (Ok(lease), false, start);
        }
        if !keep {
            // Too little life to be held: what was held is given up all the same. While the store is lost it is owed.
            let _ = vault.forget(errand.key.owner()).await;
            return (Ok(lease), false, self.forget_but(errand, start));
        }
        let life = lease.remaining(self.now().wall);
        let tie = match vault.replace(errand.key, number, life, &entry(&lease)).await {
            Ok(true) => Tie { epoch, generation: number, shared: false },
            // A later scan has come, or a drop.
            Ok(false) => return (Ok(lease), false, start),
            // The store may have it or not: it forgets whatever it has, and is asked before this is sent from memory.
            Err(Lost) => {
                vault.owe(errand.key.owner());
                Tie::NONE
            }
        };
        // What others of this node have got from the store meanwhile is from before.
        let start = self.forget_but(errand, start);
        (Ok(Arc::new(lease.tied(tie, errand.id))), true, start)
    }

    /// The number of this scan, for the store to tell it from later ones.
    async fn announce(&self, vault: &Vault, errand: &Errand<'_>) -> Result<u64, Lost> {
        vault.settle(errand.key.owner()).await?;
        vault.announce(errand.key.owner()).await
    }

    /// Without the store: what is held goes on; else this node mints for itself, or refuses.
    async fn alone(&self, vault: &Vault, errand: &Errand<'_>) -> (Landing, bool) {
        match self.held_any(errand.key) {
            Some(lease) => (Ok(lease), false),
            None => self.by_itself(vault, errand).await,
        }
    }

    async fn by_itself(&self, vault: &Vault, errand: &Errand<'_>) -> (Landing, bool) {
        match vault.on_loss() {
            OnStoreLoss::Local => {
                let (landing, keep) = self.mint(errand.plan, errand.input, errand.id).await;
                if let (Ok(lease), true) = (&landing, keep) {
                    vault.keep_later(errand.key, lease.remaining(self.now().wall), &entry(lease));
                }
                (landing, keep)
            }
            OnStoreLoss::Refuse => (Err(MintFailure::StoreLost), false),
        }
    }

    async fn through(&self, vault: &Vault, errand: &Errand<'_>) -> Result<(Landing, bool), Lost> {
        let Errand { key, input, .. } = errand;
        // A store may lose even this before it is asked again.
        let forgotten = vault.settle(key.owner()).await?;
        let name = vault.name(key)?;
        let began = self.now();
        let mut ear = vault.ear(&name);
        // Short ones are for who waited for that mint alone.
        let mut life = Some(input.errand.life);
        loop {
            ear.mark_unchanged();
            // Of before the question: what the store says may be older than what is heard meanwhile.
            let epoch = vault.epoch();
            let known = self.known(errand).max(forgotten);
            match vault.begin(key, &name, life, known).await? {
                Turned::Held(entry, generation, left) => match self.adopt(errand, &entry, (epoch, generation, left)) {
                    Some(lease) => return Ok((Ok(lease), true)),
                    // Of another configuration, or of a clock that nobody should trust.
                    None => life = None,
                },
                Turned::Failed(failure, generation) => {
                    // Somebody's failed mint takes nothing away from who holds one.
                    return Ok((self.held_of(errand, generation).ok_or(failure), false));
                }
                Turned::Wait(_) if self.now().tick.since(began.tick) > PATIENCE => {
                    return Ok((Err(MintFailure::TimedOut), false));
                }
                Turned::Wait(wait) => {
                    // Woken, or the turn is over; an ear that is gone hears nothing.
                    let _ = tokio::time::timeout(wait + MARGIN, async {
                        if ear.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    })
                    .await;
                }
                Turned::Turn(turn) => return self.turn(vault, errand, &name, turn).await,
            }
        }
    }

    /// It is this node's turn: what it holds of the same generation is put back, else it mints.
    async fn turn(&self, vault: &Vault, errand: &Errand<'_>, name: &Name, turn: Turn) -> Result<(Landing, bool), Lost> {
        let epoch = vault.epoch();
        if let Some(lease) = self.held_of(errand, turn.generation) {
            let lease = Arc::new(lease.tied(Tie { epoch, generation: turn.generation, shared: true }, errand.id));
            let kept = vault.keep(errand.key, name, turn, lease.remaining(self.now().wall), &entry(&lease)).await?;
            return Ok((Ok(lease), kept));
        }
        let (landing, keep) = {
            let mint = self.mint(errand.plan, errand.input, errand.id);
            tokio::pin!(mint);
            loop {
                tokio::select! {
                    landed = &mut mint => break landed,
                    // Whether it goes on or not, the result decides.
                    () = tokio::time::sleep(RENEW) => drop(vault.renew(name, turn).await),
                }
            }
        };
        match landing {
            Ok(lease) if keep => {
                let tie = Tie { epoch, generation: turn.generation, shared: false };
                let lease = Arc::new(lease.tied(tie, errand.id));
                match vault.keep(errand.key, name, turn, lease.remaining(self.now().wall), &entry(&lease)).await {
                    Ok(true) => Ok((Ok(lease), true)),
                    // Somebody's newer turn: one URL in the end, and it is theirs, if there is one yet.
                    Ok(false) => Ok(match self.theirs(vault, errand, name).await {
                        Some(theirs) => (Ok(theirs), true),
                        None => (Ok(lease), false),
                    }),
                    // The store may have it or not, and another node may mint: it is asked before this is sent from memory.
                    Err(Lost) => Ok((Ok(Arc::new(lease.tied(Tie::NONE, errand.id))), true)),
                }
            }
            landing => {
                vault.give_up(name, turn, landing.as_ref().err().copied()).await;
                Ok((landing, keep))
            }
        }
    }

    /// What a newer turn has brought, or a scan.
    async fn theirs(&self, vault: &Vault, errand: &Errand<'_>, name: &Name) -> Option<Arc<Lease>> {
        let epoch = vault.epoch();
        match vault.begin(errand.key, name, Some(errand.input.errand.life), self.known(errand)).await.ok()? {
            Turned::Held(entry, generation, left) => self.adopt(errand, &entry, (epoch, generation, left)),
            Turned::Turn(turn) => {
                vault.give_up(name, turn, None).await;
                None
            }
            Turned::Wait(_) | Turned::Failed(..) => None,
        }
    }

    /// A lease of the store, judged as if it had just been minted.
    fn adopt(
        &self,
        errand: &Errand<'_>,
        entry: &Entry,
        (epoch, generation, left): (u32, u64, Duration),
    ) -> Option<Arc<Lease>> {
        let mint = &errand.plan.mint;
        let url = if entry.is_token { mint.readmit_token(&entry.url)? } else { mint.readmit(&entry.url)? };
        let now = self.now();
        let stored = crate::lease::rules::Stored {
            url,
            own_end: Timestamp::from_millis(entry.own_end_ms),
            end_unread: entry.end_unread,
            // By the store's clock, too: the node that minted it may have another one.
            end: Timestamp::from_millis(entry.end_ms).min(now.wall.plus(left)),
            began: Timestamp::from_millis(entry.began_ms),
        };
        let mut lease = errand.plan.rules.judge_again(stored, now, errand.id)?;
        lease.tie = Tie { epoch, generation, shared: true };
        errand.plan.counts.shared.inc();
        Some(Arc::new(lease))
    }

    /// The owner's generation as far as this node knows it.
    fn known(&self, errand: &Errand<'_>) -> u64 {
        let held = self.held_any(errand.key);
        held.map(|lease| lease.tie.generation).filter(|generation| *generation != Tie::LOCAL).unwrap_or(0)
    }

    /// Forgets an owner's leases here, and lets no mint of before be kept but this one, whose URL takes their place. Where it counts as begun from
    /// now on: as before, if a forgetting has come that it must not outlive.
    fn forget_but(&self, errand: &Errand<'_>, start: u64) -> u64 {
        let (now, number, key) = (self.now(), self.next_id(), errand.key);
        let forget = |record: &mut Record| record.forget_but(key.variant(), (errand.id, start), number);
        let Some((dropped, kept)) = self.change(key.owner(), now, forget) else { return start };
        dropped.iter().for_each(|lease| self.forgotten(lease));
        if kept { number } else { start }
    }

    /// What is held of this generation, for who has missed one that may be sent from memory.
    fn held_of(&self, errand: &Errand<'_>, generation: u64) -> Option<Arc<Lease>> {
        let held = self.held_any(errand.key).filter(|lease| lease.tie.is_of(generation));
        held.filter(|_| errand.input.errand.reason == Reason::Miss)
    }

    /// What is held and still lives, whether or not it has been asked for again since the store was lost.
    fn held_any(&self, key: &LeaseKey) -> Option<Arc<Lease>> {
        let now = self.now();
        let held = self.ground.look(key.owner(), |record| record.held(key.variant(), now, None)).flatten();
        held.map(|(lease, _)| lease)
    }
}

fn entry(lease: &Lease) -> Entry {
    Entry {
        // Sealed, into the store.
        url: lease.url.expose().to_owned().into(),
        is_token: lease.url.is_token(),
        own_end_ms: lease.own_end.as_millis(),
        end_unread: lease.end_unread,
        end_ms: lease.end.as_millis(),
        began_ms: lease.began.as_millis(),
    }
}
