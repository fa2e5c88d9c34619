//! From an old and a new payload to a delta.
//!
//! What both begin and end with alike is found by comparing. Between, pieces of the new one are looked for in the old one, which is
//! cut into blocks that are found by a hash; the hash of as many bytes of the new one rolls on from byte to byte.

use super::{DIGITS, checksum};

/// Bytes of a block. What both have in common and is shorter is found only at their beginning and end.
const BLOCK_BYTES: usize = 16;

/// Blocks with the same hash that are looked at for one place.
const CANDIDATES_MAX: usize = 32;

/// Bytes compared for each byte of both payloads: payloads of many pieces that are nearly alike take no more than that.
const COMPARED_PER_BYTE: usize = 8;

/// Bytes of a piece that is long enough not to look for a longer one.
const PIECE_BYTES_ENOUGH: usize = 4 * 1024;

/// No block.
const NONE: u32 = u32::MAX;

/// Makes deltas, in the same memory.
#[derive(Debug, Default)]
pub(crate) struct Differ {
    /// The last block of each hash.
    heads: Vec<u32>,
    /// For each block the one before it of the same hash.
    before: Vec<u32>,
}

/// A piece of the new payload that is in the old one.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    old: usize,
    new: usize,
    bytes: usize,
}

impl Differ {
    /// The delta that makes `new` of `old`, in time that grows with their length and no faster. Of a text, new bytes are whole
    /// characters, so that the delta is a text, too.
    ///
    /// Both are shorter than 4 GiB.
    pub(crate) fn delta(&mut self, old: &[u8], new: &[u8], is_text: bool) -> Vec<u8> {
        let mut out = Writer { old: old.len(), new, is_text, written: 0, out: Vec::new() };
        put_number(new.len() as u32, &mut out.out);
        out.out.push(b'\n');
        let start = common(old, new);
        let end = common_end(&old[start..], &new[start..]);
        let (first, last) = (start, new.len() - end);
        out.copy(Piece { old: 0, new: 0, bytes: start });
        if last - first > BLOCK_BYTES && old.len() > BLOCK_BYTES {
            self.index(old);
            self.find_pieces(old, new, first..last, &mut out);
        }
        // A piece may reach into what both end with.
        let last = last.max(out.written);
        let bytes = new.len() - last;
        out.copy(Piece { old: old.len() - bytes, new: last, bytes });
        out.finish()
    }

    /// Cuts `old` into blocks.
    fn index(&mut self, old: &[u8]) {
        let blocks = old.len() / BLOCK_BYTES;
        self.heads.clear();
        self.heads.resize(blocks.next_power_of_two(), NONE);
        self.before.clear();
        for (block, bytes) in old.chunks_exact(BLOCK_BYTES).enumerate() {
            let head = &mut self.heads[Rolling::of(bytes).slot(blocks)];
            self.before.push(*head);
            *head = block as u32;
        }
    }

    /// Finds pieces of `new` that begin in that range, and writes them.
    fn find_pieces(&self, old: &[u8], new: &[u8], range: std::ops::Range<usize>, out: &mut Writer<'_>) {
        let blocks = old.len() / BLOCK_BYTES;
        let mut left = COMPARED_PER_BYTE * (old.len() + new.len());
        let mut at = range.start;
        while at < range.end && at + BLOCK_BYTES <= new.len() {
            let mut hash = Rolling::of(&new[at..at + BLOCK_BYTES]);
            let piece = loop {
                if left == 0 {
                    return;
                }
                let piece = self.best(old, new, at, hash.slot(blocks), out.written, &mut left);
                if piece.bytes > 0 || at + 1 >= range.end || at + BLOCK_BYTES >= new.len() {
                    break piece;
                }
                hash.roll(new[at], new[at + BLOCK_BYTES]);
                at += 1;
            };
            if piece.bytes == 0 {
                return;
            }
            out.copy(piece);
            at = piece.new + piece.bytes;
        }
    }

    /// The longest piece around the block of `new` at `at`, which has that hash; back to `from` at most, where everything before is
    /// written. Empty when none is worth it.
    fn best(&self, old: &[u8], new: &[u8], at: usize, slot: usize, from: usize, left: &mut usize) -> Piece {
        let mut best = Piece::default();
        let mut block = self.heads[slot];
        for _ in 0..CANDIDATES_MAX {
            if block == NONE || *left == 0 || best.bytes >= PIECE_BYTES_ENOUGH {
                break;
            }
            let start = block as usize * BLOCK_BYTES;
            let after = common(&old[start..], &new[at..]);
            let before = common_end(&old[..start], &new[from..at]);
            let piece = Piece { old: start - before, new: at - before, bytes: before + after };
            *left = left.saturating_sub(1 + after + before);
            if piece.bytes > best.bytes && piece.is_worth_it() {
                best = piece;
            }
            block = self.before[block as usize];
        }
        best
    }
}

