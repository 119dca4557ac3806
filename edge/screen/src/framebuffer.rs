//! A panel in memory, and on its way into a PNG file.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

use embedded_graphics::{
    pixelcolor::{Rgb565, Rgb888},
    prelude::*,
};
use image::{ImageFormat, RgbImage};
use thorax_files::{WriteError, write_atomically};

/// A panel whose pixels can be read back; black at first.
#[derive(Clone, Debug, PartialEq)]
pub struct Framebuffer {
    size: Size,
    pixels: Vec<Rgb565>,
}

impl Framebuffer {
    /// A black panel of `size` pixels.
    pub fn new(size: Size) -> Self {
        Self { size, pixels: vec![Rgb565::BLACK; size.width as usize * size.height as usize] }
    }

    /// All pixels, row by row from the top left.
    pub fn pixels(&self) -> &[Rgb565] {
        &self.pixels
    }

    /// Makes it darker, for a dark room: `percent` of the light of each colour is left.
    pub fn dim(&mut self, percent: u8) {
        let percent = u32::from(percent.min(100));
        // At most what it was.
        let dimmed = |channel: u8| ((u32::from(channel) * percent + 50) / 100) as u8;
        for pixel in &mut self.pixels {
            *pixel = Rgb565::new(dimmed(pixel.r()), dimmed(pixel.g()), dimmed(pixel.b()));
        }
    }

    /// The panel with 8 bits a channel.
    pub fn to_image(&self) -> RgbImage {
        RgbImage::from_fn(self.size.width, self.size.height, |x, y| {
            let colour = Rgb888::from(self.pixels[y as usize * self.size.width as usize + x as usize]);
            image::Rgb([colour.r(), colour.g(), colour.b()])
        })
    }

    /// The panel as the bytes of a PNG file.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn png(&self) -> Result<Vec<u8>, image::ImageError> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        self.to_image().write_to(&mut bytes, ImageFormat::Png)?;
        Ok(bytes.into_inner())
    }

    /// Writes the panel as a PNG, first into a temporary file beside `path`: after a power cut there is the old file
    /// or the new one, never half of one.
    ///
    /// # Errors
    /// [`PngError`] when the folder is not there, is not writable or is full.
    pub fn write_png(&self, path: &Path) -> Result<(), PngError> {
        let bytes = self.png().map_err(|reason| PngError::Encode { path: path.to_owned(), reason })?;
        write_atomically(path, |out| out.write_all(&bytes))?;
        Ok(())
    }
}

impl OriginDimensions for Framebuffer {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Framebuffer {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else { continue };
            if x < self.size.width && y < self.size.height {
                self.pixels[y as usize * self.size.width as usize + x as usize] = colour;
            }
        }
        Ok(())
    }
}

/// A screen could not be written as a PNG file.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The picture cannot be encoded.
    #[error("cannot encode the screen for {}: {reason}; choose a smaller panel", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// What stood in the way.
        reason: image::ImageError,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Draws a screen onto a panel of `size` pixels and [writes](Framebuffer::write_png) it to `path`.
///
/// # Errors
/// [`PngError`] when the file cannot be written.
pub fn render_png(screen: &impl Drawable<Color = Rgb565>, size: Size, path: &Path) -> Result<(), PngError> {
    let mut framebuffer = Framebuffer::new(size);
    let Ok(_) = screen.draw(&mut framebuffer);
    framebuffer.write_png(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use embedded_graphics::primitives::Rectangle;

    use super::*;

    fn asymmetric() -> Framebuffer {
        let mut framebuffer = Framebuffer::new(Size::new(3, 2));
        framebuffer.fill_solid(&Rectangle::new(Point::new(2, 0), Size::new(9, 1)), Rgb565::RED).unwrap();
        framebuffer.fill_solid(&Rectangle::new(Point::new(-5, 1), Size::new(6, 9)), Rgb565::BLUE).unwrap();
        framebuffer
    }

    #[test]
    fn pixels_land_where_they_were_drawn_and_nowhere_else() {
        let (k, r, b) = (Rgb565::BLACK, Rgb565::RED, Rgb565::BLUE);
        assert_eq!(asymmetric().pixels(), [k, k, r, b, k, k]);
    }

    #[test]
    fn a_panel_is_dimmed_and_stays_as_it_is_in_full_light() {
        let mut panel = asymmetric();
        panel.dim(100);
        assert_eq!(panel, asymmetric());
        panel.dim(40);
        assert_eq!((panel.pixels()[2], panel.pixels()[3]), (Rgb565::new(12, 0, 0), Rgb565::new(0, 0, 12)));
    }

    #[test]
    fn a_png_holds_the_panel_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("screen.png");
        Framebuffer::new(Size::new(1, 1)).write_png(&path).unwrap();
        asymmetric().write_png(&path).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), asymmetric().to_image());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left behind");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "no folder").unwrap();
        let path = folder.path().join("file").join("screen.png");
        let error = asymmetric().write_png(&path).unwrap_err().to_string();
        assert!(error.contains("screen.png") && error.contains("check that the folder is writable"), "{error}");
    }
}
