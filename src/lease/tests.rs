//! The lease book as its callers see it. Time is moved, vendors answer when the test says so, nothing waits for a clock.

mod ahead;
mod bounds;
mod counted;
mod ends;
mod leaving;
mod model;
mod renewal;
mod schedules;
mod sharing;
mod stores;
mod test_bench;
