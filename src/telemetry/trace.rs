//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): where a request stands in a trace.

/// The field that tells the next party where it stands.
pub const TRACEPARENT: &str = "traceparent";

/// What vendors of tracing add to it.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// One span's place: what `traceparent` tells the next party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// Of the whole trace; never all zero.
    pub trace_id: [u8; 16],
    /// Of this span; never all zero.
    pub span_id: [u8; 8],
    /// Whether this span is recorded.
    pub sampled: bool,
}

/// One span of ours, and the span that it belongs below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The span of this process.
    pub own: TraceContext,
    /// The caller's; `None`: the trace begins here.
    pub parent: Option<[u8; 8]>,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` if it is not one (section 3.2). Of a later version the parts that version 00 has.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let (head, rest) = field.split_at_checked(LENGTH)?;
        let version = byte(head, 0)?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.first() == Some(&b'-'),
        };
        if !fits || [2, 35, 52].iter().any(|at| head.get(*at) != Some(&b'-')) {
            return None;
        }
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        for (at, out) in trace_id.iter_mut().enumerate() {
            *out = byte(head, 3 + 2 * at)?;
        }
        for (at, out) in span_id.iter_mut().enumerate() {
            *out = byte(head, 36 + 2 * at)?;
        }
        let flags = byte(head, 53)?;
        let known = trace_id != [0; 16] && span_id != [0; 8];
        known.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// As `traceparent` writes it, in ASCII.
    pub fn header(&self) -> [u8; LENGTH] {
        let mut out = [b'-'; LENGTH];
        put(&mut out[..2], &[0]);
        put(&mut out[3..35], &self.trace_id);
        put(&mut out[36..52], &self.span_id);
        put(&mut out[53..], &[u8::from(self.sampled)]);
        out
    }

    /// The trace's id, as logs write it.
    pub fn trace_id_text(&self) -> [u8; 32] {
        let mut out = [0; 32];
        put(&mut out, &self.trace_id);
        out
    }
}

impl Place {
    /// The first span of a trace with this id.
    pub fn begin(trace_id: [u8; 16], sampled: bool) -> Self {
        Self { own: TraceContext { trace_id, span_id: span_id(), sampled }, parent: None }
    }

    /// A new span below a caller's. `sampled`: whether ours is recorded.
    pub fn below(caller: &TraceContext, sampled: bool) -> Self {
        let own = TraceContext { trace_id: caller.trace_id, span_id: span_id(), sampled };
        Self { own, parent: Some(caller.span_id) }
    }
}

/// A trace id out of nothing.
pub fn trace_id() -> [u8; 16] {
    fastrand::u128(1..).to_be_bytes()
}

fn span_id() -> [u8; 8] {
    fastrand::u64(1..).to_be_bytes()
}

/// The byte that two digits write, in lower case as the specification wants it.
fn byte(text: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| match text.get(at)? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(digit(at)? << 4 | digit(at + 1)?)
}

/// Digits without a table: the compiler makes vectors of it.
fn put(out: &mut [u8], bytes: &[u8]) {
    let digit = |half: u8| half + b'0' + if half > 9 { b'a' - b'0' - 10 } else { 0 };
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_it_stands() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.header(), GOOD.as_bytes());
        assert_eq!(&context.trace_id_text(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        let unsampled = TraceContext::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap();
        assert!(!unsampled.sampled);
    }

    #[test]
    fn what_is_no_traceparent_is_not_believed() {
        for wrong in [
            "",
            "00",
            &GOOD[1..],
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("00-4", "ff-4"),
            &format!("{GOOD}-x"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("-00f0", "_00f0"),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("00-4", "01-4").replace("-01", "-01x"),
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in [GOOD.replace("00-4", "01-4"), format!("{}-more", GOOD.replace("00-4", "cc-4"))] {
            assert!(TraceContext::parse(later.as_bytes()).is_some(), "{later}");
        }
    }

    #[test]
    fn a_span_of_ours_stays_in_the_trace_and_has_an_id_of_its_own() {
        let caller = TraceContext::parse(GOOD.as_bytes()).unwrap();
        let place = Place::below(&caller, false);
        assert_eq!((place.own.trace_id, place.parent), (caller.trace_id, Some(caller.span_id)));
        assert_ne!(place.own.span_id, caller.span_id);
        assert!(!place.own.sampled);
    }
}
