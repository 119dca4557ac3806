//! A stack of axial slices, whatever file or files it came from.
//!
//! Voxels stay in the order in which they were stored, as whole numbers of one or two bytes (a chest CT of 500 slices is 250 MiB
//! then, and a device has little memory). The affine says where the stored axes point to, and [`Volume::slice`] gathers one slice,
//! turned to the radiologist's view. [`Volume::store`] is the way back, for what was drawn over a slice.

use thorax_shared::{
    modality::Modality,
    plane::{Orientation, Plane},
    preprocess::Pixels,
    verdict::ReferReason,
};

use super::{DecodeError, Frame, as_stored, oriented, shown_size};

/// From the indices of a voxel along the stored axes, and 1, to millimetres to the patient's right, front and head... the three rows
/// of the matrix that NIfTI calls affine: `[[x_i, x_j, x_k, x_0], ...]`.
pub type Affine = [[f64; 4]; 3];

/// A stack of axial slices, from the feet to the head.
#[derive(Clone)]
pub struct Volume {
    voxels: Voxels,
    dimensions: [usize; 3],
    axes: Axes,
    /// Whether the file says which side is which.
    pub(super) sides_known: bool,
    /// Why a person has to look, whatever the models say.
    pub(super) refer: Option<ReferReason>,
    /// What is to be told of how it was put together.
    notes: Vec<String>,
    /// The frame of one file that each stored slice is, counted from 1; empty where slices are no frames.
    frames: Vec<u32>,
    source: VolumeSource,
}

/// The voxels in the order in which they were stored, first axis fastest, and what they mean.
#[derive(Clone)]
pub(super) enum Voxels {
    /// Whole numbers without a unit, windowed by whoever wrote them.
    Eight(Vec<u8>),
    /// Whole numbers without a unit.
    Sixteen(Vec<u16>),
    /// Hounsfield units.
    Hounsfield(Vec<i16>),
}

/// Where a volume came from.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeSource {
    /// One NIfTI file, with this header. A file with the same header and voxels in the stored order lies where the volume lies.
    Nifti(NiftiHeader),
    /// Slices that were put together.
    Series {
        /// Where the voxels lie.
        affine: Affine,
    },
}

/// A NIfTI header as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NiftiHeader {
    /// The 348 bytes of version 1, or the 540 bytes of version 2.
    pub bytes: Box<[u8]>,
    /// Whether its numbers begin with their highest byte.
    pub big_endian: bool,
}

/// The axial slices of a volume, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Columns of a slice, a pixel for each voxel, as [`Volume::slice_on_grid`] shows it.
    pub columns: usize,
    /// Rows of a slice.
    pub rows: usize,
    /// Number of slices.
    pub slices: usize,
    /// Whether the slice that is stored first is the lowest; see [`Volume::stored_index`].
    pub feet_first: bool,
    /// How a stored slice is turned to be shown; see [`Frame`].
    pub orientation: Orientation,
    /// Whether the file says which side is which. Where it does not, `feet_first` and `orientation` are assumed.
    pub sides_known: bool,
}

impl Outline {
    /// Whether the voxels of two volumes of one size lie over each other: both say where they lie, or both are stored alike.
    pub fn lies_as(&self, other: &Self) -> bool {
        let alike = (self.orientation, self.feet_first) == (other.orientation, other.feet_first);
        alike || (self.sides_known && other.sides_known)
    }
}

/// What is drawn does not fit a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a picture of {width} x {height} for slice {index} and {voxels} voxels do not fit a volume of {slices} slices of \
     {expected_width} x {expected_height}: give a picture of the size that the slice itself has, and a voxel for each of the volume's"
)]
pub struct StoreError {
    /// The slice asked for.
    pub index: usize,
    /// Columns of the picture.
    pub width: usize,
    /// Rows of the picture.
    pub height: usize,
    /// Voxels that were given to write to.
    pub voxels: usize,
    /// Slices of the volume.
    pub slices: usize,
    /// Columns of its slices.
    pub expected_width: usize,
    /// Rows of its slices.
    pub expected_height: usize,
}

