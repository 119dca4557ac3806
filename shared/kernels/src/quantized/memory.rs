//! Bytes that start at a cache line: packed weights, and a thread's scratch.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// A cache line, which is also the widest register.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes that start at a cache line.
#[derive(Clone, Debug, Default)]
pub(super) struct AlignedBytes {
    lines: Vec<Line>,
    length: usize,
}

impl AlignedBytes {
    pub(super) fn zeros(length: usize) -> Self {
        Self { lines: vec![Line([0; 64]); length.div_ceil(64)], length }
    }

    const fn empty() -> Self {
        Self { lines: Vec::new(), length: 0 }
    }

    /// Makes room for `length` bytes; what is there keeps its values.
    fn reserve(&mut self, length: usize) {
        if self.length < length {
            self.lines.resize(length.div_ceil(64), Line([0; 64]));
            self.length = length;
        }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `lines` are initialised, without gaps (`Line` is 64 bytes, aligned to 64), and hold at least `length` bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed for writing together with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// Calls `work` with `length` bytes that start at a cache line. They keep a thread's last values, whatever those were; a
/// thread's memory for them is kept from call to call. `work` must not wait for other tasks: meanwhile the thread may begin
/// one that wants its scratch as well.
pub(super) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<AlignedBytes> = const { RefCell::new(AlignedBytes::empty()) };
    }
    SCRATCH.with_borrow_mut(|memory| {
        memory.reserve(length);
        work(&mut memory[..length])
    })
}

/// An output that threads write at once, each other places.
#[derive(Clone, Copy)]
pub(super) struct Target {
    start: *mut u8,
    length: usize,
}

// SAFETY: a `Target` only hands out pointers; that no two threads write one place is promised to `Target::at`.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// The slice must outlive the use of the pointers that [`Self::at`] hands out.
    pub(super) fn new(out: &mut [u8]) -> Self {
        Self { start: out.as_mut_ptr(), length: out.len() }
    }

    /// Where the bytes of `place` begin; panics if the output does not hold them.
    ///
    /// # Safety
    /// The slice is still borrowed, and no other thread reads or writes what is written there.
    #[inline(always)]
    pub(super) unsafe fn at(self, place: std::ops::Range<usize>) -> *mut u8 {
        assert!(place.start <= place.end && place.end <= self.length, "outside of the output");
        // SAFETY: within the slice, by the line above.
        unsafe { self.start.add(place.start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_start_at_a_cache_line_and_keep_their_values() {
        let mut bytes = AlignedBytes::zeros(70);
        assert_eq!((bytes.len(), bytes.as_ptr().align_offset(64)), (70, 0));
        bytes[69] = 3;
        bytes.reserve(1000);
        assert_eq!((bytes[69], bytes[999], bytes.as_ptr().align_offset(64)), (3, 0, 0));
        with_scratch(100, |scratch| {
            assert_eq!((scratch.len(), scratch.as_ptr().align_offset(64)), (100, 0));
        });
    }
}
