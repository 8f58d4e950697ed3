//! Changes that mean something: a byte changed at random mostly leaves no JSON. One time in four bytes are changed all the same.

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value, json};
use valet_fuzz::issuers::{ISSUERS, NOW, SKEW, Signer};

/// Signers, and ways to forge.
const WHO: [u8; 16] = *b"0123456789ahijkl";
/// What headers and payloads are made of.
const FIELDS: [&str; 15] = [
    "authorization: Bearer $0",
    "Authorization: bearer  $2",
    "authorization: Basic $2",
    "authorization: Bearer",
    "authorization:",
    "cookie: session=$2",
    "cookie: a=b; session=$1; session=$1",
    "cookie: session=\"$2\"",
    "cookie: session=$2;session=$3",
    "cookie: session.1=$2; session.0=$1",
    "cookie: session_0=$1",
    "cookie: session.0=$1; session.2=$2; session_0=$1",
    "cookie: Session=$2; session2=$2; session =$2",
    "X-Token:\t$3 ",
    "x-token: Bearer $3",
];
/// What edits of a token do (`input`), and bytes that mean something in one.
const EDITS: [u8; 7] = *b"itdbpcx";
const BYTES: [u8; 12] = *b"01234.=-_A\n\xff";
const HEADER_NAMES: [&str; 8] = ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c"];
const CLAIMS: [&str; 18] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "cnf",
    "events",
    "client_id",
    "realm",
    "org",
    "tid",
    "email",
    "exp",
    "nbf",
    "iat",
];
const TEXTS: [&str; 32] = [
    "ES256",
    "EdDSA",
    "Ed25519",
    "HS256",
    "HS512",
    "RS256",
    "none",
    "es256",
    "k1",
    "k2",
    "k3",
    "",
    "JWT",
    "at+jwt",
    "application/at+jwt",
    "APPLICATION/JWT",
    "logout+jwt",
    "application/",
    "my-app",
    "other",
    "My-App",
    "my-app ",
    "x",
    "ada",
    "a\n",
    "a\u{85}",
    "é",
    "acme",
    "{sub}",
    "https://keys.example",
    "https://secret.example",
    "https://access.example/",
];
/// Numbers and structures at the edges of what is allowed.
const LITERALS: [&str; 31] = [
    "null",
    "true",
    "0",
    "-0",
    "-0.0",
    "-1",
    "-1e-9",
    "0.5",
    "9007199254740992",
    "9007199254740993",
    "9007199254740992.0",
    "1e16",
    "1e300",
    "1e400",
    "18446744073709551616",
    "1800000000.999",
    "[]",
    "{}",
    "[\"my-app\"]",
    "[\"x\",1]",
    "[\"my-app\",null]",
    "[[\"my-app\"]]",
    "{\"my-app\":1}",
    "{\"jkt\":\"x\"}",
    "{\"http://schemas.openid.net/event/backchannel-logout\":{}}",
    "{\"user\":{\"id\":\"u\"}}",
    "{\"user\":{\"id\":\"\"},\"session\":\"\"}",
    "{\"user\":[{\"id\":\"u\"}]}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "\"\\ud800\"",
];

pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut dice = Dice(seed);
    if dice.below(4) > 0
        && let Some(bytes) = edited(&data[..size], &mut dice)
        && bytes.len() <= max_size.min(data.len())
    {
        data[..bytes.len()].copy_from_slice(&bytes);
        return bytes.len();
    }
    fuzzer_mutate(data, size, max_size)
}

/// Numbers that follow from the seed (splitmix32).
struct Dice(u32);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9);
        let mut mixed = (self.0 ^ (self.0 >> 16)).wrapping_mul(0x21f0_aaad);
        mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x735a_2d97);
        (mixed ^ (mixed >> 15)) as usize % sides
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// The input with a few meaningful changes. `None` where it makes no sense.
fn edited(bytes: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    let signer = Signer::of(*line.as_bytes().get(1)?);
    if line.starts_with(['r', 'm']) && dice.below(8) == 0 {
        let line = format!("{}{}\n", line.get(..2)?, offset(&signer.payload(), dice));
        return Some([line.as_bytes(), rest].concat());
    }
    match line.as_bytes()[0] {
        b'r' => Some([line, "\n", &fields(&String::from_utf8_lossy(rest), dice)].concat().into_bytes()),
        b'm' => Some([line.as_bytes(), b"\n", &token_edits(rest, dice)].concat()),
        b's' | b'f' => {
            let rest = String::from_utf8_lossy(rest);
            let (header, payload) = rest.split_once('\n').unwrap_or((&rest, ""));
            let mut parts = [line.to_owned(), header.to_owned(), payload.to_owned()];
            for _ in 0..=dice.below(3) {
                edit(&mut parts, dice)?;
            }
            Some(parts.join("\n").into_bytes())
        }
        _ => None,
    }
}

