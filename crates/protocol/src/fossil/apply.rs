//! From an old payload and a delta to a new payload.

use std::fmt;

use super::{DIGITS, checksum};

/// Makes of `old` what `delta` says.
///
/// # Errors
/// [`DeltaError`] when `delta` is no delta, or not one of `old`, or what it makes is longer than `bytes_max`: a few bytes may say to copy
/// the same piece again and again.
///
/// # Examples
/// ```
/// assert_eq!(roomcast_protocol::apply_delta(b"line", b"6\n6:little3OocHp;", 1_024)?, b"little");
/// # Ok::<(), roomcast_protocol::DeltaError>(())
/// ```
pub fn apply_delta(old: &[u8], delta: &[u8], bytes_max: usize) -> Result<Vec<u8>, DeltaError> {
    let mut rest = delta;
    let bytes = number(&mut rest)?;
    expect(&mut rest, b'\n')?;
    if bytes > bytes_max {
        return Err(DeltaError::TooLarge);
    }
    let mut new = Vec::new();
    loop {
        let count = number(&mut rest)?;
        let (&command, after) = rest.split_first().ok_or(DeltaError::Malformed)?;
        rest = after;
        let piece = match command {
            b'@' => {
                let offset = number(&mut rest)?;
                expect(&mut rest, b',')?;
                let end = offset.checked_add(count).ok_or(DeltaError::OtherBase)?;
                old.get(offset..end).ok_or(DeltaError::OtherBase)?
            }
            b':' => {
                let (piece, after) = rest.split_at_checked(count).ok_or(DeltaError::Malformed)?;
                rest = after;
                piece
            }
            b';' if new.len() == bytes && rest.is_empty() => {
                return if checksum(&new) as usize == count { Ok(new) } else { Err(DeltaError::OtherBase) };
            }
            _ => return Err(DeltaError::Malformed),
        };
        if piece.len() > bytes.saturating_sub(new.len()) {
            return Err(DeltaError::Malformed);
        }
        new.extend_from_slice(piece);
    }
}

/// A number in base 64, of 32 bits at most.
fn number(rest: &mut &[u8]) -> Result<usize, DeltaError> {
    let (mut number, mut digits) = (0_u32, 0);
    while let Some((byte, after)) = rest.split_first()
        && let Some(digit) = DIGITS.iter().position(|digit| digit == byte)
    {
        number = number.checked_mul(64).ok_or(DeltaError::Malformed)? | digit as u32;
        (*rest, digits) = (after, digits + 1);
    }
    if digits == 0 { Err(DeltaError::Malformed) } else { Ok(number as usize) }
}

fn expect(rest: &mut &[u8], byte: u8) -> Result<(), DeltaError> {
    let (first, after) = rest.split_first().ok_or(DeltaError::Malformed)?;
    *rest = after;
    if *first == byte { Ok(()) } else { Err(DeltaError::Malformed) }
}

/// Why a delta was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaError {
    /// It is not in the format of Fossil.
    Malformed,
    /// It was made of something else than what it is applied to.
    OtherBase,
    /// It makes more bytes than are allowed.
    TooLarge,
}

impl fmt::Display for DeltaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the delta is not in the format of Fossil",
            Self::OtherBase => "the delta is of another payload than the one it is applied to",
            Self::TooLarge => "the delta makes a payload that is longer than allowed",
        })
    }
}

impl std::error::Error for DeltaError {}
