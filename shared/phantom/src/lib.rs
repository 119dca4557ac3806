//! Synthetic chest films and CT slices with a known truth.
//!
//! No picture of a patient may live in this repository, yet tests, demonstrations and first runs need pictures that a
//! pipeline made for real ones takes seriously. So bodies are made up from a seed: films (`film`) by simulating X-rays
//! through solids, CT slices (`ct`) by asking every point for its tissue. The body is as lopsided as a real
//! one, so that a picture shown mirrored or upside down can be told, and where a lesion lies is known to the pixel.
//! Every file says in itself that it is synthetic.
//!
//! `thorax-edge phantom OUT`, like `thorax-train phantom OUT`, writes pictures, their masks under `OUT/masks/`, and the truth to `OUT/phantoms.csv`.
//! The same arguments write the same bytes.

mod canvas;
mod ct;
mod film;
mod write;

pub use canvas::write_text;
pub use write::{
    dicom as write_dicom, labels as write_labels, mask_png as write_mask, nifti as write_volume, png8 as write_picture,
};

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thorax_files::{WriteError, write_atomically};
use thorax_shared::{modality::Modality, plane::Plane, preprocess::Pixels};

/// What every synthetic picture says of itself.
pub const NOTICE: &str = "SYNTHETIC PHANTOM";

/// The lung window in which CT slices become grey pictures: -600 HU in the middle, 1500 HU wide.
const WINDOW_CENTRE_HU: f32 = -600.0;
const WINDOW_WIDTH_HU: f32 = 1500.0;

/// Width and height of the phantoms by which a bundle is tested.
pub const GOLDEN_SIDE: usize = 512;

/// Slices in a NIfTI volume, the key slice in the middle.
const VOLUME_SLICES: usize = 9;
/// From slice to slice in a NIfTI volume, cm.
const SLICE_SPACING_CM: f32 = 0.5;

/// Why phantoms could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhantomError {
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The PNG encoder refused a picture.
    #[error("cannot encode {path} as PNG: {reason}", path = path.display())]
    Png {
        /// The file that was to be written.
        path: PathBuf,
        /// The encoder's reason.
        reason: image::ImageError,
    },
    /// The DICOM writer refused an object.
    #[error("cannot encode {path} as DICOM: {reason}", path = path.display())]
    Dicom {
        /// The file that was to be written.
        path: PathBuf,
        /// The writer's reason.
        reason: String,
    },
    /// The table of the truth could not be put into CSV.
    #[error("cannot encode {path} as CSV: {reason}", path = path.display())]
    Table {
        /// The file that was to be written.
        path: PathBuf,
        /// The encoder's reason.
        reason: csv::Error,
    },
}

/// Write synthetic chest films and CT slices with their lesion and lung masks
#[derive(Clone, Debug, clap::Args)]
pub struct PhantomArgs {
    /// The folder to write to (made where missing)
    pub out: PathBuf,
    /// Phantoms of each modality; even numbers are positive, odd ones negative
    #[arg(long, default_value_t = 4, value_parser = count)]
    pub count: usize,
    /// The same seed writes the same bytes
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What to make
    #[arg(long, value_enum, default_value_t = ModalityChoice::Both)]
    pub modality: ModalityChoice,
    /// Width and height in pixels [default: 1024 for films, 512 for CT]
    #[arg(long, value_parser = clap::value_parser!(u16).range(64..=4096))]
    pub size: Option<u16>,
    /// File formats, separated by commas (nifti: CT only)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "png")]
    pub formats: Vec<Format>,
}

/// A number of phantoms on the command line.
fn count(text: &str) -> Result<usize, String> {
    const MOST: usize = 100_000;
    let number = text.parse().ok().filter(|number| *number <= MOST);
    number.ok_or_else(|| format!("expected a number of phantoms up to {MOST}"))
}

impl PhantomArgs {
    /// What is said once `truths` are written.
    pub fn told(&self, truths: &[Truth]) -> String {
        format!("{} files with masks and phantoms.csv in {}", truths.len(), self.out.display())
    }
}

/// Which phantoms to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModalityChoice {
    /// Chest films
    Xray,
    /// CT slices
    Ct,
    /// Both
    Both,
}

