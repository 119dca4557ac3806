//! Values that begin at the start of a cache line: a register of AVX-512 that does not costs two loads.

/// Bytes of a cache line.
const LINE: usize = 64;

/// A slice that begins at a cache line.
pub(super) struct Aligned {
    memory: Vec<f32>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(super) fn zeros(length: usize) -> Self {
        let spare = LINE / size_of::<f32>();
        let memory = vec![0.0; length + spare];
        // The vector is never grown, so its values stay where they are.
        let start = memory.as_ptr().align_offset(LINE).min(spare);
        Self { memory, start, length }
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values", self.length)
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..self.start + self.length]
    }
}
