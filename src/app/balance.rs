//! Load balancing: which of several equally available upstreams gets a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::settings::Balance;
use super::upstream::Upstream;

/// Chooses one of `fit`. `turn` counts the choices; `subject` is the lot of whom the request is for.
pub(super) fn choose<'a>(
    balance: Balance,
    fit: &[&'a Arc<Upstream>],
    turn: usize,
    subject: impl FnOnce() -> u64,
) -> Option<&'a Arc<Upstream>> {
    match balance {
        Balance::RoundRobin => in_turn(fit, turn),
        Balance::LeastConnections => in_turn(&idlest(fit), turn),
        Balance::Subject => {
            let subject = subject();
            fit.iter().copied().max_by_key(|upstream| weight(subject, upstream.hash))
        }
    }
}

fn in_turn<'a>(fit: &[&'a Arc<Upstream>], turn: usize) -> Option<&'a Arc<Upstream>> {
    fit.get(turn.checked_rem(fit.len())?).copied()
}

/// The upstreams with the fewest requests under way.
fn idlest<'a>(fit: &[&'a Arc<Upstream>]) -> SmallVec<[&'a Arc<Upstream>; 16]> {
    let mut least = usize::MAX;
    let mut idlest = SmallVec::new();
    for upstream in fit {
        let under_way = upstream.under_way.load(Ordering::Relaxed);
        if under_way < least {
            least = under_way;
            idlest.clear();
        }
        if under_way == least {
            idlest.push(*upstream);
        }
    }
    idlest
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): each upstream has a weight of its own for each subject, and the heaviest gets it. One that
/// leaves hands over its own subjects alone, evenly. The weight is the finalizer of SplitMix64 over both lots; every process and every version
/// must come to the same, so neither this nor [`hash`](super::upstream::hash) may change.
fn weight(subject: u64, upstream: u64) -> u64 {
    let mut mixed = subject ^ upstream;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
