//! Phantoms as files: PNG, DICOM and NIfTI-1.

use std::{
    io::{self, Write},
    path::Path,
};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use flate2::{Compression, Crc, write::GzEncoder};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use sha2::{Digest, Sha256};
use thorax_files::write_atomically;
use thorax_shared::{modality::Modality, plane::Plane};

use super::{NOTICE, Phantom, PhantomError, SLICE_SPACING_CM, WINDOW_CENTRE_HU, WINDOW_WIDTH_HU};

/// Writes the picture as an 8-bit grey PNG.
///
/// # Errors
/// [`PhantomError`] naming the file.
pub fn png8(path: &Path, phantom: &Phantom) -> Result<(), PhantomError> {
    let pixels: Vec<u8> = phantom.picture.data().iter().map(|value| (value * 255.0).round() as u8).collect();
    png(path, &phantom.picture, &pixels, ExtendedColorType::L8, phantom.seed)
}

/// Writes the picture as a 16-bit grey PNG, using the whole range.
pub(super) fn png16(path: &Path, phantom: &Phantom) -> Result<(), PhantomError> {
    // The encoder takes 16-bit samples in the machine's own byte order.
    let pixels: Vec<u8> =
        phantom.picture.data().iter().flat_map(|value| ((value * 65535.0).round() as u16).to_ne_bytes()).collect();
    png(path, &phantom.picture, &pixels, ExtendedColorType::L16, phantom.seed)
}

/// Writes a mask as an 8-bit PNG of 0 and 255.
///
/// # Errors
/// [`PhantomError`] naming the file.
pub fn mask_png(path: &Path, mask: &Plane<bool>, seed: u64) -> Result<(), PhantomError> {
    let pixels: Vec<u8> = mask.data().iter().map(|inside| u8::from(*inside) * 255).collect();
    png(path, mask, &pixels, ExtendedColorType::L8, seed)
}

fn png<T: Copy>(
    path: &Path,
    plane: &Plane<T>,
    pixels: &[u8],
    colour: ExtendedColorType,
    seed: u64,
) -> Result<(), PhantomError> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(pixels, plane.width() as u32, plane.height() as u32, colour)
        .map_err(|reason| PhantomError::Png { path: path.to_owned(), reason })?;
    let text = text_chunk("Comment", &format!("{NOTICE}, seed {seed}; no patient; not for diagnosis"));
    // The signature (8 bytes) and the header chunk (25) come first; text may follow anywhere after.
    let (head, tail) = bytes.split_at(33);
    Ok(write_atomically(path, |out| {
        out.write_all(head)?;
        out.write_all(&text)?;
        out.write_all(tail)
    })?)
}

/// A PNG `tEXt` chunk (PNG specification, third edition, 11.3.3.2).
fn text_chunk(keyword: &str, text: &str) -> Vec<u8> {
    let body = [b"tEXt", keyword.as_bytes(), b"\0", text.as_bytes()].concat();
    let mut crc = Crc::new();
    crc.update(&body);
    let length = (body.len() - 4) as u32;
    [&length.to_be_bytes(), body.as_slice(), &crc.sum().to_be_bytes()].concat()
}

/// A UID under 2.25, the arc of UUIDs (DICOM PS3.5 B.2), the same for the same seed and role.
fn uid(seed: u64, role: &str) -> String {
    let digest = Sha256::digest(format!("thorax phantom {seed} {role}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80; // version 8, free form (RFC 9562)
    bytes[8] = bytes[8] & 0x3F | 0x80; // variant
    format!("2.25.{}", u128::from_be_bytes(bytes))
}

/// Writes a CR or CT image: Explicit VR Little Endian, 12 bits stored.
///
/// `inverted` writes a film as MONOCHROME1 (0 is white).
///
/// # Errors
/// [`PhantomError`] naming the file.
pub fn dicom(path: &Path, phantom: &Phantom, inverted: bool) -> Result<(), PhantomError> {
    let failed = |reason: String| PhantomError::Dicom { path: path.to_owned(), reason };
    let class = match phantom.modality {
        Modality::Xray => uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
        Modality::Ct => uids::CT_IMAGE_STORAGE,
    };
    let instance = uid(phantom.seed, if inverted { "instance MONOCHROME1" } else { "instance" });
    let mut object = dataset(phantom, inverted);
    for (tag, value) in [(tags::SOP_CLASS_UID, class), (tags::SOP_INSTANCE_UID, instance.as_str())] {
        object.put(DataElement::new(tag, VR::UI, value));
    }
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance);
    let file = object.with_meta(meta).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|error| failed(error.to_string()))?;
    Ok(write_atomically(path, |out| out.write_all(&bytes))?)
}

