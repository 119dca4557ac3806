//! Reading a store: mapped into memory, so that a row costs what it is long, and nothing is loaded that is not asked for.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use half::{f16, slice::HalfFloatSliceExt};
use memmap2::Mmap;

use super::format::{Contents, Dtype, FeatureError, Header, State};

/// A whole feature store. Numbers are lent out as they lie in the file.
pub struct FeatureStore {
    path: PathBuf,
    header: Header,
    map: Mmap,
}

/// Numbers of a row, of the type in which they are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
}

impl Values<'_> {
    /// Puts them into `out`, which must be as long.
    pub fn write_f32(self, out: &mut [f32]) {
        match self {
            Self::F16(values) => values.convert_to_f32_slice(out),
            Self::F32(values) => out.copy_from_slice(values),
        }
    }

    /// How many they are.
    pub fn len(self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Number `index`.
    pub(super) fn at(self, index: usize) -> f32 {
        match self {
            Self::F16(values) => values[index].to_f32(),
            Self::F32(values) => values[index],
        }
    }

    /// The numbers of a part of the row.
    ///
    /// # Panics
    /// When the row is not that long.
    pub fn part(self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F16(values) => Self::F16(&values[range]),
            Self::F32(values) => Self::F32(&values[range]),
        }
    }
}

impl FeatureStore {
    /// Opens a store and checks header, sizes and states; the rows' checksums only when [`Self::verify`] is called.
    ///
    /// # Errors
    /// [`FeatureError`] when it is none, is damaged, or not finished.
    pub fn open(path: &Path) -> Result<Self, FeatureError> {
        let failed = |reason| FeatureError::Io { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut first = [0; 8];
        if length >= 8 {
            file.read_exact(&mut first).map_err(failed)?;
        }
        let mut bytes = vec![0; Header::length(path, first, length)?];
        bytes[..8].copy_from_slice(&first);
        file.read_exact(&mut bytes[8..]).map_err(failed)?;
        let header = Header::parse(path, &bytes, length)?;
        #[allow(unsafe_code)]
        // SAFETY: the map is read only, private to this value, and lives as long as what is lent out of it. What Rust cannot
        // know is that nobody writes to the file meanwhile: this program never does, since a file has this name only when it is
        // whole and is then replaced, not changed. If another program overwrites it, numbers change, and no number is an
        // invalid f16, f32 or u32 (every pattern of bits is one) or is used as an index or length. If another program shortens
        // it, the kernel ends this process with SIGBUS at the next access; no wrong memory is read. It cannot be avoided: a map
        // is the one way to have a file of any size at hand as slices, and the system gives no safe one.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        if map.len() as u64 != length {
            return Err(FeatureError::Malformed {
                path: path.to_owned(),
                reason: "it changed while it was opened".into(),
            });
        }
        let store = Self { path: path.to_owned(), header, map };
        let states = store.numbers(store.header.state_at);
        if let Some(code) = states.iter().find(|&&code| State::from_code(code).is_none()) {
            return Err(FeatureError::Malformed {
                path: path.to_owned(),
                reason: format!("a row has the state {code}"),
            });
        }
        let missing = states.iter().filter(|&&code| code == State::Missing.code()).count();
        if missing > 0 {
            return Err(FeatureError::Unfinished { path: path.to_owned(), missing, rows: states.len() });
        }
        Ok(store)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself, and of each row.
    pub fn contents(&self) -> &Contents {
        &self.header.contents
    }

    /// `[C, H, W]` of a row.
    pub fn shape(&self) -> [usize; 3] {
        self.header.shape
    }

    /// Rows, one a picture.
    pub fn rows(&self) -> usize {
        self.header.rows()
    }

    /// Numbers of a row, `C * H * W`.
    pub fn columns(&self) -> usize {
        self.header.shape.iter().product()
    }

    /// Whether row `row` passed the quality check, and if not, why.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn state(&self, row: usize) -> State {
        State::from_code(self.numbers(self.header.state_at)[row]).unwrap_or(State::Missing)
    }

    /// FeatureRow `row`: the feature map `[C, H, W]` of a picture.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize) -> Values<'_> {
        let bytes = self.row_bytes(row);
        // The features begin on a page and the map does, so every row is aligned.
        match self.header.contents.dtype {
            Dtype::F16 => Values::F16(bytemuck::cast_slice(bytes)),
            Dtype::F32 => Values::F32(bytemuck::cast_slice(bytes)),
        }
    }

    /// Puts the means over H and W of row `row` into `out`, `[C]`.
    ///
    /// # Panics
    /// When there is no such row, or `out` has another length than C.
    pub fn pooled(&self, row: usize, out: &mut [f32]) {
        let [channels, height, width] = self.header.shape;
        assert_eq!(out.len(), channels, "one number a channel");
        let values = self.row(row);
        let plane = height * width;
        let mut buffer = vec![0f32; plane];
        for (channel, out) in out.iter_mut().enumerate() {
            values.part(channel * plane..(channel + 1) * plane).write_f32(&mut buffer);
            *out = buffer.iter().sum::<f32>() / plane as f32;
        }
    }

    /// Reads every row and compares it with its checksum.
    ///
    /// # Errors
    /// [`FeatureError::Checksum`] for the first row that differs.
    pub fn verify(&self) -> Result<(), FeatureError> {
        use rayon::prelude::*;
        let checksums = self.numbers(self.header.checksum_at);
        let wrong =
            (0..self.rows()).into_par_iter().find_first(|&row| crc32fast::hash(self.row_bytes(row)) != checksums[row]);
        wrong.map_or(Ok(()), |row| {
            let picture = self.contents().rows[row].path.clone();
            Err(FeatureError::Checksum { path: self.path.clone(), row, picture })
        })
    }

    fn row_bytes(&self, row: usize) -> &[u8] {
        assert!(row < self.rows(), "row {row} of {}", self.rows());
        &self.map[self.header.row_at(row) as usize..][..self.header.row_bytes]
    }

    /// A number for each row.
    fn numbers(&self, at: u64) -> &[u32] {
        // Eight-byte aligned, as the features behind are page-aligned and each of both lists is a multiple of four long.
        bytemuck::cast_slice(&self.map[at as usize..][..4 * self.rows()])
    }
}
