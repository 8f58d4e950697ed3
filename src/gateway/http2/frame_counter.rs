//! Counts the frames of an HTTP/2 connection (RFC 9113, section 4.1) that cost work without advancing a request: the measure of flood mitigation.

use std::time::Duration;

use tokio::time::Instant;

/// A frame's head: length (3 bytes), type, flags, stream (4 bytes).
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// The flag of HEADERS and CONTINUATION: nothing of this request's head follows (RFC 9113, section 6.2).
const END_HEADERS: u8 = 4;

/// Bounds hold for a second.
const SPAN: Duration = Duration::from_secs(1);

/// Frames without a request in a second: PING, SETTINGS, PRIORITY, DATA without bytes, whatever h2 ignores, and a WINDOW_UPDATE that answers no
/// DATA of ours. gRPC's keep-alive and bandwidth probes take some hundred PINGs. A flood comes with millions; 10,000 are less than a hundredth
/// of a core.
const MOST_IDLE: u32 = 10_000;

/// Window updates for each DATA frame that the client got. Go's client sends one for the connection and one for the stream for each piece that
/// is read of it, and a frame of 16 KiB may be read in two.
const UPDATES: u32 = 4;

/// Streams that the client takes back in a second. A browser that leaves a page takes back what is under way, 100 at most; five such pages a
/// second. Each could have begun a request behind us (CVE-2023-44487).
const MOST_RESETS: u32 = 500;

/// Which bound was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum FloodKind {
    Frames,
    Resets,
}

/// Where in the frames of one direction the bytes are.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes of the payload that are to come.
    payload: usize,
}

impl Frames {
    /// Takes bytes up to the end of the next head, else all. Whether there is a head.
    fn next(&mut self, bytes: &mut &[u8]) -> bool {
        let skipped = self.payload.min(bytes.len());
        self.payload -= skipped;
        let (head, rest) = bytes[skipped..].split_at((HEAD - self.have).min(bytes.len() - skipped));
        self.head[self.have..][..head.len()].copy_from_slice(head);
        self.have += head.len();
        *bytes = rest;
        if self.have < HEAD {
            return false;
        }
        let [a, b, c, ..] = self.head;
        (self.have, self.payload) = (0, u32::from_be_bytes([0, a, b, c]) as usize);
        true
    }

    fn kind(&self) -> u8 {
        self.head[3]
    }
}

/// Where in the frames the bytes are, and what came in this second.
#[derive(Debug)]
pub(in crate::gateway) struct FrameCounter {
    incoming: Frames,
    outgoing: Frames,
    since: Instant,
    idle: u32,
    resets: u32,
    /// Window updates that may come for DATA that the client got.
    updates: u32,
    /// What the DATA of this second added to them.
    fresh: u32,
    /// Requests whose head began.
    heads: u64,
    /// The last of them is to be continued.
    continued: bool,
}

impl FrameCounter {
    /// What follows is the first frame.
    pub fn new() -> Self {
        Self {
            incoming: Frames::default(),
            outgoing: Frames::default(),
            since: Instant::now(),
            idle: 0,
            resets: 0,
            updates: 0,
            fresh: 0,
            heads: 0,
            continued: false,
        }
    }

    /// Counts the frames that begin in the next bytes, wherever these are cut.
    pub fn take(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), FloodKind> {
        if now.duration_since(self.since) >= SPAN {
            (self.since, self.idle, self.resets) = (now, 0, 0);
            // DATA of the second before is still being answered; what older DATA left over would add up to a flood.
            (self.updates, self.fresh) = (self.updates.min(self.fresh), 0);
        }
        while self.incoming.next(&mut bytes) {
            self.count()?;
        }
        Ok(())
    }

    /// Notes the frames that begin in bytes to the client: it answers DATA with window updates.
    pub fn wrote(&mut self, mut bytes: &[u8]) {
        while self.outgoing.next(&mut bytes) {
            if self.outgoing.kind() == DATA && self.outgoing.payload > 0 {
                self.updates = self.updates.saturating_add(UPDATES);
                self.fresh = self.fresh.saturating_add(UPDATES);
            }
        }
    }

    /// The number of the request whose head began and is not whole yet.
    pub fn half_a_head(&self) -> Option<u64> {
        let inside = self.incoming.payload > 0 && matches!(self.incoming.kind(), HEADERS | CONTINUATION);
        (inside || self.continued).then_some(self.heads)
    }

