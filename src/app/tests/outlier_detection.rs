//! The trial, where several requests want it at once.

use super::super::outlier_detection::{Admission, Availability, OutlierDetection};
use super::*;
use crate::clock::Tick;

fn at(millis: i64) -> Tick {
    Tick::from_millis(millis)
}

#[test]
fn of_those_that_chose_it_at_once_one_gets_the_trial_and_the_others_choose_again() {
    let outlier_detection = OutlierDetection::new();
    outlier_detection.shut(at(10));
    let seen = [at(10); 3].map(|now| outlier_detection.availability(now));
    assert_eq!(seen, [Availability::Fit; 3]);
    assert_eq!(
        seen.map(|availability| outlier_detection.pass(availability, at(10))),
        [Some(Admission::HalfOpenProbe), None, None]
    );
    assert_eq!(outlier_detection.availability(at(10)), Availability::Ejected);
    outlier_detection.give_probe_back();
    assert_eq!(outlier_detection.pass(outlier_detection.availability(at(10)), at(10)), Some(Admission::HalfOpenProbe));
}

#[test]
fn a_pass_for_an_upstream_that_was_shut_meanwhile_is_none() {
    let outlier_detection = OutlierDetection::new();
    let availability = outlier_detection.availability(at(0));
    outlier_detection.shut(at(10));
    assert_eq!(outlier_detection.pass(availability, at(0)), None);
    assert_eq!(outlier_detection.pass(outlier_detection.availability(at(0)), at(0)), Some(Admission::LastResort));
}

#[test]
fn it_is_shut_up_to_its_tick_and_not_on_it() {
    let outlier_detection = OutlierDetection::new();
    outlier_detection.shut(at(10));
    assert_eq!(outlier_detection.availability(at(9)), Availability::Ejected);
    assert_eq!(outlier_detection.availability(at(10)), Availability::Fit);
}

#[test]
fn threads_that_come_after_a_pause_get_one_trial_between_them() {
    let bench = TestBench::at([1, 2], json!({}));
    bench.fails(1, 5);
    bench.pass(Duration::from_secs(10));
    let picked: Vec<Picked> = std::thread::scope(|scope| {
        let picks: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..50).map(|_| bench.pick()).collect::<Vec<_>>())).collect();
        picks.into_iter().flat_map(|pick| pick.join().unwrap()).collect()
    });
    assert_eq!(picked.iter().filter(|picked| picked.address().port() == 1).count(), 1);
}