/// The fields without one of them, or with one more.
fn fields(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = dice.below(lines.len() + 1);
    match (dice.below(3), lines.get(at).copied()) {
        (0, Some(_)) => drop(lines.remove(at)),
        (1, Some(line)) => lines.push(line),
        _ => lines.insert(at, dice.one_of(&FIELDS)),
    }
    lines.join("\n")
}

/// One edit more, or only one.
fn token_edits(held: &[u8], dice: &mut Dice) -> Vec<u8> {
    let place = [0, 1, 2, dice.below(600), dice.below(1 << 16)];
    let [high, low] = u16::try_from(dice.one_of(&place)).unwrap_or_default().to_be_bytes();
    let any = dice.below(256) as u8;
    let byte = if dice.below(2) == 0 { dice.one_of(&BYTES) } else { any };
    let edit = [dice.one_of(&EDITS), high, low, byte];
    if dice.below(2) == 0 { edit.to_vec() } else { [held, &edit].concat() }
}

/// One change of the first line, the header or the payload.
fn edit(parts: &mut [String; 3], dice: &mut Dice) -> Option<()> {
    let signer = |line: &str| line.as_bytes().get(1).map(|digit| Signer::of(*digit));
    match dice.below(10) {
        0 => {
            let (mode, who) = (dice.one_of(&['s', 's', 'f']), dice.one_of(&WHO));
            parts[0] = format!("{mode}{}{}", char::from(who), parts[0].get(2..)?);
        }
        // Good again, so that a later change is the only one.
        1 => {
            parts[1] = signer(&parts[0])?.header();
            parts[2] = signer(&parts[0])?.payload();
        }
        2 | 3 => parts[0] = format!("{}{}", parts[0].get(..2)?, offset(&parts[2], dice)),
        4 => {
            let good = signer(&parts[0])?.header();
            parts[1] = with_member(&parts[1], &good, dice.one_of(&HEADER_NAMES), dice);
        }
        5..=7 => {
            let good = signer(&parts[0])?.payload();
            parts[2] = with_member(&parts[2], &good, dice.one_of(&CLAIMS), dice);
        }
        _ => {
            let part = 1 + dice.below(2);
            parts[part] = inserted(&parts[part], dice)?;
        }
    }
    Some(())
}

/// The time at which a claim of the payload begins or ceases to hold, or close to it.
fn offset(payload: &str, dice: &mut Dice) -> i64 {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let seconds = payload.get(dice.one_of(&["exp", "nbf", "iat"])).and_then(Value::as_f64);
    let claim = seconds.map_or(NOW, |seconds| (seconds.floor() as i64).saturating_mul(1000));
    let more = dice.one_of(&[0, SKEW, -SKEW, SKEW + 12 * 3_600_000]) + dice.one_of(&[-1, 0, 1, 999, 1000]);
    claim.saturating_sub(NOW).saturating_add(more)
}

/// The object, or the good one in the place of what is none, with this member set to something, or without it.
fn with_member(text: &str, good: &str, name: &str, dice: &mut Dice) -> String {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let Some(mut object) = read(text).or_else(|| read(good)) else { return good.to_owned() };
    let held = object.remove(name);
    match (dice.below(8), held) {
        (0, _) => {}
        (1, Some(held)) => drop(object.insert(name.to_owned(), json!([held]))),
        _ => {
            let value = serde_json::from_str(&value(dice)).unwrap_or_default();
            object.insert(name.to_owned(), value);
        }
    }
    Value::Object(object).to_string()
}

/// The text with a member more after one of its `{`: perhaps one that is there already, perhaps spelled otherwise.
fn inserted(object: &str, dice: &mut Dice) -> Option<String> {
    let opening: Vec<usize> = object.match_indices('{').map(|(at, _)| at + 1).collect();
    let at = *opening.get(dice.below(opening.len().max(1)))?;
    let names = if dice.below(4) == 0 { &HEADER_NAMES[..] } else { &CLAIMS };
    let mut name = dice.one_of(names).to_owned();
    if dice.below(3) == 0 {
        name = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
    }
    Some(format!("{}\"{name}\":{},{}", &object[..at], value(dice), &object[at..]))
}

/// A JSON text.
fn value(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 | 1 => json!(dice.one_of(&TEXTS)).to_string(),
        2 => dice.one_of(&LITERALS).to_owned(),
        3 => {
            let seconds = NOW / 1000 + dice.one_of(&[0, 3600, -3600, 43_200, -43_200]);
            (seconds + dice.one_of(&[0, 30, -30]) + dice.one_of(&[-1, 0, 1])).to_string()
        }
        4 => json!(dice.one_of(&["a", "é", "\u{1F600}"]).repeat(dice.one_of(&[1, 63, 64, 127, 128, 255, 256])))
            .to_string(),
        _ => {
            let depth = dice.one_of(&[1, 30, 31, 32, 127, 128]);
            let inner = json!(dice.one_of(&ISSUERS.map(|issuer| issuer.name))).to_string();
            format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth))
        }
    }
}
