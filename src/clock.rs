//! Wall time for what others set (a token's `exp`, a URL's end), a monotonic tick for what we measure ourselves.
//!
//! Both are read through [`Clock`], so that tests and the demo can move time instead of waiting for it.

use std::cell::Cell;
use std::io::Write as _;
#[cfg(any(test, feature = "simulators"))]
use std::sync::Arc;
#[cfg(any(test, feature = "simulators"))]
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point of wall time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This long after; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This long before; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// The time from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) in UTC with milliseconds: `2026-01-01T00:00:00.000Z`. A time that RFC 3339 can't write (a year above 9999) is written as the last it can.
    pub fn rfc3339(self) -> String {
        let stamp = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        format!("{stamp:.3}")
    }

    /// The time as RFC 3339 writes it, fast enough for each request: without a calendar of all times, from the epoch to the last time that [`Self::rfc3339`] knows.
    pub(crate) fn write_rfc3339(self, out: &mut Vec<u8>) {
        /// 9999-12-30T22:00:00.999Z: that of jiff.
        const LAST: i64 = 253_402_207_200_999;
        if !(0..=LAST).contains(&self.0) {
            return out.extend_from_slice(self.rfc3339().as_bytes());
        }
        thread_local! {
            /// The last second that this thread wrote: most lines are of the same one as the line before.
            static WRITTEN: Cell<(i64, [u8; 24])> = const { Cell::new((i64::MIN, *b"0000-00-00T00:00:00.000Z")) };
        }
        let (second, mut text) = WRITTEN.get();
        if second != self.as_secs() {
            write_second(self.as_secs(), &mut text);
            WRITTEN.set((self.as_secs(), text));
        }
        put(&mut text[20..23], self.0 % 1000);
        out.extend_from_slice(&text);
    }
}

/// A second since the epoch as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(second: i64) -> [u8; 29] {
    /// The last second of the year 9999, behind which a year has too many digits.
    const LAST: u64 = 253_402_300_799;
    let since = Duration::from_secs(u64::try_from(second).unwrap_or(0).min(LAST));
    let mut text = [b' '; 29];
    let _ = write!(&mut text[..], "{}", httpdate::HttpDate::from(UNIX_EPOCH + since));
    text
}

/// Date and time of a second since the epoch, over those in `text`.
fn write_second(second: i64, text: &mut [u8; 24]) {
    let (days, second) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    put(&mut text[..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], second / 3600);
    put(&mut text[14..16], second / 60 % 60);
    put(&mut text[17..19], second % 60);
}

