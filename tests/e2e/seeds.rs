//! The fuzzer's seeds, judged as it judges them; and that what it judges by still compiles.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

#[test]
fn the_gateway_and_the_fuzzers_model_agree_on_each_seed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/session");
    let mut judged = 0;
    for seed in std::fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // Where they don't agree it panics, and says the input.
        let judges = std::panic::catch_unwind(|| fuzz::run(&bytes));
        assert!(judges.is_ok_and(|says_something| says_something), "{}", path.display());
        judged += 1;
    }
    assert!(judged > 40, "{judged} seeds");
}