/// Tells sizes and meaning, not the voxels.
impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("slices", &self.slices())
            .field("dimensions", &self.dimensions)
            .field("axes", &self.axes)
            .field("sides_known", &self.sides_known)
            .field("refer", &self.refer)
            .finish_non_exhaustive()
    }
}

impl Volume {
    /// `voxels` along `axes`; there are as many of them as `dimensions` say.
    pub(super) fn new(voxels: Voxels, dimensions: [usize; 3], axes: Axes, source: VolumeSource) -> Self {
        Self { voxels, dimensions, axes, sides_known: true, refer: None, notes: Vec::new(), frames: Vec::new(), source }
    }

    /// The volume of `count` slices of one size in Hounsfield units, from the first stored to the last: their rows run along the
    /// first axis of `affine`, their columns along the second, and they follow each other along the third. Each is dropped as soon
    /// as it was copied, so that the iterator may decode them one by one.
    ///
    /// # Errors
    /// That of a slice; [`DecodeError::Unsupported`] for slices of two sizes, another number of them than `count`, or an affine
    /// that tells no orientation, or one whose third axis does not run along the body.
    pub fn from_slices(
        count: usize,
        affine: Affine,
        slices: impl IntoIterator<Item = Result<Plane<i16>, DecodeError>>,
    ) -> Result<Self, DecodeError> {
        let refused = |feature: &str| DecodeError::Unsupported {
            format: "a series",
            feature: feature.to_owned(),
            instead: "one series of axial slices of one size",
        };
        let axes =
            Axes::of(&affine).filter(|axes| axes.slice_axis() == 2).ok_or_else(|| refused("no axial orientation"))?;
        let mut size = None;
        let mut voxels = Vec::new();
        let mut found = 0;
        for slice in slices {
            let slice = slice?;
            let (width, height) = *size.get_or_insert((slice.width(), slice.height()));
            if (slice.width(), slice.height()) != (width, height) {
                return Err(refused("slices of two sizes"));
            }
            voxels.reserve_exact(if found == 0 { width * height * count } else { 0 });
            voxels.extend_from_slice(slice.data());
            found += 1;
        }
        let (width, height) = size.filter(|_| found == count).ok_or_else(|| refused("missing slices"))?;
        let source = VolumeSource::Series { affine };
        Ok(Self::new(Voxels::Hounsfield(voxels), [width, height, count], axes, source))
    }

    /// The same volume, which a person has to look at for this reason.
    #[must_use]
    pub fn referred(self, reason: ReferReason) -> Self {
        Self { refer: Some(reason), ..self }
    }

    /// The same volume, of which nobody knows which lung is the right one.
    #[must_use]
    pub fn without_sides(self) -> Self {
        Self { sides_known: false, ..self }
    }

    /// The same volume, of which this is to be told.
    #[must_use]
    pub(super) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// The same volume, whose stored slices are these frames of one file, counted from 1.
    #[must_use]
    pub(super) fn of_frames(self, frames: Vec<u32>) -> Self {
        Self { frames, ..self }
    }

    /// The frame, counted from 1, that the slice is which is stored at `stored_index`; `None` where slices are no frames of one file.
    pub fn frame(&self, stored_index: usize) -> Option<u32> {
        self.frames.get(stored_index).copied()
    }

    /// What is to be told of how the volume was put together: missing slices, a tilted gantry. It changes no verdict.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What its header said of its slices.
    pub fn outline(&self) -> Outline {
        Outline { sides_known: self.sides_known, ..self.axes.outline(self.dimensions) }
    }

    /// Where it came from.
    pub fn source(&self) -> &VolumeSource {
        &self.source
    }

    /// Voxels along the three stored axes, the fastest first.
    pub fn dimensions(&self) -> [usize; 3] {
        self.dimensions
    }

    /// Millimetres from voxel to voxel along the three stored axes, the fastest first; `None` where the file does not say.
    pub fn voxel_mm(&self) -> Option<[f32; 3]> {
        Some(self.axes.voxel_mm).filter(|sizes| sizes.iter().all(|&mm| mm > 0.0))
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        self.dimensions[self.axes.slice_axis()]
    }