fn dataset(phantom: &Phantom, inverted: bool) -> InMemDicomObject {
    let ct = phantom.hounsfield.as_ref();
    let seed = phantom.seed;
    let spacing = decimal(phantom.pixel_spacing_mm);
    let mut object = InMemDicomObject::new_empty();
    let mut put = |tag: Tag, vr: VR, value: &str| {
        object.put(DataElement::new(tag, vr, value));
    };

    put(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
    put(tags::STUDY_DATE, VR::DA, "20200101");
    put(tags::CONTENT_DATE, VR::DA, "20200101");
    put(tags::STUDY_TIME, VR::TM, "120000");
    put(tags::CONTENT_TIME, VR::TM, "120000");
    put(tags::ACCESSION_NUMBER, VR::SH, "");
    put(tags::MODALITY, VR::CS, if ct.is_some() { "CT" } else { "CR" });
    put(tags::MANUFACTURER, VR::LO, "Thorax");
    put(tags::MANUFACTURER_MODEL_NAME, VR::LO, NOTICE);
    put(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "");
    put(tags::SERIES_DESCRIPTION, VR::LO, NOTICE);
    put(tags::PATIENT_NAME, VR::PN, "PHANTOM^SYNTHETIC");
    put(tags::PATIENT_ID, VR::LO, &format!("PHANTOM-{seed:016X}"));
    put(tags::PATIENT_BIRTH_DATE, VR::DA, "");
    put(tags::PATIENT_SEX, VR::CS, "O");
    put(tags::QUALITY_CONTROL_SUBJECT, VR::CS, "YES");
    put(tags::BODY_PART_EXAMINED, VR::CS, "CHEST");
    put(tags::STUDY_INSTANCE_UID, VR::UI, &uid(seed, "study"));
    put(tags::SERIES_INSTANCE_UID, VR::UI, &uid(seed, if inverted { "series MONOCHROME1" } else { "series" }));
    put(tags::STUDY_ID, VR::SH, "PHANTOM");
    put(tags::SERIES_NUMBER, VR::IS, if inverted { "2" } else { "1" });
    put(tags::INSTANCE_NUMBER, VR::IS, "1");
    put(tags::IMAGE_COMMENTS, VR::LT, &format!("{NOTICE}, seed {seed}; no patient; not for diagnosis"));
    put(tags::BURNED_IN_ANNOTATION, VR::CS, if ct.is_some() { "NO" } else { "YES" });
    put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, if inverted { "MONOCHROME1" } else { "MONOCHROME2" });

    if ct.is_some() {
        let corner = decimal(-phantom.pixel_spacing_mm * (phantom.picture.width() as f32 - 1.0) / 2.0);
        put(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL");
        put(tags::ACQUISITION_NUMBER, VR::IS, "1");
        put(tags::KVP, VR::DS, "120");
        put(tags::SLICE_THICKNESS, VR::DS, "1.5");
        put(tags::PATIENT_POSITION, VR::CS, "HFS");
        put(tags::FRAME_OF_REFERENCE_UID, VR::UI, &uid(seed, "frame of reference"));
        put(tags::POSITION_REFERENCE_INDICATOR, VR::LO, "");
        put(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("{corner}\\{corner}\\{}", decimal(phantom.slice_height_mm)));
        put(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
        put(tags::SLICE_LOCATION, VR::DS, &decimal(phantom.slice_height_mm));
        put(tags::PIXEL_SPACING, VR::DS, &format!("{spacing}\\{spacing}"));
        put(tags::RESCALE_INTERCEPT, VR::DS, "-1024");
        put(tags::RESCALE_SLOPE, VR::DS, "1");
        put(tags::RESCALE_TYPE, VR::LO, "HU");
        put(tags::WINDOW_CENTER, VR::DS, &WINDOW_CENTRE_HU.to_string());
        put(tags::WINDOW_WIDTH, VR::DS, &WINDOW_WIDTH_HU.to_string());
    } else {
        put(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY");
        put(tags::KVP, VR::DS, "120");
        put(tags::VIEW_POSITION, VR::CS, "PA");
        put(tags::PATIENT_ORIENTATION, VR::CS, "L\\F");
        put(tags::IMAGER_PIXEL_SPACING, VR::DS, &format!("{spacing}\\{spacing}"));
        put(tags::WINDOW_CENTER, VR::DS, "2048");
        put(tags::WINDOW_WIDTH, VR::DS, "4096");
    }

    let mut put_number = |tag: Tag, value: u16| {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    };
    put_number(tags::SAMPLES_PER_PIXEL, 1);
    put_number(tags::ROWS, phantom.picture.height() as u16);
    put_number(tags::COLUMNS, phantom.picture.width() as u16);
    put_number(tags::BITS_ALLOCATED, 16);
    put_number(tags::BITS_STORED, 12);
    put_number(tags::HIGH_BIT, 11);
    put_number(tags::PIXEL_REPRESENTATION, 0);

    let pixels: Vec<u16> = match ct {
        Some(hounsfield) => {
            hounsfield.data().iter().map(|hu| (hu.round() + 1024.0).clamp(0.0, 4095.0) as u16).collect()
        }
        None => {
            let stored = |value: &f32| (value * 4095.0).round() as u16;
            phantom
                .picture
                .data()
                .iter()
                .map(|value| if inverted { 4095 - stored(value) } else { stored(value) })
                .collect()
        }
    };
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
    object
}

/// A number as a decimal string of at most 16 characters.
fn decimal(value: f32) -> String {
    format!("{value:.5}")
}

/// Writes the volume's Hounsfield units as 16-bit NIfTI-1, gzipped where `path` ends so.
///
/// # Errors
/// [`PhantomError`] naming the file.
pub fn nifti(path: &Path, slices: &[Phantom]) -> Result<(), PhantomError> {
    const INT16: i16 = 4;
    let voxels = slices.iter().filter_map(|slice| slice.hounsfield.as_ref()).flat_map(|plane| plane.data());
    let bytes: Vec<u8> = voxels.flat_map(|hu| (hu.round() as i16).to_le_bytes()).collect();
    write_nifti(path, slices, INT16, &bytes)
}

/// Writes one mask of the volume as 8-bit NIfTI-1 of 0 and 1.
pub(super) fn nifti_mask(
    path: &Path,
    slices: &[Phantom],
    mask: fn(&Phantom) -> &Plane<bool>,
) -> Result<(), PhantomError> {
    labels(path, slices, |slice, pixel| u8::from(mask(slice).data()[pixel]))
}

/// Writes what `label` says of each pixel of each slice as 8-bit NIfTI-1, gzipped where `path` ends so.
///
/// # Errors
/// [`PhantomError`] naming the file.
pub fn labels(path: &Path, slices: &[Phantom], label: impl Fn(&Phantom, usize) -> u8) -> Result<(), PhantomError> {
    const UINT8: i16 = 2;
    let of = |slice: &Phantom| (0..slice.picture.data().len()).map(|pixel| label(slice, pixel)).collect::<Vec<u8>>();
    let bytes: Vec<u8> = slices.iter().flat_map(of).collect();
    write_nifti(path, slices, UINT8, &bytes)
}

fn write_nifti(path: &Path, slices: &[Phantom], datatype: i16, voxels: &[u8]) -> Result<(), PhantomError> {
    let Some(first) = slices.first() else { return Ok(()) };
    let header = nifti_header(first, slices.len(), datatype);
    if path.extension().is_none_or(|ending| ending != "gz") {
        return Ok(write_atomically(path, |out| {
            out.write_all(&header)?;
            out.write_all(voxels)
        })?);
    }
    Ok(write_atomically(path, |out| -> io::Result<()> {
        let mut gzip = GzEncoder::new(out, Compression::default());
        gzip.write_all(&header)?;
        gzip.write_all(voxels)?;
        gzip.finish()?.flush()
    })?)
}

/// The 348 bytes of a NIfTI-1 header (nifti1.h) and the four zeros that say that no extension follows.
///
/// Columns run to the patient's left, rows to the back, slices up, so that the affine to NIfTI's right-anterior-superior
/// millimetres is diag(-spacing, -spacing, +5).
fn nifti_header(first: &Phantom, slices: usize, datatype: i16) -> Vec<u8> {
    let mut header = vec![0_u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let spacing = first.pixel_spacing_mm;
    let (width, height) = (first.picture.width(), first.picture.height());
    let step = 10.0 * SLICE_SPACING_CM;
    let origin = [spacing * (width as f32 - 1.0) / 2.0, spacing * (height as f32 - 1.0) / 2.0, first.slice_height_mm];

    put(0, &348_i32.to_le_bytes()); // sizeof_hdr
    for (i, dim) in [3, width as i16, height as i16, slices as i16, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &dim.to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &(if datatype == 4 { 16_i16 } else { 8 }).to_le_bytes()); // bitpix
    for (i, pixdim) in [1.0, spacing, spacing, step].into_iter().enumerate() {
        put(76 + 4 * i, &pixdim.to_le_bytes());
    }
    put(108, &352_f32.to_le_bytes()); // vox_offset
    put(112, &1_f32.to_le_bytes()); // scl_slope
    put(123, &[2]); // xyzt_units: mm
    put(148, NOTICE.as_bytes()); // descrip
    put(252, &1_i16.to_le_bytes()); // qform_code: scanner
    put(254, &1_i16.to_le_bytes()); // sform_code: scanner
    // Half a turn about z: quaternion (0, 0, 0, 1).
    for (i, value) in [0.0, 0.0, 1.0, origin[0], origin[1], origin[2]].into_iter().enumerate() {
        put(256 + 4 * i, &value.to_le_bytes());
    }
    let affine = [[-spacing, 0.0, 0.0, origin[0]], [0.0, -spacing, 0.0, origin[1]], [0.0, 0.0, step, origin[2]]];
    for (i, value) in affine.into_iter().flatten().enumerate() {
        put(280 + 4 * i, &value.to_le_bytes());
    }
    put(344, b"n+1\0"); // magic
    header
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pngs_decode_to_what_was_written_and_keep_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let phantom = Phantom::generate(Modality::Ct, 1, 64, true);
        let (eight, sixteen) = (folder.path().join("8.png"), folder.path().join("16.png"));
        png8(&eight, &phantom).unwrap();
        png16(&sixteen, &phantom).unwrap();
        let image::DynamicImage::ImageLuma8(eight) = image::open(eight).unwrap() else { panic!("not 8-bit grey") };
        let image::DynamicImage::ImageLuma16(sixteen) = image::open(sixteen).unwrap() else {
            panic!("not 16-bit grey")
        };
        for (i, value) in phantom.picture.data().iter().enumerate() {
            assert_eq!(eight.as_raw()[i], (value * 255.0).round() as u8);
            assert_eq!(sixteen.as_raw()[i], (value * 65535.0).round() as u16);
        }
    }

    #[test]
    fn dicom_files_read_back_and_monochrome1_is_the_negative() {
        let folder = tempfile::tempdir().unwrap();
        let film = Phantom::generate(Modality::Xray, 1, 64, true);
        let pixels = |inverted: bool| {
            let path = folder.path().join(format!("{inverted}.dcm"));
            dicom(&path, &film, inverted).unwrap();
            let object = dicom_object::open_file(&path).unwrap();
            assert_eq!(object.element(tags::PATIENT_NAME).unwrap().to_str().unwrap(), "PHANTOM^SYNTHETIC");
            let uid = object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned();
            assert!(uid.starts_with("2.25.") && uid.len() <= 64);
            (uid, object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap())
        };
        let ((uid2, normal), (uid1, inverted)) = (pixels(false), pixels(true));
        assert_ne!(uid1, uid2);
        assert!(normal.iter().zip(&inverted).all(|(a, b)| a + b == 4095));

        let slice = Phantom::generate(Modality::Ct, 1, 64, true);
        let path = folder.path().join("ct.dcm");
        dicom(&path, &slice, false).unwrap();
        let object = dicom_object::open_file(&path).unwrap();
        let stored = object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        for (stored, hu) in stored.iter().zip(slice.hounsfield.as_ref().unwrap().data()) {
            assert!((f32::from(*stored) - 1024.0 - hu).abs() <= 0.5);
        }
    }

    #[test]
    fn a_nifti_volume_has_the_size_its_header_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.nii.gz");
        let slices = Phantom::generate_volume(1, 64, true);
        nifti(&path, &slices).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 352 + 2 * 64 * 64 * slices.len());
        let last = slices.last().unwrap().hounsfield.as_ref().unwrap().data()[64 * 64 - 1].round() as i16;
        assert_eq!(bytes[bytes.len() - 2..], last.to_le_bytes());
    }

    #[test]
    fn uids_differ_by_seed_and_role() {
        assert_eq!(uid(1, "study"), uid(1, "study"));
        assert_ne!(uid(1, "study"), uid(2, "study"));
        assert_ne!(uid(1, "study"), uid(1, "series"));
    }
}
