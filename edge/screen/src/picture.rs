//! The radiograph, and over it where the models looked and what they marked.
//!
//! The picture is shrunk by averaging over area, which neither drops thin lines nor makes new ones. Heat and masks cover
//! the same field of view; they may come in any resolution, and are shrunk on their own.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use thorax_shared::plane::Plane;

use super::palette::{self, rgb};

/// Heat below this share of its maximum leaves the picture as it is.
const HEAT_FLOOR: f32 = 0.15;
/// How much of the picture the highest heat covers.
const HEAT_OPACITY: f32 = 0.65;
/// How much of the picture an infection's inside covers.
const INFECTION_OPACITY: f32 = 0.35;

/// A picture with what is laid over it, over the same field of view, in any resolution.
#[derive(Clone, Copy, Debug)]
pub struct Overlaid<'a> {
    /// The picture.
    pub picture: &'a Plane<u8>,
    /// Where the models looked, 0 to 1.
    pub heat: Option<&'a Plane<f32>>,
    /// Where infection was marked (anything but 0).
    pub infection: Option<&'a Plane<u8>>,
    /// Where the one and the other lung was marked (anything but 0).
    pub lungs: Option<[&'a Plane<u8>; 2]>,
}

/// An [`Overlaid`] in the size in which it is shown.
pub(super) struct Shrunk {
    pub(super) grey: Plane<f32>,
    pub(super) heat: Option<Plane<f32>>,
    pub(super) infection: Option<Plane<bool>>,
    pub(super) lungs: Option<[Plane<bool>; 2]>,
}

impl Overlaid<'_> {
    /// In this size, which has a pixel at least.
    pub(super) fn shrunk(&self, size: Size) -> Shrunk {
        Shrunk {
            grey: resample(self.picture, size, f32::from),
            heat: self.heat.map(|heat| resample(heat, size, |h| if h.is_finite() { h.clamp(0.0, 1.0) } else { 0.0 })),
            // The smallest infection is kept, so that the screen never shows less than was found;
            // a lung's border is where its share is half.
            infection: self.infection.map(|mask| resample(mask, size, is_set).map(|share| share > 0.0)),
            lungs: self.lungs.map(|masks| masks.map(|mask| resample(mask, size, is_set).map(|share| share >= 0.5))),
        }
    }

    /// Where in `area` the picture is drawn.
    pub(super) fn place(&self, area: Rectangle) -> Rectangle {
        fit(self.picture.width(), self.picture.height(), area)
    }

    /// Draws the picture as large as `area` allows.
    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D, area: Rectangle) -> Result<(), D::Error> {
        let place = self.place(area);
        if place.is_zero_sized() {
            return Ok(());
        }
        let Shrunk { grey, heat, infection, lungs } = self.shrunk(place.size);
        let colours = (0..grey.height()).flat_map(|y| (0..grey.width()).map(move |x| (x, y))).map(|(x, y)| {
            let mut colour = [grey.get(x, y); 3];
            if let Some(heat) = &heat {
                let (above, opacity) = heat_cover(heat.get(x, y));
                colour = blend(colour, above, opacity);
            }
            if lungs.as_ref().is_some_and(|lungs| is_outline(lungs, x, y)) {
                colour = palette::LUNG.map(f32::from);
            }
            if let Some(infection) = &infection {
                colour = blend(colour, palette::INFECTION.map(f32::from), infection_opacity(infection, x, y));
            }
            panel_colour(colour)
        });
        target.fill_contiguous(&place, colours)
    }
}

/// The colour of heat (0 to 1), and how much of the picture it covers.
pub(super) fn heat_cover(heat: f32) -> ([f32; 3], f32) {
    let strength = ((heat - HEAT_FLOOR) / (1.0 - HEAT_FLOOR)).max(0.0);
    (heat_colour(strength), HEAT_OPACITY * strength.min(0.5) * 2.0)
}

/// How much of the picture an infection covers: all at its border, nothing outside.
pub(super) fn infection_opacity(mask: &Plane<bool>, x: usize, y: usize) -> f32 {
    match (is_border(mask, x, y), mask.get(x, y)) {
        (true, _) => 1.0,
        (false, true) => INFECTION_OPACITY,
        (false, false) => 0.0,
    }
}

/// Whether a pixel is on the outline of a lung.
pub(super) fn is_outline(lungs: &[Plane<bool>; 2], x: usize, y: usize) -> bool {
    lungs.iter().any(|lung| is_border(lung, x, y))
}

/// The colour of heat between nothing (0) and all (1).
pub(super) fn heat_colour(strength: f32) -> [f32; 3] {
    blend(palette::HEAT_LOW.map(f32::from), palette::HEAT_HIGH.map(f32::from), strength)
}

/// Three channels of 0 to 255, rounded, cut to the panel's depth.
pub(super) fn panel_colour(colour: [f32; 3]) -> Rgb565 {
    // `as` saturates, and the values are within range already.
    let [red, green, blue] = colour.map(|channel| (channel + 0.5) as u8);
    rgb(red, green, blue)
}