    /// Distance from slice to slice in millimetres, where the file says.
    pub fn slice_distance_mm(&self) -> Option<f32> {
        Some(self.axes.voxel_mm[self.axes.slice_axis()]).filter(|&distance| distance > 0.0)
    }

    /// The place that slice `index`, counted from the feet, has in the file, counted from 0 along the axis that runs along the body.
    /// It is the number by which people, and other programs, know the slice.
    pub fn stored_index(&self, index: usize) -> usize {
        if self.axes.negative[2] { (self.slices() - 1).saturating_sub(index) } else { index }
    }

    /// Slice `index`, counted from the feet, with square pixels and not too many of them (see [`Frame`]); `None` where there is no such slice.
    pub fn slice(&self, index: usize) -> Option<Frame> {
        Some(self.slice_on_grid(index)?.shown())
    }

    /// [`Self::slice`] with a pixel for each voxel, square or not: for labels, of which there are none in between.
    pub fn slice_on_grid(&self, index: usize) -> Option<Frame> {
        if index >= self.slices() {
            return None;
        }
        let at = self.stored_slice(index);
        let pixels = match &self.voxels {
            Voxels::Eight(voxels) => Pixels::Eight(self.plane(|x, y| voxels[at(x, y)])),
            Voxels::Sixteen(voxels) => Pixels::Sixteen(self.plane(|x, y| voxels[at(x, y)])),
            Voxels::Hounsfield(voxels) => Pixels::Hounsfield(self.plane(|x, y| voxels[at(x, y)])),
        };
        let [columns, rows] = self.in_plane();
        let spacing = self.spacing_mm();
        Some(Frame {
            // Hounsfield units are what CT measures; nothing else in a volume tells the modality.
            modality: matches!(pixels, Pixels::Hounsfield(_)).then_some(Modality::Ct),
            pixels,
            orientation: self.axes.orientation(),
            stored_size: (columns, rows),
            spacing_mm: spacing.iter().all(|&mm| mm > 0.0).then_some(spacing),
            colour_share: 0.0,
            sides_known: self.sides_known,
            refer: self.refer,
        })
    }

    /// Puts `picture`, drawn over slice `index` as [`Self::slice`] shows it, into `voxels`, a volume stored as this one is
    /// (first axis fastest, `dimensions` long): each voxel gets the pixel that lies over its centre. Slices that are not put
    /// there stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] when there is no such slice, or a size differs from the volume's; nothing is written then.
    pub fn store<T: Copy>(&self, index: usize, picture: &Plane<T>, voxels: &mut [T]) -> Result<(), StoreError> {
        let [across, down] = self.in_plane();
        let orientation = self.axes.orientation();
        let on_grid = if orientation.transpose { (down, across) } else { (across, down) };
        let (expected_width, expected_height) = shown_size(on_grid, self.spacing_mm());
        let (width, height, slices) = (picture.width(), picture.height(), self.slices());
        if index >= slices
            || (width, height) != (expected_width, expected_height)
            || voxels.len() != self.dimensions.iter().product::<usize>()
        {
            let voxels = voxels.len();
            return Err(StoreError { index, width, height, voxels, slices, expected_width, expected_height });
        }
        let at = self.stored_slice(index);
        let stored = as_stored(picture, orientation, (across, down));
        for y in 0..down {
            stored.row(y).iter().enumerate().for_each(|(x, &value)| voxels[at(x, y)] = value);
        }
        Ok(())
    }

    /// Height and width of a pixel of a slice on the stored grid, turned as it is shown; 0 where unknown.
    fn spacing_mm(&self) -> [f32; 2] {
        let [across, down] = self.axes.in_plane().map(|axis| self.axes.voxel_mm[axis]);
        if self.axes.orientation().transpose { [across, down] } else { [down, across] }
    }

    /// Columns and rows of a stored slice.
    fn in_plane(&self) -> [usize; 2] {
        self.axes.in_plane().map(|axis| self.dimensions[axis])
    }