/// Year, month and day of a day since the epoch, by the proleptic Gregorian calendar: Hinnant's `civil_from_days`, for days from the epoch on.
fn civil(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years, years that begin in March: the day that leap years add is their last.
    let since_era = days + 719_468;
    let (era, of_era) = (since_era / 146_097, since_era % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (400 * era + year_of_era + i64::from(month <= 2), month, day)
}

/// Writes a number's last digits over `text`.
fn put(text: &mut [u8], mut number: i64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[allow(clippy::disallowed_methods, reason = "the door: every other time comes from here")]
fn system_now() -> Timestamp {
    Timestamp(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// A point of monotonic time: milliseconds since some start. Never goes back, but stands still while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(i64);

impl Tick {
    /// From milliseconds since the clock's start.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// This long after; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This long before; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// The time from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The wall clock and the monotonic clock at one moment. An NTP step moves `wall` and not `tick`; a suspended machine moves `wall` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the wall clock says.
    pub wall: Timestamp,
    /// What the monotonic clock says.
    pub tick: Tick,
}

/// Where time comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System {
        start: Instant,
    },
    #[cfg(any(test, feature = "simulators"))]
    Manual(Arc<ClockControl>),
    #[cfg(any(test, feature = "simulators"))]
    Shifted(Instant, Arc<ClockControl>),
}

#[cfg(any(test, feature = "simulators"))]
/// Moves a manual or shifted [`Clock`].
#[derive(Debug)]
pub struct ClockControl {
    wall: AtomicI64,
    tick: AtomicI64,
}

#[cfg(any(test, feature = "simulators"))]
impl ClockControl {
    /// Time goes on: both readings move.
    pub fn advance(&self, span: Duration) {
        self.wall.fetch_add(millis(span), Ordering::SeqCst);
        self.tick.fetch_add(millis(span), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock, forward or (negative) back.
    pub fn step_wall(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
    }
}

/// How long something takes, by the machine's monotonic clock: for metrics, and for what nobody moves in a test.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's monotonic clock is read")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was started.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The `Date` of an answer ([RFC 9110, section 6.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1)), by the machine's wall clock when this was
    /// started, or a little later. The wall clock is read once a second; when it is set, answers say so within a second.
    pub(crate) fn http_date(self) -> [u8; 29] {
        thread_local! {
            /// The last date that this thread wrote, and until when it is true.
            static WRITTEN: Cell<Option<(Instant, [u8; 29])>> = const { Cell::new(None) };
        }
        if let Some((until, text)) = WRITTEN.get()
            && self.0 < until
        {
            return text;
        }
        let now = system_now().0;
        let text = http_date(Timestamp(now).as_secs());
        // Rather a thousandth too short than a date that is over.
        let left = u64::try_from(999 - now.rem_euclid(1000)).unwrap_or(0);
        WRITTEN.set(Some((self.0 + Duration::from_millis(left), text)));
        text
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Source::System { start: Stopwatch::start().0 })
    }

    #[cfg(any(test, feature = "simulators"))]
    /// A clock that stands still until its hands are moved.
    pub fn manual(start: Timestamp) -> (Self, Arc<ClockControl>) {
        let clock_control = Arc::new(ClockControl { wall: AtomicI64::new(start.0), tick: AtomicI64::new(0) });
        (Self(Source::Manual(clock_control.clone())), clock_control)
    }

    #[cfg(any(test, feature = "simulators"))]
    /// The machine's clocks, on which the hands are added: time goes by itself, and can be made to go faster.
    pub fn shifted() -> (Self, Arc<ClockControl>) {
        let clock_control = Arc::new(ClockControl { wall: AtomicI64::new(0), tick: AtomicI64::new(0) });
        (Self(Source::Shifted(Stopwatch::start().0, clock_control.clone())), clock_control)
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => system_now(),
            #[cfg(any(test, feature = "simulators"))]
            Source::Manual(clock_control) => Timestamp(clock_control.wall.load(Ordering::SeqCst)),
            #[cfg(any(test, feature = "simulators"))]
            Source::Shifted(_, clock_control) => {
                Timestamp(system_now().0.saturating_add(clock_control.wall.load(Ordering::SeqCst)))
            }
        }
    }

    /// The monotonic clock.
    pub fn tick(&self) -> Tick {
        self.tick_at(Stopwatch::start().0)
    }

    fn tick_at(&self, now: Instant) -> Tick {
        match &self.0 {
            Source::System { start } => Tick(millis(now.duration_since(*start))),
            #[cfg(any(test, feature = "simulators"))]
            Source::Manual(clock_control) => Tick(clock_control.tick.load(Ordering::SeqCst)),
            #[cfg(any(test, feature = "simulators"))]
            Source::Shifted(start, clock_control) => {
                let shift = clock_control.tick.load(Ordering::SeqCst);
                Tick(millis(now.duration_since(*start)).saturating_add(shift))
            }
        }
    }

    /// Reads the wall clock and the monotonic clock.
    pub fn moment(&self) -> Moment {
        self.moment_at(Stopwatch::start())
    }

    /// Reads both clocks, where a stop-watch was started just now.
    pub fn moment_at(&self, started: Stopwatch) -> Moment {
        Moment { wall: self.now(), tick: self.tick_at(started.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_leaves_the_tick_alone() {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(1_000));
        clock_control.step_wall(-5_000);
        assert_eq!(clock.now(), Timestamp::from_secs(995));
        assert_eq!(clock.tick(), Tick::from_millis(0));
        clock_control.advance(Duration::from_secs(2));
        assert_eq!(clock.moment(), Moment { wall: Timestamp::from_secs(997), tick: Tick::from_millis(2_000) });
    }

    #[test]
    fn a_shifted_clock_goes_by_itself_and_can_be_moved() {
        let (clock, clock_control) = Clock::shifted();
        let before = clock.moment();
        clock_control.advance(Duration::from_secs(6 * 3600));
        let after = clock.moment();
        assert!(after.wall.since(before.wall) >= Duration::from_secs(6 * 3600));
        assert!(after.tick.since(before.tick) >= Duration::from_secs(6 * 3600));
    }

    #[test]
    fn the_date_of_an_answer_is_that_of_the_second_in_which_it_is_written() {
        let read = |text: [u8; 29]| httpdate::parse_http_date(std::str::from_utf8(&text).unwrap()).unwrap();
        for second in [0, 784_111_777, 951_782_400, 253_402_300_799] {
            assert_eq!(read(http_date(second)), UNIX_EPOCH + Duration::from_secs(second.try_into().unwrap()));
        }
        assert_eq!(http_date(784_111_777), *b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!((http_date(-1), http_date(i64::MAX)), (http_date(0), http_date(253_402_300_799)));
        // One that is kept is not told behind the end of its second, and what is told is never older than the stop-watch.
        let second = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (mut first, mut last) = (None, 0);
        while first.is_none_or(|first| first == last) {
            let before = second(SystemTime::now());
            last = second(read(Stopwatch::start().http_date()));
            assert!((before..=second(SystemTime::now())).contains(&last), "{last} after {before}");
            first.get_or_insert(last);
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        assert_eq!(Timestamp::from_millis(1_767_225_600_250).rfc3339(), "2026-01-01T00:00:00.250Z");
        assert!(Timestamp::from_millis(i64::MAX).rfc3339().starts_with("9999-"));
    }

    #[test]
    fn both_ways_to_write_a_time_agree_through_the_years_and_at_the_edges() {
        const LAST: i64 = 253_402_207_200_999;
        let times = (0..=LAST).step_by(86_400_000 + 12_345_678);
        for millis in times.chain([0, 999, 951_782_399_999, 951_782_400_000, LAST, LAST + 1, -1, i64::MIN, i64::MAX]) {
            let (time, mut out) = (Timestamp::from_millis(millis), Vec::new());
            time.write_rfc3339(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), time.rfc3339());
        }
    }
}