/// A file format to write phantoms in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// 8-bit grey PNG
    Png,
    /// 16-bit grey PNG
    Png16,
    /// DICOM, Explicit VR Little Endian, 12 bits: CR (as MONOCHROME2 and as MONOCHROME1) or CT
    Dicom,
    /// NIfTI-1 volume of nine CT slices in Hounsfield units, gzipped
    Nifti,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Png16 => "png16",
            Self::Dicom => "dicom",
            Self::Nifti => "nifti",
        }
    }
}

/// One synthetic picture and its truth; all planes have one size.
#[derive(Clone, Debug)]
pub struct Phantom {
    /// Film or CT slice.
    pub modality: Modality,
    /// Whether there are lesions.
    pub positive: bool,
    /// The seed that makes this phantom again.
    pub seed: u64,
    /// Grey values 0 (black) to 1 (white), dense is bright, the words `SYNTHETIC PHANTOM` burned in.
    pub picture: Plane<f32>,
    /// Hounsfield units of a CT slice, nothing burned in.
    pub hounsfield: Option<Plane<f32>>,
    /// Where there is infection; always inside a lung.
    pub infection: Plane<bool>,
    /// The patient's left lung, on the right of the picture; of a film what heart and diaphragm leave visible.
    pub left_lung: Plane<bool>,
    /// The patient's right lung, on the left of the picture.
    pub right_lung: Plane<bool>,
    /// Width and height of a pixel.
    pub pixel_spacing_mm: f32,
    /// Height of a CT slice over the tracheal carina.
    pub slice_height_mm: f32,
}

impl Phantom {
    /// Makes the phantom of `seed`, `size` x `size` pixels.
    pub fn generate(modality: Modality, seed: u64, size: usize, positive: bool) -> Self {
        match modality {
            Modality::Xray => {
                let film = film::simulate(seed, size, positive);
                Self {
                    modality,
                    positive,
                    seed,
                    picture: film.picture,
                    hounsfield: None,
                    infection: film.infection,
                    left_lung: film.left_lung,
                    right_lung: film.right_lung,
                    pixel_spacing_mm: 10.0 * film::DETECTOR_CM / size as f32,
                    slice_height_mm: 0.0,
                }
            }
            Modality::Ct => {
                let patient = ct::Patient::random(seed, positive);
                Self::slice(&patient, seed, size, positive, patient.key_height)
            }
        }
    }

    /// Makes the CT volume whose middle slice is [`Self::generate`]'s: slices from below upward, 5 mm apart.
    pub fn generate_volume(seed: u64, size: usize, positive: bool) -> Vec<Self> {
        let patient = ct::Patient::random(seed, positive);
        let middle = (VOLUME_SLICES / 2) as f32;
        let height = |slice: usize| patient.key_height + SLICE_SPACING_CM * (slice as f32 - middle);
        (0..VOLUME_SLICES).map(|slice| Self::slice(&patient, seed, size, positive, height(slice))).collect()
    }

    /// What a device decodes of it: a film of 16 bits, a slice in Hounsfield units.
    pub fn pixels(&self) -> Pixels {
        match &self.hounsfield {
            Some(hounsfield) => Pixels::Hounsfield(hounsfield.map(|hu| hu.round() as i16)),
            None => Pixels::Sixteen(self.picture.map(|value| (value * 65535.0).round() as u16)),
        }
    }

    fn slice(patient: &ct::Patient, seed: u64, size: usize, positive: bool, height: f32) -> Self {
        let slice = patient.slice(height, size);
        let lowest = WINDOW_CENTRE_HU - WINDOW_WIDTH_HU / 2.0;
        let mut picture = slice.hounsfield.map(|hu| ((hu - lowest) / WINDOW_WIDTH_HU).clamp(0.0, 1.0));
        canvas::write_notice(&mut picture);
        Self {
            modality: Modality::Ct,
            positive,
            seed,
            picture,
            hounsfield: Some(slice.hounsfield),
            infection: slice.infection,
            left_lung: slice.left_lung,
            right_lung: slice.right_lung,
            pixel_spacing_mm: 10.0 * patient.field_of_view / size as f32,
            slice_height_mm: 10.0 * height,
        }
    }
}

