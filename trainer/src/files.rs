//! How every file of the workstation comes into being: as on the device, whole or not at all.

use std::{io::Cursor, path::Path};

use image::{ImageBuffer, ImageFormat, PixelWithColorType};
use thorax_files::write_atomically;

/// Writes a PNG file.
///
/// # Errors
/// When it cannot be encoded or written.
pub fn write_png<P>(path: &Path, picture: &ImageBuffer<P, Vec<u8>>) -> anyhow::Result<()>
where
    P: PixelWithColorType<Subpixel = u8>,
{
    let mut png = Cursor::new(vec![]);
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(write_atomically(path, |out| out.write_all(png.get_ref()))?)
}
