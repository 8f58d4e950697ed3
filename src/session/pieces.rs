//! Cookies in pieces: a value that is too long for one cookie (4 KiB in browsers) stands in `NAME.0`, `NAME.1`, … or in `NAME_0`, `NAME_1`, …

/// More pieces than this are no token: two to five are what libraries make of one.
const MAX_PIECES: usize = 16;

/// One source holds two things: two `Authorization` fields, two different values of a header, a cookie or a piece of one, or a cookie in two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The pieces that one request brings, of all sources.
#[derive(Default)]
pub(super) struct Pieces<'a>(Vec<Piece<'a>>);

/// One of them.
struct Piece<'a> {
    /// The position of its source.
    source: usize,
    number: Number,
    value: &'a [u8],
}

/// What stands behind the cookie's own name in the name of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    /// `.` or `_`.
    sign: u8,
    index: usize,
}

/// What the pieces of one cookie come to.
pub(super) enum Joined {
    /// There are none, or none that begins.
    Absent,
    /// One is missing, or there are too many.
    Broken,
    /// The whole value.
    Whole(Vec<u8>),
}

impl Number {
    /// Reads `.0` to `.99` and `_0` to `_99`, without a zero in front.
    pub(super) fn read(tail: &[u8]) -> Option<Self> {
        let (sign, digits) = parts(tail)?;
        let index = digits.iter().fold(0, |index, digit| index * 10 + usize::from(digit - b'0'));
        (digits.len() == 1 || digits.first() != Some(&b'0')).then_some(Self { sign, index })
    }

    /// Whether somebody may read a number of a piece here.
    pub(super) fn is_one(tail: &[u8]) -> bool {
        parts(tail).is_some()
    }
}

/// A sign, and one or two digits.
fn parts(tail: &[u8]) -> Option<(u8, &[u8])> {
    match tail {
        [sign @ (b'.' | b'_'), digits @ ..]
            if matches!(digits.len(), 1 | 2) && digits.iter().all(u8::is_ascii_digit) =>
        {
            Some((*sign, digits))
        }
        _ => None,
    }
}

impl<'a> Pieces<'a> {
    /// Notes a piece. An empty one is none; two of one name with different values are ambiguous.
    pub(super) fn add(&mut self, source: usize, number: Number, value: &'a [u8]) -> Result<(), Ambiguous> {
        let same = |held: &&Piece<'_>| (held.source, held.number) == (source, number);
        match self.0.iter().find(same) {
            _ if value.is_empty() => Ok(()),
            Some(held) if held.value != value => Err(Ambiguous),
            Some(_) => Ok(()),
            None => {
                self.0.push(Piece { source, number, value });
                Ok(())
            }
        }
    }

    /// Whether there is none at all, as in nearly every request.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of this source's cookie. `has_whole`: the cookie stands there by its own name too. Two forms of one value at once are ambiguous:
    /// nobody knows which one is left over.
    pub(super) fn join(&self, source: usize, has_whole: bool) -> Result<Joined, Ambiguous> {
        let mut own: Vec<&Piece<'_>> = self.0.iter().filter(|piece| piece.source == source).collect();
        // Without a first one they are something else: a cookie of the app's own, or what is left of a value that is gone.
        let Some(first) = own.iter().find(|piece| piece.number.index == 0) else { return Ok(Joined::Absent) };
        if has_whole || own.iter().any(|piece| piece.number.sign != first.number.sign) {
            return Err(Ambiguous);
        }
        own.sort_unstable_by_key(|piece| piece.number.index);
        let gapless = own.iter().enumerate().all(|(index, piece)| piece.number.index == index);
        if !gapless || own.len() > MAX_PIECES {
            return Ok(Joined::Broken);
        }
        Ok(Joined::Whole(own.iter().flat_map(|piece| piece.value).copied().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_numbered_from_0_to_99_in_decimal() {
        for (tail, read, cut) in [
            (".0", Some(0), true),
            ("_0", Some(0), true),
            (".15", Some(15), true),
            ("_99", Some(99), true),
            (".00", None, true),
            ("_01", None, true),
            (".100", None, false),
            (".", None, false),
            ("", None, false),
            ("0", None, false),
            ("-0", None, false),
            ("__0", None, false),
            (".a", None, false),
            (".+1", None, false),
        ] {
            assert_eq!(Number::read(tail.as_bytes()).map(|number| number.index), read, "{tail:?}");
            assert_eq!(Number::is_one(tail.as_bytes()), cut, "{tail:?}");
        }
    }
}