/// One line of `phantoms.csv`: a picture file and the truth about it. Paths are relative to the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The picture.
    pub file: String,
    /// `png`, `png16`, `dicom` or `nifti`.
    pub format: String,
    /// `xray` or `ct`.
    pub modality: Modality,
    /// `positive` or `negative`.
    pub label: String,
    /// The seed of this one phantom.
    pub seed: u64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1, or the slices of a volume.
    pub slices: usize,
    /// Width and height of a pixel.
    pub pixel_spacing_mm: f32,
    /// Pixels (voxels) of infection.
    pub lesion_pixels: usize,
    /// Pixels (voxels) of the patient's left lung.
    pub left_lung_pixels: usize,
    /// Pixels (voxels) of the patient's right lung.
    pub right_lung_pixels: usize,
    /// Infection as a part of both lungs.
    pub involvement_percent: f64,
    /// The mask of the infection.
    pub infection_mask: String,
    /// The mask of the patient's left lung.
    pub left_lung_mask: String,
    /// The mask of the patient's right lung.
    pub right_lung_mask: String,
}

/// Writes all files and the table, and returns the table.
///
/// # Errors
/// [`PhantomError`] naming the file that could not be written.
pub fn generate_files(args: &PhantomArgs) -> Result<Vec<Truth>, PhantomError> {
    let modalities: &[Modality] = match args.modality {
        ModalityChoice::Xray => &[Modality::Xray],
        ModalityChoice::Ct => &[Modality::Ct],
        ModalityChoice::Both => &Modality::ALL,
    };
    let jobs: Vec<(Modality, usize)> =
        modalities.iter().flat_map(|modality| (0..args.count).map(|index| (*modality, index))).collect();
    let style =
        ProgressStyle::with_template("phantoms {wide_bar} {pos}/{len} {eta}").unwrap_or(ProgressStyle::default_bar());
    let bar = ProgressBar::new(jobs.len() as u64).with_style(style);
    let truths: Result<Vec<Vec<Truth>>, PhantomError> = jobs
        .into_par_iter()
        .map(|(modality, index)| write_phantom(args, modality, index).inspect(|_| bar.inc(1)))
        .collect();
    bar.finish_and_clear();
    let truths: Vec<Truth> = truths?.into_iter().flatten().collect();
    write_table(&args.out.join("phantoms.csv"), &truths)?;
    Ok(truths)
}

fn write_table(path: &Path, truths: &[Truth]) -> Result<(), PhantomError> {
    let failed = |reason| PhantomError::Table { path: path.to_owned(), reason };
    let mut table = csv::Writer::from_writer(Vec::new());
    truths.iter().try_for_each(|truth| table.serialize(truth)).map_err(failed)?;
    let bytes = table.into_inner().map_err(|error| failed(error.into_error().into()))?;
    Ok(write_atomically(path, |out| out.write_all(&bytes))?)
}

