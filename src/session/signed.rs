//! What was signed for a session, kept beside it: it is forgotten with the session, and another token has another.

use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::clock::Timestamp;

/// Assertions for more apps than that are not kept for one session: the oldest goes.
const MAX_KEPT: usize = 16;

/// Texts that one signer made about one session.
#[derive(Default)]
pub struct Signed(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Whose texts they are.
    signer: u64,
    texts: SmallVec<[Text; 1]>,
}

struct Text {
    audience: u32,
    from: Timestamp,
    until: Timestamp,
    text: Arc<str>,
}

impl Signed {
    /// What this signer made for this audience, if it is to be used at `now`.
    pub fn get(&self, signer: u64, audience: u32, now: Timestamp) -> Option<Arc<str>> {
        let kept = self.0.lock();
        let of_signer = kept.texts.iter().filter(|_| kept.signer == signer);
        let found = of_signer.into_iter().find(|text| text.audience == audience)?;
        // A clock that was set back makes a text one of the future.
        (found.from <= now && now < found.until).then(|| found.text.clone())
    }

    /// Keeps a text that is to be used from the one moment until the other. Drops those of another signer.
    pub fn put(&self, signer: u64, audience: u32, (from, until): (Timestamp, Timestamp), text: Arc<str>) {
        let mut kept = self.0.lock();
        if kept.signer != signer {
            *kept = Kept { signer, texts: SmallVec::new() };
        }
        kept.texts.retain(|text| text.audience != audience);
        if kept.texts.len() == MAX_KEPT {
            kept.texts.remove(0);
        }
        kept.texts.push(Text { audience, from, until, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_text_is_that_of_one_signer_for_one_audience_within_its_time() {
        let signed = Signed::default();
        signed.put(1, 7, (at(100), at(130)), "a".into());
        for (signer, audience, now, found) in [
            (1, 7, 100, true),
            (1, 7, 129, true),
            (1, 7, 130, false),
            (1, 7, 99, false),
            (2, 7, 100, false),
            (1, 8, 100, false),
        ] {
            assert_eq!(signed.get(signer, audience, at(now)).is_some(), found, "{signer} {audience} {now}");
        }
        signed.put(1, 7, (at(130), at(160)), "b".into());
        assert_eq!(signed.get(1, 7, at(140)).as_deref(), Some("b"));
        signed.put(2, 8, (at(130), at(160)), "c".into());
        assert_eq!(signed.get(1, 7, at(140)), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let signed = Signed::default();
        for audience in 0..=MAX_KEPT as u32 {
            signed.put(1, audience, (at(0), at(9)), "x".into());
        }
        assert!(signed.get(1, 0, at(1)).is_none() && signed.get(1, 1, at(1)).is_some());
    }
}
