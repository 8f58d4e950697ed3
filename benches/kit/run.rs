//! The size of a run from the environment, the cores, and medians.

use std::process::{Command, Stdio};
use std::time::Duration;

/// The environment variable that makes a bench's own program one of its servers.
pub const ROLE: &str = "VALET_BENCH_ROLE";

/// A size of the run, from the environment.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A length of time in seconds, from the environment.
pub fn seconds(name: &str, default: f64) -> Duration {
    Duration::from_secs_f64(std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default))
}

/// The load stays off the servers' core.
pub fn move_to_core_1() {
    let _ = Command::new("taskset")
        .args(["-a", "-p", "-c", "1", &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status();
}

/// Median, lowest, highest.
pub fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}
