//! Where a picture lies on a larger monitor: turned, as large as whole multiples allow, and in the middle.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};

use super::pixels::Format;
use crate::config::{ColourOrder, Rotation};

/// The way from the picture to the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    drawn: Size,
    rotation: Rotation,
    scale: u32,
    origin: Point,
}

/// Some rows of a monitor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Where they are.
    pub(crate) area: Rectangle,
    /// Their pixels, row by row and without a gap.
    pub(crate) bytes: Vec<u8>,
}

impl Place {
    /// Nothing, if the turned picture is larger than the monitor.
    pub(crate) fn new(drawn: Size, rotation: Rotation, monitor: Size) -> Option<Self> {
        let turned = if rotation.is_sideways() { Size::new(drawn.height, drawn.width) } else { drawn };
        let scale = (monitor.width.checked_div(turned.width)?).min(monitor.height.checked_div(turned.height)?);
        let rest = monitor.checked_sub(turned.checked_mul(scale)?)?;
        (scale > 0).then_some(Self {
            drawn,
            rotation,
            scale,
            origin: Point::new(rest.width as i32 / 2, rest.height as i32 / 2),
        })
    }

    /// Where a rectangle of the picture lies on the monitor.
    pub(crate) fn area(&self, part: Rectangle) -> Rectangle {
        let (x, y) = (part.top_left.x, part.top_left.y);
        let (width, height) = (part.size.width as i32, part.size.height as i32);
        let Size { width: columns, height: rows } = self.drawn;
        let (x, y, size) = match self.rotation {
            Rotation::None => (x, y, part.size),
            Rotation::Quarter => (rows as i32 - y - height, x, Size::new(part.size.height, part.size.width)),
            Rotation::Half => (columns as i32 - x - width, rows as i32 - y - height, part.size),
            Rotation::ThreeQuarters => (y, columns as i32 - x - width, Size::new(part.size.height, part.size.width)),
        };
        let scale = self.scale as i32;
        Rectangle::new(self.origin + Point::new(x * scale, y * scale), size * self.scale)
    }

    /// The place in the picture that a pixel of the monitor shows.
    fn source(&self, at: Point) -> Point {
        let Point { x, y } = (at - self.origin) / self.scale as i32;
        let (right, bottom) = (self.drawn.width as i32 - 1, self.drawn.height as i32 - 1);
        match self.rotation {
            Rotation::None => Point::new(x, y),
            Rotation::Quarter => Point::new(y, bottom - x),
            Rotation::Half => Point::new(right - x, bottom - y),
            Rotation::ThreeQuarters => Point::new(right - y, x),
        }
    }

    /// What the monitor has to show where `part` of the picture lies.
    pub(crate) fn rows(&self, pixels: &[Rgb565], part: Rectangle, format: Format, order: ColourOrder) -> Rows {
        let area = self.area(part);
        let mut bytes = Vec::with_capacity(area.size.width as usize * area.size.height as usize * format.bytes());
        for point in area.points() {
            let from = self.source(point);
            let at = usize::try_from(from.y).ok().zip(usize::try_from(from.x).ok());
            let pixel = at.and_then(|(y, x)| pixels.get(y * self.drawn.width as usize + x));
            format.push(pixel.copied().unwrap_or(Rgb565::BLACK), order, &mut bytes);
        }
        Rows { area, bytes }
    }
}

impl Rows {
    /// Each row with its place in a memory whose rows are `pitch` bytes apart.
    pub(crate) fn placed(&self, format: Format, pitch: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let row = self.area.size.width as usize * format.bytes();
        let start = self.area.top_left.y as usize * pitch + self.area.top_left.x as usize * format.bytes();
        self.bytes.chunks(row.max(1)).enumerate().map(move |(index, bytes)| (start + index * pitch, bytes))
    }
}

/// Arithmetic on sizes that may not fit.
trait Checked: Sized {
    fn checked_sub(self, other: Self) -> Option<Self>;
    fn checked_mul(self, factor: u32) -> Option<Self>;
}

impl Checked for Size {
    fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self::new(self.width.checked_sub(other.width)?, self.height.checked_sub(other.height)?))
    }

    fn checked_mul(self, factor: u32) -> Option<Self> {
        Some(Self::new(self.width.checked_mul(factor)?, self.height.checked_mul(factor)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Rotation; 4] = [Rotation::None, Rotation::Quarter, Rotation::Half, Rotation::ThreeQuarters];

    #[test]
    fn a_picture_is_enlarged_centred_and_turned_clockwise() {
        let hd = Size::new(1920, 1080);
        let place = Place::new(Size::new(800, 480), Rotation::None, hd).unwrap();
        assert_eq!(
            place.area(Rectangle::new(Point::zero(), Size::new(800, 480))),
            Rectangle::new(Point::new(160, 60), Size::new(1600, 960))
        );
        let place = Place::new(Size::new(800, 480), Rotation::Quarter, hd).unwrap();
        assert_eq!((place.scale, place.origin), (1, Point::new(720, 140)));
        // The upper left corner comes to the upper right.
        assert_eq!(place.area(Rectangle::new(Point::zero(), Size::new(1, 1))).top_left, Point::new(720 + 479, 140));
        assert_eq!(Place::new(Size::new(800, 480), Rotation::None, Size::new(799, 480)), None);
        assert_eq!(Place::new(Size::new(800, 480), Rotation::Quarter, Size::new(800, 480)), None);
    }

    #[test]
    fn rows_lie_at_the_pitch() {
        let pixels = [Rgb565::RED, Rgb565::GREEN, Rgb565::BLUE, Rgb565::WHITE];
        let size = Size::new(2, 2);
        let place = Place::new(size, Rotation::None, Size::new(3, 2)).unwrap();
        let right = Rectangle::new(Point::new(1, 0), Size::new(1, 2));
        let rows = place.rows(&pixels, right, Format::Rgb565, ColourOrder::Rgb);
        let placed: Vec<_> = rows.placed(Format::Rgb565, 16).collect();
        assert_eq!(placed, [(2, &[0xE0, 0x07][..]), (18, &[0xFF, 0xFF][..])]);
        let quarter = Place::new(size, Rotation::Quarter, size).unwrap();
        let rows = quarter.rows(&pixels, Rectangle::new(Point::zero(), size), Format::Rgb565, ColourOrder::Rgb);
        assert_eq!(rows.bytes, [0x1F, 0, 0, 0xF8, 0xFF, 0xFF, 0xE0, 0x07], "blue red / white green");
    }

    proptest! {
        #[test]
        fn each_pixel_of_the_picture_comes_as_often_as_it_is_enlarged_and_in_its_area(
            width in 1u32..7,
            height in 1u32..7,
            turn in 0usize..4,
            wide in 0u32..15,
            high in 0u32..15,
        ) {
            let (drawn, monitor) = (Size::new(width, height), Size::new(wide, high));
            let Some(place) = Place::new(drawn, ALL[turn], monitor) else {
                let sideways = ALL[turn].is_sideways();
                let (w, h) = if sideways { (height, width) } else { (width, height) };
                prop_assert!(w > wide || h > high);
                return Ok(());
            };
            let mut covered = 0;
            for point in Rectangle::new(Point::zero(), drawn).points() {
                let area = place.area(Rectangle::new(point, Size::new(1, 1)));
                prop_assert!(Rectangle::new(Point::zero(), monitor).intersection(&area) == area);
                prop_assert!(area.points().all(|at| place.source(at) == point));
                covered += area.points().count();
            }
            prop_assert_eq!(covered as u32, width * height * place.scale * place.scale);
        }
    }
}
