//! The append-only table of a ring's segments: an index names memory for as long as the ring lives.

use std::marker::PhantomData;
use std::ptr;

use super::segment::Segment;
use crate::sync::{AcqRel, Acquire, AtomicPtr, AtomicU32, Lazy, Relaxed};

/// Segments a ring may have in all: those in the directory, in limbo, and pinned by readers or late publishers.
///
/// The largest index is left out: in a claim word it says "no segment yet".
pub(crate) const TABLE_MAX: u32 = u16::MAX as u32;

/// The first chunk holds 4 entries, each further one four times as many.
const CHUNK_FIRST: u32 = 4;
const CHUNKS: usize = 8;

type Chunk<T> = Box<[AtomicPtr<Segment<T>>]>;

#[derive(Debug)]
pub(crate) struct Table<T> {
    /// Chunk `c` holds the indices from `4 * (4^c - 1) / 3` on.
    chunks: [Lazy<Chunk<T>>; CHUNKS],
    /// Indices handed out; at most [`TABLE_MAX`].
    len: AtomicU32,
    /// The entries own their segments, which an `AtomicPtr` does not tell the compiler: it goes to any thread, whatever it
    /// points to.
    segments: PhantomData<Box<Segment<T>>>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: std::array::from_fn(|_| Lazy::new()), len: AtomicU32::new(0), segments: PhantomData }
    }

    /// Adds a segment; gives it back when the table is full.
    pub(crate) fn append(&self, mut segment: Box<Segment<T>>) -> Result<u16, Box<Segment<T>>> {
        // Relaxed: the index is ours alone; the words that name it publish the entry.
        let Ok(index) = self.len.fetch_update(Relaxed, Relaxed, |len| (len < TABLE_MAX).then_some(len + 1)) else {
            return Err(segment);
        };
        segment.set_index(index as u16);
        // AcqRel: publishes the segment. Pairs with the Acquire load in `segment`.
        let before = self.entry(index as u16).swap(Box::into_raw(segment), AcqRel);
        debug_assert!(before.is_null(), "an index of the table was handed out twice");
        Ok(index as u16)
    }

    /// The segment with an index that a word of this ring names.
    #[inline(always)]
    pub(crate) fn segment(&self, index: u16) -> &Segment<T> {
        // Acquire: pairs with the swap in `append`.
        let segment = self.entry(index).load(Acquire);
        debug_assert!(!segment.is_null(), "segment {index} is named by a word but not in the table");
        // SAFETY: an index reaches a word only after `append` stored its segment, and whoever read the word with Acquire
        // sees it; the box is freed by `drop` alone, which has `&mut self`.
        unsafe { &*segment }
    }

    /// The segment with this index, if it is in the table by now.
    pub(crate) fn get(&self, index: u16) -> Option<&Segment<T>> {
        // Acquire: pairs with the swap in `append`.
        let segment = self.entry(index).load(Acquire);
        // SAFETY: null, or a box that `append` stored; it is freed by `drop` alone, which has `&mut self`.
        unsafe { segment.as_ref() }
    }

    /// How many segments there are.
    pub(crate) fn len(&self) -> u32 {
        // Relaxed: a figure.
        self.len.load(Relaxed)
    }

    #[inline(always)]
    fn entry(&self, index: u16) -> &AtomicPtr<Segment<T>> {
        let index = u32::from(index);
        let chunk = (3 * index / CHUNK_FIRST + 1).ilog2() / 2;
        let first = CHUNK_FIRST * ((1 << (2 * chunk)) - 1) / 3;
        let entries = self.chunks[chunk as usize]
            .force(|| (0..CHUNK_FIRST << (2 * chunk)).map(|_| AtomicPtr::new(ptr::null_mut())).collect());
        &entries[(index - first) as usize]
    }

    /// Visits every segment at the end of the ring's life.
    pub(crate) fn drain(&mut self, mut visit: impl FnMut(Box<Segment<T>>)) {
        for index in 0..self.len() {
            // Acquire: as in `segment`; null where an `append` never finished, which `&mut self` rules out.
            let segment = self.entry(index as u16).swap(ptr::null_mut(), AcqRel);
            if !segment.is_null() {
                // SAFETY: from `Box::into_raw` in `append`, and out of the table now.
                visit(unsafe { Box::from_raw(segment) });
            }
        }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}

#[cfg(all(test, not(roomcast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_an_entry_of_its_own() {
        let table = Table::<u8>::new();
        for index in 0..TABLE_MAX {
            let segment = Box::new(Segment::new(1, false));
            segment.begin(u64::from(index) + 1, 0, 0);
            assert_eq!(table.append(segment).ok(), Some(index as u16));
        }
        assert!(table.append(Box::new(Segment::new(1, false))).is_err());
        for index in 0..TABLE_MAX {
            assert_eq!(table.segment(index as u16).generation(), u64::from(index) + 1);
        }
    }
}