    fn count(&mut self) -> Result<(), FloodKind> {
        let [_, _, _, kind, flags, ..] = self.incoming.head;
        match kind {
            RST_STREAM => {
                self.resets += 1;
                if self.resets > MOST_RESETS { Err(FloodKind::Resets) } else { Ok(()) }
            }
            DATA if self.incoming.payload > 0 => Ok(()),
            WINDOW_UPDATE if self.updates > 0 => {
                self.updates -= 1;
                Ok(())
            }
            // Requests have their own bounds, in h2 too.
            HEADERS | CONTINUATION => {
                self.heads += u64::from(kind == HEADERS);
                self.continued = flags & END_HEADERS == 0;
                Ok(())
            }
            _ => {
                self.idle += 1;
                if self.idle > MOST_IDLE { Err(FloodKind::Frames) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIORITY: u8 = 2;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], &vec![0xff; payload]].concat()
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn each_kind_is_taken_up_to_its_bound() {
        let idle = [
            (PING, 8),
            (SETTINGS, 0),
            (SETTINGS, 6),
            (PRIORITY, 5),
            (WINDOW_UPDATE, 4),
            (DATA, 0),
            (0x10, 0),
            (0xff, 3),
        ];
        let resets = [(RST_STREAM, 4)];
        let cases = idle.map(|case| (case, MOST_IDLE, FloodKind::Frames)).into_iter();
        for ((kind, payload), most, excess) in cases.chain(resets.map(|case| (case, MOST_RESETS, FloodKind::Resets))) {
            let mut frames = FrameCounter::new();
            let now = Instant::now();
            let one = frame(kind, payload);
            for _ in 0..most {
                assert_eq!(frames.take(&one, now), Ok(()), "{kind}");
            }
            assert_eq!(frames.take(&one, now), Err(excess), "{kind}");
        }
    }

    #[test]
    fn requests_and_bodies_are_not_counted() {
        let mut frames = FrameCounter::new();
        let now = Instant::now();
        for _ in 0..=2 * MOST_IDLE {
            for one in [frame(HEADERS, 30), frame(CONTINUATION, 1), frame(DATA, 1)] {
                assert_eq!(frames.take(&one, now), Ok(()));
            }
        }
    }

    #[test]
    fn data_that_was_sent_allows_window_updates_and_nothing_else() {
        let start = Instant::now();
        let (update, data) = (frame(WINDOW_UPDATE, 4), frame(DATA, 300));
        for (kind, taken) in [(WINDOW_UPDATE, MOST_IDLE + 3 * UPDATES), (PING, MOST_IDLE)] {
            let mut frames = FrameCounter::new();
            // Wherever the bytes are cut.
            for piece in data.repeat(3).chunks(7) {
                frames.wrote(piece);
            }
            frames.wrote(&[frame(DATA, 0), frame(HEADERS, 9), frame(PING, 8)].concat());
            let one = frame(kind, 4);
            for _ in 0..taken {
                assert_eq!(frames.take(&one, start), Ok(()), "{kind}");
            }
            assert_eq!(frames.take(&one, start), Err(FloodKind::Frames), "{kind}");
        }
        // What was sent in one second is answered in the next, and not later.
        for (seconds, more) in [(1, UPDATES), (2, 0)] {
            let mut frames = FrameCounter::new();
            frames.wrote(&data);
            for second in 1..=seconds {
                assert_eq!(frames.take(&[], at(frames.since, 1000 * second)), Ok(()));
            }
            let most = update.repeat((MOST_IDLE + more) as usize);
            assert_eq!(frames.take(&most, frames.since), Ok(()));
            assert_eq!(frames.take(&update, frames.since), Err(FloodKind::Frames), "{seconds}");
        }
    }

    #[test]
    fn a_new_second_is_a_new_count() {
        let mut frames = FrameCounter::new();
        let start = frames.since;
        let most = frame(PING, 8).repeat(MOST_IDLE as usize);
        assert_eq!(frames.take(&most, at(start, 0)), Ok(()));
        assert_eq!(frames.take(&most, at(start, 1000)), Ok(()));
        assert_eq!(frames.take(&frame(PING, 8), at(start, 1999)), Err(FloodKind::Frames));
        assert_eq!(frames.take(&most, at(start, 2000)), Ok(()));
    }

    #[test]
    fn a_head_is_whole_with_its_last_byte() {
        let mut frames = FrameCounter::new();
        let now = Instant::now();
        let flagged = |kind, payload, flags| {
            let mut one = frame(kind, payload);
            one[4] = flags;
            one
        };
        let mut see = |bytes: &[u8]| {
            frames.take(bytes, now).unwrap();
            frames.half_a_head()
        };
        assert_eq!(see(&frame(DATA, 3)[..10]), None);
        assert_eq!(see(&[0; 2]), None);
        let whole = flagged(HEADERS, 5, END_HEADERS);
        assert_eq!(see(&whole[..9]), Some(1));
        assert_eq!(see(&whole[9..13]), Some(1));
        assert_eq!(see(&whole[13..]), None);
        assert_eq!(see(&[whole.clone(), whole[..11].to_vec()].concat()), Some(3));
        assert_eq!(see(&whole[11..]), None);
        assert_eq!(see(&flagged(HEADERS, 5, 0)), Some(4));
        assert_eq!(see(&flagged(CONTINUATION, 5, 0)), Some(4));
        assert_eq!(see(&flagged(CONTINUATION, 0, END_HEADERS)), None);
        assert_eq!(see(&flagged(DATA, 9, 0)[..12]), None);
    }

    #[test]
    fn frames_are_counted_wherever_the_bytes_are_cut() {
        // The payload looks like heads of PINGs.
        let all =
            [frame(DATA, 300), frame(PING, 8), frame(HEADERS, 17), frame(RST_STREAM, 4), frame(SETTINGS, 0)].concat();
        let count = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut frames = FrameCounter::new();
            let now = Instant::now();
            for piece in pieces {
                frames.take(piece, now).unwrap();
            }
            assert_eq!((frames.incoming.have, frames.incoming.payload), (0, 0));
            (frames.idle, frames.resets)
        };
        for size in 1..=all.len() {
            assert_eq!(count(&mut all.chunks(size)), (2, 1), "pieces of {size}");
        }
    }
}