    /// Where the voxels of slice `index` lie, by column and row of the stored slice.
    fn stored_slice(&self, index: usize) -> impl Fn(usize, usize) -> usize + use<> {
        let strides = [1, self.dimensions[0], self.dimensions[0] * self.dimensions[1]];
        let [across, down] = self.axes.in_plane();
        let first = self.stored_index(index) * strides[self.axes.slice_axis()];
        move |x, y| first + x * strides[across] + y * strides[down]
    }

    /// The picture of a stored slice.
    fn plane<T: Copy>(&self, value: impl FnMut(usize, usize) -> T) -> Plane<T> {
        let [across, down] = self.in_plane();
        oriented(Plane::from_fn(across, down, value), self.axes.orientation())
    }
}

/// Where the stored axes point to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axes {
    /// The stored axis that runs most nearly left-right, back-front and feet-head.
    along: [usize; 3],
    /// Whether it runs to the left, to the back, to the feet.
    negative: [bool; 3],
    /// Size of a voxel along the stored axes, in millimetres; 0 where unknown.
    voxel_mm: [f32; 3],
}

impl Axes {
    /// The axes that `affine` tells; `None` where it tells none, being no number or flat.
    pub(super) fn of(affine: &Affine) -> Option<Self> {
        let length = |axis: usize| affine.iter().map(|row| row[axis] * row[axis]).sum::<f64>().sqrt();
        let cosine = |direction: usize, axis: usize| affine[direction][axis] / length(axis);
        let cosines = std::array::from_fn(|direction| std::array::from_fn(|axis| cosine(direction, axis)));
        let size = determinant(&cosines).abs();
        // Not so for what is not finite, either.
        if size.is_nan() || size <= 0.1 {
            return None;
        }
        let agreement =
            |along: &[usize; 3]| (0..3).map(|direction| cosine(direction, along[direction]).abs()).sum::<f64>();
        let along = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
            .into_iter()
            .max_by(|a, b| agreement(a).total_cmp(&agreement(b)))?;
        Some(Self {
            along,
            negative: std::array::from_fn(|direction| cosine(direction, along[direction]) < 0.0),
            voxel_mm: std::array::from_fn(|axis| length(axis) as f32),
        })
    }

    /// What is taken where nothing is told: by the convention of ANALYZE (and nibabel) volumes are stored from the patient's right
    /// to the left, from the back to the front and from the feet to the head.
    pub(super) fn untold(voxel_mm: [f32; 3]) -> Self {
        Self { along: [0, 1, 2], negative: [true, false, false], voxel_mm }
    }

    /// Whether the other's axes run the same ways.
    pub(super) fn run_as(&self, other: &Self) -> bool {
        (self.along, self.negative) == (other.along, other.negative)
    }

    /// The same axes, with sizes in another unit than millimetres.
    pub(super) fn in_units_of(self, mm: f64) -> Self {
        Self { voxel_mm: self.voxel_mm.map(|size| (f64::from(size) * mm) as f32), ..self }
    }

    /// The slices of a volume of these dimensions, of which the file says where they lie.
    pub(super) fn outline(&self, dimensions: [usize; 3]) -> Outline {
        let [across, down] = self.in_plane().map(|axis| dimensions[axis]);
        let (columns, rows) = if self.orientation().transpose { (down, across) } else { (across, down) };
        Outline {
            columns,
            rows,
            slices: dimensions[self.slice_axis()],
            feet_first: !self.negative[2],
            orientation: self.orientation(),
            sides_known: true,
        }
    }

    /// The stored axis that runs along the body.
    fn slice_axis(&self) -> usize {
        self.along[2]
    }

    /// The stored axes of an axial slice: the faster and the slower.
    pub(super) fn in_plane(&self) -> [usize; 2] {
        match self.along[2] {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        }
    }

    /// How a stored slice becomes a picture whose columns run to the patient's left and whose rows run to the back.
    fn orientation(&self) -> Orientation {
        Orientation {
            transpose: self.along[0] > self.along[1],
            flip_horizontal: !self.negative[0],
            flip_vertical: !self.negative[1],
        }
    }
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}