fn blend(below: [f32; 3], above: [f32; 3], opacity: f32) -> [f32; 3] {
    core::array::from_fn(|channel| below[channel] + opacity * (above[channel] - below[channel]))
}

fn is_set(mask: u8) -> f32 {
    if mask == 0 { 0.0 } else { 1.0 }
}

/// Whether a pixel of the mask touches one that is not; the picture's edge counts as outside.
fn is_border(mask: &Plane<bool>, x: usize, y: usize) -> bool {
    let inside = |x: usize, y: usize| x < mask.width() && y < mask.height() && mask.get(x, y);
    inside(x, y) && !(x > 0 && inside(x - 1, y) && inside(x + 1, y) && y > 0 && inside(x, y - 1) && inside(x, y + 1))
}

/// The largest rectangle of a picture's proportions inside `area`, on top and centred from left to right; at least one
/// pixel wide and high, and empty where the picture or the area is.
pub(super) fn fit(width: usize, height: usize, area: Rectangle) -> Rectangle {
    if width == 0 || height == 0 || area.is_zero_sized() {
        return Rectangle::new(area.top_left, Size::zero());
    }
    let (width, height) = (width as u128, height as u128);
    let (room_across, room_down) = (u128::from(area.size.width), u128::from(area.size.height));
    let rounded = |numerator: u128, denominator: u128| ((numerator + denominator / 2) / denominator).max(1);
    let (across, down) = if width * room_down >= height * room_across {
        (room_across, rounded(height * room_across, width).min(room_down))
    } else {
        (rounded(width * room_down, height).min(room_across), room_down)
    };
    // Both are at most the area's own sides.
    let size = Size::new(across as u32, down as u32);
    Rectangle::new(area.top_left + Size::new((area.size.width - size.width) / 2, 0), size)
}

/// The mean of `value` over the part of `plane` that each pixel of the result covers; 0 where `plane` is empty.
fn resample<T: Copy>(plane: &Plane<T>, size: Size, value: impl Fn(T) -> f32) -> Plane<f32> {
    let (width, height) = (size.width as usize, size.height as usize);
    if plane.width() == 0 || plane.height() == 0 {
        return Plane::filled(width, height, 0.0);
    }
    let across: Vec<Cover> = (0..width).map(|x| Cover::of(x, plane.width(), width)).collect();
    let mut data = Vec::with_capacity(width * height);
    let mut column_means = vec![0.0; plane.width()];
    for y in 0..height {
        column_means.fill(0.0);
        for (row, share) in Cover::of(y, plane.height(), height).shares() {
            for (mean, &pixel) in column_means.iter_mut().zip(plane.row(row)) {
                *mean += share * value(pixel);
            }
        }
        data.extend(across.iter().map(|cover| cover.shares().map(|(x, share)| share * column_means[x]).sum::<f32>()));
    }
    Plane::from_fn(width, height, |x, y| data[y * width + x])
}

/// The stretch of a line of `from` pixels that one pixel of a line of `to` covers, in units of `1 / to` of a pixel, so
/// that all borders are whole numbers.
#[derive(Clone, Copy)]
struct Cover {
    begin: u64,
    end: u64,
    to: u64,
}

impl Cover {
    fn of(pixel: usize, from: usize, to: usize) -> Self {
        let (pixel, from, to) = (pixel as u64, from as u64, to as u64);
        Self { begin: pixel * from, end: (pixel + 1) * from, to }
    }