/// Writes one phantom in all formats asked for.
fn write_phantom(args: &PhantomArgs, modality: Modality, index: usize) -> Result<Vec<Truth>, PhantomError> {
    let positive = index.is_multiple_of(2);
    let seed = phantom_seed(args.seed, modality, index);
    let size = args.size.map_or(if modality == Modality::Xray { 1024 } else { 512 }, usize::from);
    let stem = format!("phantom_{modality}_{index:04}_{}", if positive { "positive" } else { "negative" });
    let wants = |format| args.formats.contains(&format);
    let at = |name: &str| args.out.join(name);

    let volume = if modality == Modality::Ct && wants(Format::Nifti) {
        Phantom::generate_volume(seed, size, positive)
    } else {
        Vec::new()
    };
    let phantom = match volume.get(VOLUME_SLICES / 2) {
        Some(middle) => middle.clone(),
        None => Phantom::generate(modality, seed, size, positive),
    };

    let mask_names = |extension: &str| {
        ["infection", "left_lung", "right_lung"].map(|what| format!("masks/{stem}_{what}.{extension}"))
    };
    let mut truths = Vec::new();
    let pictures = [
        (Format::Png, format!("{stem}.png")),
        (Format::Png16, format!("{stem}_16bit.png")),
        (Format::Dicom, format!("{stem}.dcm")),
        (Format::Dicom, format!("{stem}_monochrome1.dcm")),
    ];
    let planar: Vec<_> = pictures
        .into_iter()
        .filter(|(format, name)| wants(*format) && !(modality == Modality::Ct && name.ends_with("_monochrome1.dcm")))
        .collect();
    if !planar.is_empty() {
        let names = mask_names("png");
        for (name, mask) in names.iter().zip([&phantom.infection, &phantom.left_lung, &phantom.right_lung]) {
            write::mask_png(&at(name), mask, seed)?;
        }
        for (format, name) in planar {
            let path = at(&name);
            match format {
                Format::Png16 => write::png16(&path, &phantom)?,
                Format::Dicom => write::dicom(&path, &phantom, name.ends_with("_monochrome1.dcm"))?,
                Format::Png | Format::Nifti => write::png8(&path, &phantom)?,
            }
            truths.push(truth(name, format, std::slice::from_ref(&phantom), &names));
        }
    }
    if !volume.is_empty() {
        let names = mask_names("nii.gz");
        let masks: [fn(&Phantom) -> &Plane<bool>; 3] = [|p| &p.infection, |p| &p.left_lung, |p| &p.right_lung];
        for (name, mask) in names.iter().zip(masks) {
            write::nifti_mask(&at(name), &volume, mask)?;
        }
        let name = format!("{stem}.nii.gz");
        write::nifti(&at(&name), &volume)?;
        truths.push(truth(name, Format::Nifti, &volume, &names));
    }
    Ok(truths)
}

fn truth(file: String, format: Format, slices: &[Phantom], masks: &[String; 3]) -> Truth {
    let count = |mask: fn(&Phantom) -> &Plane<bool>| -> usize {
        slices.iter().map(|slice| mask(slice).data().iter().filter(|inside| **inside).count()).sum()
    };
    let (lesion, left, right) = (count(|p| &p.infection), count(|p| &p.left_lung), count(|p| &p.right_lung));
    let first = &slices[0];
    Truth {
        file,
        format: format.as_str().to_owned(),
        modality: first.modality,
        label: if first.positive { "positive" } else { "negative" }.to_owned(),
        seed: first.seed,
        width: first.picture.width(),
        height: first.picture.height(),
        slices: slices.len(),
        pixel_spacing_mm: first.pixel_spacing_mm,
        lesion_pixels: lesion,
        left_lung_pixels: left,
        right_lung_pixels: right,
        involvement_percent: if left + right == 0 { 0.0 } else { 100.0 * lesion as f64 / (left + right) as f64 },
        infection_mask: masks[0].clone(),
        left_lung_mask: masks[1].clone(),
        right_lung_mask: masks[2].clone(),
    }
}

