//! The picture and what may be laid over it, apart, for those who switch overlays on and off.
//!
//! Each is an image of the same size, at most as large as a tablet shows; overlays are transparent where there is nothing. They are
//! shrunk and coloured as on the panel, so that a tablet shows no more and no less infection than the screen does.

use embedded_graphics::prelude::Size;
use image::{DynamicImage, GrayImage, ImageFormat, Rgba, RgbaImage};

use super::{
    palette,
    picture::{Overlaid, Shrunk, heat_cover, infection_opacity, is_outline},
};

/// No side is longer, in pixels.
const MOST_SIDE: usize = 1024;

impl Overlaid<'_> {
    /// PNG files by what they are: `picture`, and `heat`, `lungs`, `infection` where there are such.
    ///
    /// # Errors
    /// When one cannot be encoded.
    pub fn png(&self) -> Result<Vec<(&'static str, Vec<u8>)>, image::ImageError> {
        let size = self.tablet_size();
        let Shrunk { grey, heat, infection, lungs } = self.shrunk(size);
        let picture =
            GrayImage::from_fn(size.width, size.height, |x, y| [(grey.get(x as usize, y as usize) + 0.5) as u8].into());
        let overlay = |cover: &dyn Fn(usize, usize) -> ([f32; 3], f32)| {
            let pixel = |x: u32, y: u32| {
                let ([red, green, blue], opacity) = cover(x as usize, y as usize);
                Rgba([red, green, blue, 255.0 * opacity].map(|channel| (channel + 0.5) as u8))
            };
            DynamicImage::from(RgbaImage::from_fn(size.width, size.height, pixel))
        };
        let mut made = vec![("picture", DynamicImage::from(picture))];
        made.extend(heat.map(|heat| ("heat", overlay(&|x, y| heat_cover(heat.get(x, y))))));
        made.extend(lungs.map(|lungs| {
            let cover = |x, y| (palette::LUNG.map(f32::from), f32::from(u8::from(is_outline(&lungs, x, y))));
            ("lungs", overlay(&cover))
        }));
        made.extend(infection.map(|infection| {
            let cover = |x, y| (palette::INFECTION.map(f32::from), infection_opacity(&infection, x, y));
            ("infection", overlay(&cover))
        }));
        let encode = |(what, image): (&'static str, DynamicImage)| {
            let mut file = std::io::Cursor::new(vec![]);
            image.write_to(&mut file, ImageFormat::Png)?;
            Ok((what, file.into_inner()))
        };
        made.into_iter().map(encode).collect()
    }

    /// The picture's own size, or a smaller one of its proportions.
    fn tablet_size(&self) -> Size {
        let (width, height) = (self.picture.width().max(1), self.picture.height().max(1));
        let longest = width.max(height);
        let shrunk = |side: usize| match longest > MOST_SIDE {
            true => (side * MOST_SIDE / longest).max(1) as u32,
            false => side as u32,
        };
        Size::new(shrunk(width), shrunk(height))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use thorax_shared::plane::Plane;

    fn read(png: &[u8]) -> RgbaImage {
        image::load_from_memory(png).unwrap().to_rgba8()
    }

    #[test]
    fn layers_have_one_size_and_nothing_where_nothing_is() {
        let picture = Plane::from_fn(2000, 1000, |x, _| (x / 8) as u8);
        let one = Plane::from_fn(2000, 1000, |x, y| u8::from(x == 999 && y == 500) * 255);
        let lung = Plane::from_fn(200, 100, |x, y| u8::from((20..80).contains(&x) && (20..80).contains(&y)) * 255);
        let none = Plane::filled(200, 100, 0);
        let heat = Plane::from_fn(20, 10, |x, _| if x < 10 { 0.0 } else { f32::NAN });
        let layers =
            Overlaid { picture: &picture, heat: Some(&heat), infection: Some(&one), lungs: Some([&lung, &none]) };
        let made = layers.png().unwrap();
        assert_eq!(made.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["picture", "heat", "lungs", "infection"]);
        let images: Vec<RgbaImage> = made.iter().map(|(_, png)| read(png)).collect();
        assert!(images.iter().all(|image| image.dimensions() == (1024, 512)));
        assert!(images[1].pixels().all(|pixel| pixel[3] == 0), "no heat");
        assert_eq!(images[2].pixels().filter(|pixel| pixel[3] == 255).count(), 4 * 307 - 4);
        assert!(images[3].pixels().filter(|pixel| pixel[3] > 0).count() >= 1, "one pixel of infection is not lost");
        assert!(images[3].pixels().filter(|pixel| pixel[3] > 0).all(|pixel| pixel.0 == [255, 72, 224, 255]));
    }

    #[test]
    fn a_small_picture_stays_as_it_is() {
        let picture = Plane::from_fn(3, 2, |x, y| (10 * x + y) as u8);
        let made = Overlaid { picture: &picture, heat: None, infection: None, lungs: None }.png().unwrap();
        assert_eq!(made.len(), 1);
        let image = read(&made[0].1);
        assert_eq!((image.dimensions(), image.get_pixel(2, 1).0), ((3, 2), [21, 21, 21, 255]));
    }
}