    /// The pixels covered, each with its share (0 to 1) of the whole; the shares add up to 1.
    fn shares(self) -> impl Iterator<Item = (usize, f32)> {
        let Self { begin, end, to } = self;
        (begin / to..end.div_ceil(to)).map(move |pixel| {
            let overlap = ((pixel + 1) * to).min(end) - (pixel * to).max(begin);
            (pixel as usize, overlap as f32 / (end - begin) as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Framebuffer;
    use proptest::prelude::*;

    fn area(width: u32, height: u32) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(width, height))
    }

    fn bare(picture: &Plane<u8>) -> Overlaid<'_> {
        Overlaid { picture, heat: None, infection: None, lungs: None }
    }

    fn drawn(overlaid: &Overlaid<'_>, width: u32, height: u32) -> Plane<Rgb565> {
        let mut framebuffer = Framebuffer::new(Size::new(width, height));
        overlaid.draw(&mut framebuffer, area(width, height)).unwrap();
        Plane::new(width as usize, height as usize, framebuffer.pixels().to_vec()).unwrap()
    }

    #[test]
    fn averages_over_area() {
        let picture = Plane::new(3, 2, vec![0u8, 30, 60, 90, 120, 150]).unwrap();
        let half = resample(&picture, Size::new(1, 1), f32::from);
        assert!((half.get(0, 0) - 75.0).abs() < 1e-4);
        // 3 to 2 columns: the first covers all of 0 and half of 30: (2 * 0 + 1 * 30) / 3.
        let narrower = resample(&picture, Size::new(2, 2), f32::from);
        for (found, expected) in narrower.data().iter().zip([10.0, 50.0, 100.0, 140.0]) {
            assert!((found - expected).abs() < 1e-4, "{narrower:?}");
        }
        let larger = resample(&picture, Size::new(6, 4), f32::from);
        assert_eq!((larger.get(0, 0), larger.get(5, 0), larger.get(0, 3), larger.get(5, 3)), (0.0, 60.0, 90.0, 150.0));
    }

    #[test]
    fn proportions_are_kept() {
        assert_eq!(fit(200, 100, area(50, 50)), Rectangle::new(Point::new(0, 0), Size::new(50, 25)));
        assert_eq!(fit(100, 200, area(50, 50)), Rectangle::new(Point::new(12, 0), Size::new(25, 50)));
        assert_eq!(fit(1, 5000, area(50, 50)), Rectangle::new(Point::new(24, 0), Size::new(1, 50)));
        assert_eq!(fit(5000, 1, area(50, 50)).size, Size::new(50, 1));
        assert!(fit(0, 7, area(50, 50)).is_zero_sized());
        assert!(fit(7, 7, area(0, 50)).is_zero_sized());
    }

    #[test]
    fn left_stays_left_and_top_stays_top() {
        // Bright upper left quarter; heat upper right, infection lower left, two lungs that touch lower right.
        let quarter =
            |right: bool, bottom: bool| move |x: usize, y: usize| ((x >= 20) == right) && ((y >= 20) == bottom);
        let picture = Plane::from_fn(40, 40, |x, y| if quarter(false, false)(x, y) { 200 } else { 0 });
        let heat = Plane::from_fn(40, 40, |x, y| if quarter(true, false)(x, y) { 1.0 } else { 0.0 });
        let infection = Plane::from_fn(40, 40, |x, y| if quarter(false, true)(x, y) { 255 } else { 0 });
        let lungs = [20..32, 32..40].map(|columns| {
            Plane::from_fn(40, 40, |x, y| if quarter(true, true)(x, y) && columns.contains(&x) { 255 } else { 0 })
        });
        let overlaid = Overlaid {
            picture: &picture,
            heat: Some(&heat),
            infection: Some(&infection),
            lungs: Some(lungs.each_ref()),
        };
        let screen = drawn(&overlaid, 20, 20);
        assert_eq!(screen.get(4, 4), rgb(200, 200, 200));
        let hot = screen.get(15, 4);
        assert!(hot.b() > 15 && hot.r() < hot.b() / 2, "{hot:?}");
        let infected = screen.get(4, 15);
        assert!(infected.r() > 5 && infected.b() > 5 && infected.g() < infected.r(), "{infected:?}");
        assert_eq!(screen.get(0, 15), rgb(255, 72, 224), "the infection's outline");
        assert_eq!(screen.get(19, 15), rgb(96, 224, 255), "the lung's outline");
        assert_eq!([15, 16].map(|x| screen.get(x, 15)), [rgb(96, 224, 255); 2], "both outlines where lungs touch");
        assert_eq!([13, 18].map(|x| screen.get(x, 15)), [rgb(0, 0, 0); 2], "a lung's inside is left as it is");
    }

    #[test]
    fn one_infected_pixel_of_a_large_picture_is_seen() {
        let picture = Plane::filled(2000, 2000, 0u8);
        let infection = Plane::from_fn(2000, 2000, |x, y| if (x, y) == (1500, 300) { 255 } else { 0 });
        let screen = drawn(&Overlaid { infection: Some(&infection), ..bare(&picture) }, 100, 100);
        assert_eq!(screen.get(75, 15), rgb(255, 72, 224));
        assert_eq!(screen.data().iter().filter(|&&colour| colour != Rgb565::BLACK).count(), 1);
    }

    #[test]
    fn heat_that_is_no_number_leaves_the_picture_as_it_is() {
        let picture = Plane::filled(4, 4, 128u8);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
            let heat = Plane::filled(4, 4, value);
            assert_eq!(drawn(&Overlaid { heat: Some(&heat), ..bare(&picture) }, 4, 4), drawn(&bare(&picture), 4, 4));
        }
    }

    proptest! {
        #[test]
        fn an_even_picture_stays_even(width in 1usize..60, height in 1usize..60, across in 1u32..60, down in 1u32..60, grey: u8) {
            let even = resample(&Plane::filled(width, height, grey), Size::new(across, down), f32::from);
            for mean in even.data() {
                prop_assert!((mean - f32::from(grey)).abs() < 0.01);
            }
        }

        #[test]
        fn shares_add_up_to_one(from in 1usize..6000, to in 1usize..500, pixel in 0usize..500) {
            let cover = Cover::of(pixel % to, from, to);
            prop_assert!((cover.shares().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-4);
            prop_assert!(cover.shares().all(|(x, share)| x < from && share > 0.0));
        }
    }
}
