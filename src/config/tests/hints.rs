//! What a broken file says leads to the mend: the other place, the brackets, the word that was meant.

use super::*;

/// The first fault as `LINE:COLUMN KEY: MESSAGE`.
fn first(text: &str) -> String {
    let faults = parse(text).unwrap_err();
    let line = faults[0].to_string();
    line.strip_prefix("valet.toml:").unwrap_or(&line).to_owned()
}

#[test]
fn a_broken_file_names_the_other_place_the_brackets_or_the_word_that_was_meant() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:8080\"";
    for (text, expected) in [
        (edited("[[listener]]", "[listener]"), "[[listener]]"),
        (edited("[[provider]]", "[provider]"), "[[provider]]"),
        (
            edited(listener, &format!("{listener}\n{listener}")),
            "this address is taken by listener.address already (line 4)",
        ),
        (with("[session]", "source = [\"header:authorization\"]"), "sources"),
        (with("[session]", "sources = \"header:authorization\""), "put it in brackets"),
        (edited("reuse = \"user\"", "reuse = \"User\""), "did you mean \"user\"?"),
        (edited("preset = \"intelliprove-v2\"", "preset = \"intelliprove_v2\""), "did you mean \"intelliprove-v2\"?"),
        (edited("provider = \"intelliprove\"", "provider = \"inteliprove\""), "did you mean \"intelliprove\"?"),
        (edited("mint = \"face-scan\"", "mint = \"face-scna\""), "did you mean \"face-scan\"?"),
        ("{\"server\": {}}".to_owned(), "looks like JSON"),
        (edited("[server]", "[server]\npublic_url: \"x\""), "goes `=`, not `:`"),
        (edited("[server]", "[server]\nthreads = \u{201c}1\u{201d}"), "the quotes are typographic"),
    ] {
        let fault = first(&text);
        assert!(fault.contains(expected), "{expected:?} is not in {fault:?} of:\n{text}");
        let place = fault.split_once(':').and_then(|(line, _)| line.parse::<usize>().ok());
        assert!(place.is_some(), "{fault:?} begins with no line");
    }
}

#[test]
fn a_byte_order_mark_before_a_configuration_is_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("valet.toml");
    std::fs::write(&path, format!("\u{feff}{GOOD}")).unwrap();
    let faults = load(&path).err().unwrap_or_default();
    assert!(!faults.iter().any(|fault| fault.to_string().contains("TOML")), "{faults:?}");
}
