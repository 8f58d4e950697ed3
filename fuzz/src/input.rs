//! What an input says. Inputs are text where they can be, so that a finding can be read and a seed be written by hand. The first line is
//! `MODE WHO OFFSET` without spaces between the first two, as in `s0 -30000`; the offset of the time is in milliseconds.
//!
//! | mode | the lines after it | `WHO` |
//! |---|---|---|
//! | `r`, raw | header fields, `name: value`; `$0` in a value is the good token of that signer | – |
//! | `s`, signed | a token's header, then its payload | the signer |
//! | `m`, mutated | edits of a good token, four bytes each: what, where (two), which byte | its signer |
//! | `f`, forged | a token's header, then its payload | how it is forged |

use super::issuers::NOW;

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Raw,
    Signed,
    Mutated,
    Forged,
}

#[derive(Debug)]
pub struct Input<'a> {
    pub mode: Mode,
    pub who: u8,
    /// Milliseconds since the epoch.
    pub now: i64,
    pub rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (line, rest) = split(bytes, b'\n');
        let (&mode, line) = line.split_first()?;
        let mode = match mode {
            b'r' => Mode::Raw,
            b's' => Mode::Signed,
            b'm' => Mode::Mutated,
            b'f' => Mode::Forged,
            _ => return None,
        };
        let (&who, offset) = line.split_first()?;
        let offset: i64 = std::str::from_utf8(offset).ok()?.trim().parse().ok()?;
        Some(Self { mode, who, now: NOW.saturating_add(offset), rest })
    }

    /// Of modes `s` and `f`.
    pub fn header_and_payload(&self) -> (&'a [u8], &'a [u8]) {
        split(self.rest, b'\n')
    }

    /// Of mode `r`.
    pub fn fields<'t>(&self, good: impl Fn(u8) -> &'t Vec<u8>) -> Vec<(&'a [u8], Vec<u8>)> {
        let lines = self.rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let fields = lines.map(|line| split(line, b':'));
        fields.map(|(name, value)| (name, with_tokens(value, &good))).collect()
    }
}

/// What stands before and after the first of these bytes.
fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == at).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

fn with_tokens<'t>(value: &[u8], good: &impl Fn(u8) -> &'t Vec<u8>) -> Vec<u8> {
    let mut parts = value.split(|byte| *byte == b'$');
    let mut out = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        match part.split_first() {
            Some((digit, rest)) if digit.is_ascii_digit() => out.extend([good(*digit), rest].concat()),
            _ => out.extend([b"$", part].concat()),
        }
    }
    out
}

/// The token after these edits.
pub fn edited<'t>(token: &[u8], edits: &[u8], good: impl Fn(u8) -> &'t Vec<u8>) -> Vec<u8> {
    let mut token = token.to_vec();
    for edit in edits.chunks_exact(4) {
        let byte = edit[3];
        let place = usize::from(u16::from_be_bytes([edit[1], edit[2]]));
        let at = place % (token.len() + 1);
        match edit[0] {
            b'i' => token.insert(at, byte),
            b't' => token.truncate(at),
            b'd' => drop(token.drain(at..token.len().min(at + 1 + usize::from(byte % 8)))),
            // The last character of a part: some of its bits are of no byte of the decoded text.
            b'b' => change_last(&mut token, place % 3, byte),
            // A part of another good token in the place of this one's.
            b'p' => token = with_part_of(&token, good(byte), place % 3),
            // Repeats what follows.
            b'c' => token.extend_from_within(at..token.len().min(at + usize::from(byte))),
            _ => {
                if let Some(held) = token.get_mut(at) {
                    *held = byte;
                }
            }
        }
    }
    token
}

fn change_last(token: &mut [u8], part: usize, bits: u8) {
    let part = token.split_mut(|byte| *byte == b'.').nth(part);
    if let Some(last) = part.and_then(|part| part.last_mut())
        && let Some(value) = BASE64URL.iter().position(|character| character == last)
    {
        *last = BASE64URL[value ^ usize::from(bits % 64)];
    }
}

fn with_part_of(token: &[u8], other: &[u8], part: usize) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    if let (Some(here), Some(there)) = (parts.get_mut(part), other.split(|byte| *byte == b'.').nth(part)) {
        *here = there;
    }
    parts.join(&b'.')
}
