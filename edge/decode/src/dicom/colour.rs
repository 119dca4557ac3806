//! Colours of a DICOM picture as red, green and blue of 8 bits. Films have none, but what writers make of one may be stored so.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use image::RgbImage;

use super::{
    damaged,
    dataset::DataSet,
    pixels::{Layout, Samples, unsupported},
};
use crate::DecodeError;

/// The colour picture that `samples` are, where their photometric interpretation is one of colours.
pub(super) fn rgb(data: &DataSet<'_>, layout: &Layout, samples: &Samples) -> Result<Option<RgbImage>, DecodeError> {
    let full = f32::from(((1u32 << layout.bits_stored) - 1) as u16);
    let pixels = |rgb_of: fn([f32; 3]) -> [f32; 3]| -> Vec<u8> {
        let pixels = samples.codes.as_chunks::<3>().0.iter();
        pixels
            .flat_map(|pixel| {
                rgb_of(pixel.map(|code| f32::from(code) / full * 255.0)).map(|channel| channel.round() as u8)
            })
            .collect()
    };
    let rgb = match (samples.photometric.as_str(), samples.channels) {
        // Only decoders undo these transforms, which are nothing without them.
        ("RGB" | "YBR_ICT" | "YBR_RCT", 3) => pixels(|rgb| rgb),
        ("YBR_FULL" | "YBR_FULL_422", 3) => pixels(rgb_of_ybr),
        ("PALETTE COLOR", 1) => {
            let [red, green, blue] = [0, 1, 2].map(|channel| Palette::read(data, channel));
            let (red, green, blue) = (red?, green?, blue?);
            let colour = |&code: &u16| {
                let stored = layout.stored_value(code);
                [red.apply(stored), green.apply(stored), blue.apply(stored)]
            };
            samples.codes.iter().flat_map(colour).collect()
        }
        _ => return Ok(None),
    };
    RgbImage::from_raw(layout.columns.into(), layout.rows.into(), rgb)
        .map(Some)
        .ok_or_else(|| damaged("too few colour samples".into()))
}

/// ITU-R BT.601 at full range, as PS3.3, C.7.6.3.1.2 has it.
fn rgb_of_ybr([luma, blue, red]: [f32; 3]) -> [f32; 3] {
    let (blue, red) = (blue - 128.0, red - 128.0);
    [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue]
}

/// The look-up table of a channel (PS3.3, C.7.6.3.1.5 and C.7.6.3.1.6).
struct Palette {
    first: i32,
    entries: Vec<u8>,
}

impl Palette {
    /// Descriptor, entries, and segmented entries, which are not read, of red, green and blue.
    const TAGS: [[Tag; 3]; 3] = [
        [
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        ],
        [
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        ],
        [
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        ],
    ];

    fn read(data: &DataSet<'_>, channel: usize) -> Result<Self, DecodeError> {
        let broken = || damaged("a palette contradicts its descriptor".into());
        let [descriptor, entries, segmented] = Self::TAGS[channel].map(|tag| data.get(tag));
        let Some(entries) = entries else {
            return Err(match segmented {
                Some(_) => unsupported("a segmented palette".into()),
                None => damaged("PALETTE COLOR without a palette".into()),
            });
        };
        let [length, first, bits] = descriptor.ok_or_else(broken)?.words().try_into().map_err(|_| broken())?;
        let length = if length == 0 { 65536 } else { usize::from(length) };
        let words = entries.words();
        // Entries of 8 bits lie two in a word, or one; those of 16 bits are shown by their upper half.
        let entries: Vec<u8> = match () {
            () if bits <= 8 && words.len() < length => entries.bytes().to_vec(),
            () if bits <= 8 => words.into_iter().map(|word| word as u8).collect(),
            () => words.into_iter().map(|word| (word >> 8) as u8).collect(),
        };
        let entries = entries.get(..length).ok_or_else(broken)?.to_vec();
        Ok(Self { first: i32::from(first as i16), entries })
    }

    /// The entry of a stored value; those below and above the table have its ends.
    fn apply(&self, stored: i32) -> u8 {
        let last = self.entries.len() - 1;
        self.entries[usize::try_from(stored - self.first).unwrap_or(0).min(last)]
    }
}
