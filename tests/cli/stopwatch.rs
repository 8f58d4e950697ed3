//! Time in which this machine ran. What a program does in a second it can't do in one for which all stood still, because others had the cores:
//! a bound is on the program, and not on the machine.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(5);

/// Microseconds since the first use. A step that took longer counts as two: somebody else ran.
static RUN: AtomicU64 = AtomicU64::new(0);
static BEGUN: Once = Once::new();

fn run() -> u64 {
    BEGUN.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let began = Instant::now();
                // Pause: a step.
                std::thread::sleep(STEP);
                let step = began.elapsed().min(2 * STEP);
                RUN.fetch_add(step.as_micros().try_into().expect("short"), Ordering::Relaxed);
            }
        });
    });
    RUN.load(Ordering::Relaxed)
}

/// For upper bounds: on a machine that runs it tells what a clock tells, on one that stands still now and then less. To a step.
#[derive(Clone, Copy)]
pub struct Stopwatch(u64);

impl Stopwatch {
    pub fn start() -> Self {
        Self(run())
    }

    pub fn elapsed(self) -> Duration {
        Duration::from_micros(run() - self.0)
    }
}

/// Returns once the machine has run for so long.
pub fn pass(span: Duration) {
    let began = Stopwatch::start();
    while began.elapsed() < span {
        // Pause: until it has.
        std::thread::sleep(STEP);
    }
}

#[test]
fn a_stopwatch_tells_what_a_clock_tells_and_never_more() {
    let (began, clock) = (Stopwatch::start(), Instant::now());
    pass(Duration::from_millis(50));
    let (told, real) = (began.elapsed(), clock.elapsed());
    assert!(told >= Duration::from_millis(50));
    assert!(told <= real + 2 * STEP, "{told:?} of {real:?}");
}