/// A seed for each phantom, far from its neighbours' (the mixing step of SplitMix64, Steele et al. 2014).
fn phantom_seed(seed: u64, modality: Modality, index: usize) -> u64 {
    let stream = if modality == Modality::Xray { 1 } else { 2 };
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add((index as u64) << 2 | stream);
    for factor in [0xBF58_476D_1CE4_E5B9_u64, 0x94D0_49BB_1331_11EB] {
        z = (z ^ (z >> 30)).wrapping_mul(factor);
    }
    z ^ (z >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(all_files(&path));
            } else {
                files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
        files
    }

    fn args(out: &Path, seed: u64) -> PhantomArgs {
        PhantomArgs {
            out: out.to_owned(),
            count: 2,
            seed,
            modality: ModalityChoice::Both,
            size: Some(96),
            formats: vec![Format::Png, Format::Png16, Format::Dicom, Format::Nifti],
        }
    }

    #[test]
    fn the_same_seed_writes_the_same_bytes_and_another_seed_others() {
        let [a, b, c] = [5, 5, 6].map(|seed| {
            let folder = tempfile::tempdir().unwrap();
            generate_files(&args(folder.path(), seed)).unwrap();
            all_files(folder.path())
        });
        // Films: 4 pictures and 3 masks; CT: 4 pictures and 6 masks; two of each, and the table.
        assert_eq!(a.len(), 2 * (7 + 10) + 1, "{:?}", a.keys());
        assert_eq!(a, b);
        assert!(
            a.iter()
                .filter(|(name, _)| name.ends_with(".png") && !name.contains("infection"))
                .all(|(name, bytes)| c[name] != *bytes)
        );
        for (name, bytes) in &a {
            let says_so = |bytes: &[u8]| bytes.windows(NOTICE.len()).any(|part| part == NOTICE.as_bytes());
            if name.ends_with(".png") || name.ends_with(".dcm") {
                assert!(says_so(bytes), "{name} does not say that it is synthetic");
            }
        }
    }

    #[test]
    fn lesions_lie_in_lungs_and_only_in_positives() {
        for (modality, seed) in Modality::ALL.into_iter().flat_map(|m| (0..6).map(move |s| (m, s))) {
            for positive in [false, true] {
                let phantom = Phantom::generate(modality, seed, 160, positive);
                let lesion = phantom.infection.data().iter().filter(|x| **x).count();
                let lung = |i: usize| phantom.left_lung.data()[i] || phantom.right_lung.data()[i];
                let lungs = (0..160 * 160).filter(|i| lung(*i)).count();
                assert!(lungs > 160 * 160 / 10, "{modality} {seed}: {lungs} pixels of lung");
                assert_eq!(lesion > 0, positive, "{modality} {seed}");
                assert!(!positive || lesion * 100 > lungs, "{modality} {seed}: {lesion} of {lungs} pixels");
                assert!((0..160 * 160).all(|i| !phantom.infection.data()[i] || lung(i)), "{modality} {seed}");
                assert!((0..160 * 160).all(|i| !(phantom.left_lung.data()[i] && phantom.right_lung.data()[i])));
            }
        }
    }

    #[test]
    fn lesions_brighten_the_picture() {
        for modality in Modality::ALL {
            let phantom = Phantom::generate(modality, 4, 256, true);
            let mean = |wanted: bool| {
                let values: Vec<f32> = (0..256 * 256)
                    .filter(|i| phantom.left_lung.data()[*i] || phantom.right_lung.data()[*i])
                    .filter(|i| phantom.infection.data()[*i] == wanted)
                    .map(|i| phantom.picture.data()[i])
                    .collect();
                values.iter().sum::<f32>() / values.len() as f32
            };
            assert!(mean(true) > mean(false) + 0.1, "{modality}: {} {}", mean(true), mean(false));
        }
    }

    #[test]
    fn the_patients_left_lung_is_on_the_right_and_smaller_for_the_heart() {
        for modality in Modality::ALL {
            let phantom = Phantom::generate(modality, 8, 192, false);
            let mean_column = |mask: &Plane<bool>| {
                let columns: Vec<usize> = (0..192 * 192).filter(|i| mask.data()[*i]).map(|i| i % 192).collect();
                (columns.iter().sum::<usize>() as f32 / columns.len() as f32, columns.len())
            };
            let (left, left_area) = mean_column(&phantom.left_lung);
            let (right, right_area) = mean_column(&phantom.right_lung);
            assert!(left > 96.0 && right < 96.0, "{modality}: left {left}, right {right}");
            assert!(left_area < right_area, "{modality}: left {left_area}, right {right_area}");
        }
    }

    #[test]
    fn the_table_below_a_ct_slice_and_its_air_above_are_where_they_should_be() {
        let phantom = Phantom::generate(Modality::Ct, 3, 128, false);
        let hounsfield = phantom.hounsfield.unwrap();
        assert!(hounsfield.data().iter().all(|hu| (-1024.0..=3071.0).contains(hu)));
        let soft = |rows: std::ops::Range<usize>| {
            rows.flat_map(|y| (0..128).map(move |x| (x, y))).filter(|(x, y)| hounsfield.get(*x, *y) > -300.0).count()
        };
        assert!(soft(0..8) < soft(108..128), "the table is at the bottom: {} {}", soft(0..8), soft(108..128));
    }
}
