//! `[limits]`.

use super::*;

#[test]
fn limits_are_whole_numbers_from_one_and_windows_have_bounds() {
    let number = "expected a whole number from 1 to 1000000";
    for (lines, expected) in [
        ("", None),
        ("per_subject = { rate = 1, burst = 1 }\nper_address = { rate = 1000000, burst = 1000000 }", None),
        ("per_subject = { rate = 0, burst = 1 }", Some(format!("limits.per_subject.rate: {number}"))),
        ("per_address = { rate = 1, burst = 1000001 }", Some(format!("limits.per_address.burst: {number}"))),
        ("per_address = { rate = 1 }", Some("limits.per_address.burst: is required".into())),
        (
            "per_address = { rate = 1.5, burst = 1 }",
            Some("limits.per_address.rate: expected an integer, found a float".into()),
        ),
        (
            "invalid_per_address = { count = 0, within = \"1m\" }",
            Some("limits.invalid_per_address.count: at least 1".into()),
        ),
        (
            "invalid_per_address = { count = 1, within = \"25h\" }",
            Some("limits.invalid_per_address.within: expected \"1s\" to \"24h\"".into()),
        ),
        ("mints_per = { claim = \"/org/id\", count = 1, within = \"744h\" }", None),
        (
            "mints_per = { claim = \"\", count = 1, within = \"24h\" }",
            Some("limits.mints_per.claim: must not be empty".into()),
        ),
        (
            "mints_per = { claim = \"a\", count = 1, within = \"745h\" }",
            Some("limits.mints_per.within: expected \"1s\" to \"744h\"".into()),
        ),
    ] {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_faults(&format!("{GOOD}[limits]\n{lines}\n"), &expected);
    }
}
