//! What is in the memory of a process, as root reads it.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Mappings are read in pieces of this size.
const PIECE: usize = 1 << 20;

/// How often these bytes stand in the process's memory, in every mapping that can be read; and how many bytes were read. `None` where this
/// user may not look.
pub fn occurrences(pid: u32, wanted: &[u8]) -> Option<(usize, usize)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let (mut found, mut read) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)) else { continue };
        if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let (some, bytes) = within(&memory, from, to, wanted);
        found += some;
        read += bytes;
    }
    Some((found, read))
}

fn within(memory: &File, from: u64, to: u64, wanted: &[u8]) -> (usize, usize) {
    let (mut found, mut read, mut at) = (0, 0, from);
    let mut piece = vec![0; PIECE + wanted.len() - 1];
    while at < to {
        let length = usize::try_from(to - at).map_or(piece.len(), |left| left.min(piece.len()));
        // A page that was never touched, or that a device owns, can't be read.
        let got = memory.read_at(&mut piece[..length], at).unwrap_or(0);
        found += memchr::memmem::find_iter(&piece[..got], wanted).filter(|place| *place < PIECE).count();
        read += got.min(PIECE);
        at += PIECE as u64;
    }
    (found, read)
}
