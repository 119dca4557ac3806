//! What a file tells without a look at the chest.

use std::{fs::File, io::Read as _};

use anyhow::Context;
use thorax_shared::{
    plane::{Plane, Rect},
    preprocess::{self, spec::Window},
};

use crate::data::{Manifest, picture::Picture};

/// What [`of`] tells, in its order.
pub(super) const FACTS: [&str; 6] = ["width", "height", "aspect", "bytes a pixel", "border share", "JPEG"];

/// Rows and columns at the edge with fewer greys than this between their darkest and brightest pixel are border.
const EVEN_GREYS: u8 = 5;

/// Logarithms of width, height, aspect and bytes a pixel; the share of the picture that is border; 1 for JPEG.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn of(manifest: &Manifest, path: &str, window: &Window) -> anyhow::Result<[f32; 6]> {
    let file = manifest.locate(path);
    let told = || file.display().to_string();
    let picture = Picture::at(manifest, path, false)?;
    let mut begin = [0; 3];
    let mut reader = File::open(&file).with_context(told)?;
    let bytes = reader.metadata().with_context(told)?.len();
    // A file that was decoded has as many bytes.
    reader.read_exact(&mut begin).with_context(told)?;
    let (width, height) = picture.frame.stored_size;
    let (width, height) = (width.max(1) as f32, height.max(1) as f32);
    let border = border_share(&preprocess::window(&picture.frame.pixels, window));
    let jpeg = f32::from(u8::from(begin == [0xFF, 0xD8, 0xFF]));
    Ok([width.ln(), height.ln(), (width / height).ln(), (bytes as f32 / (width * height)).ln(), border, jpeg])
}

/// The share of the picture in even rows and columns at its edges.
fn border_share(picture: &Plane<u8>) -> f32 {
    let mut inside = Rect::full(picture.width(), picture.height());
    let even = |values: &mut dyn Iterator<Item = u8>| {
        let (least, most) = values.fold((u8::MAX, 0), |(least, most), value| (least.min(value), most.max(value)));
        most.saturating_sub(least) < EVEN_GREYS
    };
    let row = |y: usize, inside: Rect| even(&mut picture.row(y)[inside.x..][..inside.width].iter().copied());
    let column = |x: usize, inside: Rect| even(&mut (inside.y..inside.y + inside.height).map(|y| picture.get(x, y)));
    while inside.height > 0 && row(inside.y, inside) {
        inside = Rect { y: inside.y + 1, height: inside.height - 1, ..inside };
    }
    while inside.height > 0 && row(inside.y + inside.height - 1, inside) {
        inside.height -= 1;
    }
    while inside.width > 0 && column(inside.x, inside) {
        inside = Rect { x: inside.x + 1, width: inside.width - 1, ..inside };
    }
    while inside.width > 0 && column(inside.x + inside.width - 1, inside) {
        inside.width -= 1;
    }
    1.0 - inside.area() as f32 / picture.data().len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_is_counted() {
        let texture = |x: usize, y: usize| (37 * x + 91 * y) as u8;
        let picture = Plane::from_fn(20, 10, |x, y| if x < 5 || y >= 8 { 12 } else { texture(x, y) });
        assert!((border_share(&picture) - (1.0 - 15.0 * 8.0 / 200.0)).abs() < 1e-6);
        assert_eq!(border_share(&Plane::from_fn(20, 10, texture)), 0.0);
        assert_eq!(border_share(&Plane::filled(20, 10, 7)), 1.0);
        assert_eq!(border_share(&Plane::filled(0, 0, 7)), 1.0);
    }
}