impl Piece {
    /// Whether copying it is shorter than writing it.
    fn is_worth_it(self) -> bool {
        // And a new run of new bytes behind it, which begins with a number and a colon.
        self.bytes > digits(self.bytes) + digits(self.old) + 2 + 3
    }
}

/// A delta as it is written.
struct Writer<'a> {
    /// Bytes of the old payload.
    old: usize,
    new: &'a [u8],
    is_text: bool,
    /// Bytes of the new payload that the delta makes so far.
    written: usize,
    out: Vec<u8>,
}

impl Writer<'_> {
    /// Copies a piece, and writes what is new before it.
    fn copy(&mut self, mut piece: Piece) {
        if self.is_text {
            // What is written by itself begins and ends with a character.
            while piece.bytes > 0 && piece.new > self.written && is_within(self.new, piece.new) {
                piece = Piece { old: piece.old + 1, new: piece.new + 1, bytes: piece.bytes - 1 };
            }
            while piece.bytes > 0 && is_within(self.new, piece.new + piece.bytes) {
                piece.bytes -= 1;
            }
        }
        debug_assert!(piece.old + piece.bytes <= self.old);
        if piece.bytes == 0 || !piece.is_worth_it() {
            return;
        }
        self.write_new(piece.new);
        put_number(piece.bytes as u32, &mut self.out);
        self.out.push(b'@');
        put_number(piece.old as u32, &mut self.out);
        self.out.push(b',');
        self.written = piece.new + piece.bytes;
    }

    /// Writes what is new up to `to`.
    fn write_new(&mut self, to: usize) {
        let new = &self.new[self.written..to];
        if !new.is_empty() {
            put_number(new.len() as u32, &mut self.out);
            self.out.push(b':');
            self.out.extend_from_slice(new);
            self.written = to;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.write_new(self.new.len());
        put_number(checksum(self.new), &mut self.out);
        self.out.push(b';');
        self.out
    }
}

/// Whether a cut there would divide a character of UTF-8.
fn is_within(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80)
}

/// A hash of a block's bytes that can be moved on by one byte.
#[derive(Clone, Copy)]
struct Rolling {
    sum: u32,
    /// The sum of the sums.
    weighted: u32,
}

impl Rolling {
    fn of(block: &[u8]) -> Self {
        let mut hash = Self { sum: 0, weighted: 0 };
        for byte in block {
            hash.sum += u32::from(*byte);
            hash.weighted += hash.sum;
        }
        hash
    }

    fn roll(&mut self, out: u8, into: u8) {
        self.sum = self.sum - u32::from(out) + u32::from(into);
        self.weighted = self.weighted - BLOCK_BYTES as u32 * u32::from(out) + self.sum;
    }

    /// Its place in the table of so many blocks.
    fn slot(self, blocks: usize) -> usize {
        /// An odd number without a pattern, by which the upper bits depend on all.
        const MIX: u32 = 0x9e37_79b1;
        let mixed = (self.sum << 16 ^ self.weighted).wrapping_mul(MIX);
        ((u64::from(mixed) * blocks.next_power_of_two() as u64) >> 32) as usize
    }
}

/// Bytes with which both begin.
fn common(one: &[u8], other: &[u8]) -> usize {
    /// Bytes compared at once.
    const STEP: usize = 32;
    let steps = one.chunks_exact(STEP).zip(other.chunks_exact(STEP)).take_while(|(one, other)| one == other).count();
    let start = steps * STEP;
    start + one[start..].iter().zip(&other[start..]).take_while(|(one, other)| one == other).count()
}

/// Bytes with which both end.
fn common_end(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

/// How many digits a number has.
fn digits(number: usize) -> usize {
    (number.checked_ilog2().unwrap_or(0) / 6 + 1) as usize
}

fn put_number(number: u32, out: &mut Vec<u8>) {
    for digit in (0..digits(number as usize)).rev() {
        out.push(DIGITS[(number >> (6 * digit)) as usize & 63]);
    }
}
