//! What the store must not know: looked for in every byte of it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How often these bytes stand there: as they are, in hex, or in base64 at any place in it.
pub fn places(all: &[u8], wanted: &[u8]) -> usize {
    let mut forms = vec![wanted.to_vec(), hex(wanted).into_bytes(), hex(wanted).to_uppercase().into_bytes()];
    for shift in 0..3 {
        // Only whole groups of three bytes look the same wherever they stand.
        let inner = &wanted[shift.min(wanted.len())..];
        let inner = &inner[..inner.len() / 3 * 3];
        if inner.len() >= 6 {
            forms.push(STANDARD_NO_PAD.encode(inner).into_bytes());
            forms.push(URL_SAFE_NO_PAD.encode(inner).into_bytes());
        }
    }
    forms.sort();
    forms.dedup();
    forms.iter().map(|form| memchr::memmem::find_iter(all, form).count()).sum()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_search_finds_what_is_there_in_any_form() {
    let canary = b"canary@example.com";
    for shift in 0..3 {
        let text = [&b"xyz"[..shift], canary, b" and more"].concat();
        let encoded = STANDARD_NO_PAD.encode(&text);
        assert!(places(&text, canary) == 1 && places(encoded.as_bytes(), canary) == 1, "{shift}");
        assert_eq!(places(hex(&text).as_bytes(), canary), 1);
    }
    assert_eq!(places(b"nothing of it", canary), 0);
}
