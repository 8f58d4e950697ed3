//! The trial, where several requests want it at once.

use super::super::condition::{Condition, Pass, Standing};
use super::*;
use crate::clock::Tick;

fn at(millis: i64) -> Tick {
    Tick::from_millis(millis)
}

#[test]
fn of_those_that_chose_it_at_once_one_gets_the_trial_and_the_others_choose_again() {
    let condition = Condition::new();
    condition.shut(at(10));
    let seen = [at(10); 3].map(|now| condition.standing(now));
    assert_eq!(seen, [Standing::Fit; 3]);
    assert_eq!(seen.map(|standing| condition.pass(standing, at(10))), [Some(Pass::Trial), None, None]);
    assert_eq!(condition.standing(at(10)), Standing::Ejected);
    condition.give_trial_back();
    assert_eq!(condition.pass(condition.standing(at(10)), at(10)), Some(Pass::Trial));
}

#[test]
fn a_pass_for_an_upstream_that_was_shut_meanwhile_is_none() {
    let condition = Condition::new();
    let standing = condition.standing(at(0));
    condition.shut(at(10));
    assert_eq!(condition.pass(standing, at(0)), None);
    assert_eq!(condition.pass(condition.standing(at(0)), at(0)), Some(Pass::Anyway));
}

#[test]
fn it_is_shut_up_to_its_tick_and_not_on_it() {
    let condition = Condition::new();
    condition.shut(at(10));
    assert_eq!(condition.standing(at(9)), Standing::Ejected);
    assert_eq!(condition.standing(at(10)), Standing::Fit);
}

#[test]
fn threads_that_come_after_a_pause_get_one_trial_between_them() {
    let bed = Bed::at([1, 2], json!({}));
    bed.fails(1, 5);
    bed.pass(Duration::from_secs(10));
    let picked: Vec<Picked> = std::thread::scope(|scope| {
        let picks: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..50).map(|_| bed.pick()).collect::<Vec<_>>())).collect();
        picks.into_iter().flat_map(|pick| pick.join().unwrap()).collect()
    });
    assert_eq!(picked.iter().filter(|picked| picked.address().port() == 1).count(), 1);
}
