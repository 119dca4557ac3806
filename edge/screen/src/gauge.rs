//! A number with its name and, below it, how much of the whole it is: the probability's bar, the entropy's gauge.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{CornerRadii, PrimitiveStyle, Rectangle, RoundedRectangle, StyledDrawable},
    text::Alignment,
};

use super::{
    layout::{Scale, cut_bottom, cut_left, cut_right, cut_top},
    palette,
    text::{Face, Ink, draw_line},
};

/// A share of a whole as a line that is filled from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meter {
    /// In one piece: a probability, an area.
    Bar,
    /// In ten cells, so that it is not taken for a probability.
    Gauge,
}

impl Meter {
    /// `share` is 0 to 1, with what lies outside cut off; `None` leaves the meter empty.
    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(
        self,
        target: &mut D,
        area: Rectangle,
        share: Option<f32>,
        fill: Rgb565,
        track: Rgb565,
    ) -> Result<(), D::Error> {
        let share = share.filter(|share| share.is_finite()).unwrap_or(0.0).clamp(0.0, 1.0);
        let filled = |width: u32| (share * width as f32 + 0.5) as u32;
        match self {
            Self::Bar => {
                let radii = CornerRadii::new(Size::new_equal(area.size.height / 3));
                RoundedRectangle::new(area, radii).draw_styled(&PrimitiveStyle::with_fill(track), target)?;
                let filled = cut_left(&mut { area }, filled(area.size.width));
                RoundedRectangle::new(area, radii)
                    .draw_styled(&PrimitiveStyle::with_fill(fill), &mut target.clipped(&filled))
            }
            Self::Gauge => {
                const CELLS: u32 = 10;
                let mut rest = area;
                let cell_width = (area.size.width + 1) / CELLS;
                // The pixels left over go to the first cells, one each.
                let longer = (area.size.width + 1) % CELLS;
                let filled = filled(area.size.width);
                for cell in 0..CELLS {
                    let mut cell = cut_left(&mut rest, cell_width + u32::from(cell < longer));
                    // Each cell ends in a gap, the last one at the area's edge.
                    if !rest.is_zero_sized() {
                        cut_right(&mut cell, 1);
                    }
                    target.fill_solid(&cell, track)?;
                    let begin = u32::try_from(cell.top_left.x - area.top_left.x).unwrap_or(0);
                    target.fill_solid(&cut_left(&mut cell, filled.saturating_sub(begin)), fill)?;
                }
                Ok(())
            }
        }
    }
}

/// Between a number and its unit, in pixels.
const UNIT_GAP: u32 = 4;

/// A number with its name above and a meter below.
pub(super) struct Metric<'a> {
    pub(super) label: &'a str,
    pub(super) value: super::text::Number,
    /// Of the meter, 0 to 1.
    pub(super) share: Option<f32>,
    pub(super) meter: Meter,
    /// Shares of the whole that are marked on the meter.
    pub(super) marks: Option<[f32; 2]>,
    pub(super) colour: Rgb565,
    /// The number in large digits.
    pub(super) large: bool,
    /// Below the meter, at its left and right end; empty where there is nothing to say.
    pub(super) ends: [String; 2],
}

impl Metric<'_> {
    fn face(&self, scale: &Scale) -> Face {
        if self.large { scale.large_value } else { scale.value }
    }

    /// Pixels that label, number and unit need side by side, or the ends with a space between.
    pub(super) fn width(&self, scale: &Scale) -> u32 {
        let (number, unit) = self.value.rsplit_once(' ').unwrap_or((&self.value, ""));
        let line =
            scale.label.width(self.label) + 3 + self.face(scale).width(number) + UNIT_GAP + scale.value.width(unit);
        let [left, right] = &self.ends;
        line.max(scale.small.width(left) + 4 + scale.small.width(right))
    }

    /// Pixels from the number's top to the bottom of the meter, or of what is below it.
    pub(super) fn height(&self, scale: &Scale) -> u32 {
        let ends = if self.has_ends() { 1 + scale.small.height() } else { 0 };
        self.line_height(scale) + 2 + scale.meter_height + ends
    }

    fn line_height(&self, scale: &Scale) -> u32 {
        self.face(scale).height().max(scale.label.height())
    }

    fn has_ends(&self) -> bool {
        self.ends.iter().any(|end| !end.is_empty())
    }

    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        area: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        let face = self.face(scale);
        let mut rest = area;
        let mut line = cut_top(&mut rest, self.line_height(scale));
        // Unit and label are small; all three stand on the same line.
        let (number, unit) = self.value.rsplit_once(' ').unwrap_or((&self.value, ""));
        let deepest = face.descent().max(scale.label.descent()).max(scale.value.descent());
        let on_baseline = |area: Rectangle, face: Face| {
            let mut area = area;
            cut_bottom(&mut area, deepest.saturating_sub(face.descent()));
            cut_bottom(&mut area, face.height())
        };
        let (text, soft) = (Ink::new(palette::TEXT), Ink::new(palette::SOFT_TEXT));
        if !unit.is_empty() {
            let area = cut_right(&mut line, scale.value.width(unit));
            draw_line(target, on_baseline(area, scale.value), unit, scale.value, text, Alignment::Right)?;
            cut_right(&mut line, UNIT_GAP);
        }
        let area = cut_right(&mut line, face.width(number));
        draw_line(target, on_baseline(area, face), number, face, text, Alignment::Right)?;
        cut_right(&mut line, 3);
        draw_line(target, on_baseline(line, scale.label), self.label, scale.label, soft, Alignment::Left)?;
        cut_top(&mut rest, 2);
        let meter = cut_top(&mut rest, scale.meter_height);
        self.meter.draw(target, meter, self.share, self.colour, palette::TRACK)?;
        for mark in self.marks.into_iter().flatten().filter(|mark| (0.0..=1.0).contains(mark)) {
            let place = (mark * meter.size.width as f32) as u32;
            let width = 2.min(meter.size.width);
            let left = place.min(meter.size.width - width);
            let tick = Rectangle::new(meter.top_left + Size::new(left, 0), Size::new(width, meter.size.height));
            target.fill_solid(&tick, palette::TEXT)?;
        }
        if self.has_ends() {
            cut_top(&mut rest, 1);
            let line = cut_top(&mut rest, scale.small.height());
            let [left, right] = &self.ends;
            let area = cut_left(&mut { line }, scale.small.width(left));
            draw_line(target, area, left, scale.small, soft, Alignment::Left)?;
            let area = cut_right(&mut { line }, scale.small.width(right));
            draw_line(target, area, right, scale.small, soft, Alignment::Right)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{area, display};
    use core::convert::Infallible;
    use embedded_graphics::mock_display::MockDisplay;

    /// Filled white, empty blue.
    fn meter(meter: Meter, share: Option<f32>) -> Result<MockDisplay<Rgb565>, Infallible> {
        let mut display = display();
        meter.draw(&mut display, area(1, 1, 39, 6), share, Rgb565::WHITE, Rgb565::BLUE)?;
        Ok(display)
    }

    #[test]
    fn a_bar_is_in_one_piece() -> Result<(), Infallible> {
        meter(Meter::Bar, Some(0.25))?.assert_pattern(&[
            "                                        ",
            "  WWWWWWWWWBBBBBBBBBBBBBBBBBBBBBBBBBBBB ",
            " WWWWWWWWWWBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
            " WWWWWWWWWWBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
            " WWWWWWWWWWBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
            " WWWWWWWWWWBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
            "  WWWWWWWWWBBBBBBBBBBBBBBBBBBBBBBBBBBBB ",
        ]);
        Ok(())
    }

    #[test]
    fn a_gauge_has_ten_cells() -> Result<(), Infallible> {
        meter(Meter::Gauge, Some(0.45))?.assert_pattern(&[
            "                                        ",
            " WWW WWW WWW WWW WWB BBB BBB BBB BBB BBB",
            " WWW WWW WWW WWW WWB BBB BBB BBB BBB BBB",
            " WWW WWW WWW WWW WWB BBB BBB BBB BBB BBB",
            " WWW WWW WWW WWW WWB BBB BBB BBB BBB BBB",
            " WWW WWW WWW WWW WWB BBB BBB BBB BBB BBB",
            " WWW WWW WWW WWW WWB BBB BBB BBB BBB BBB",
        ]);
        Ok(())
    }

    #[test]
    fn meters_take_any_number() -> Result<(), Infallible> {
        for kind in [Meter::Bar, Meter::Gauge] {
            let (empty, full) = (meter(kind, Some(0.0))?, meter(kind, Some(1.0))?);
            assert_ne!(empty, full);
            assert_eq!(full.affected_area(), area(1, 1, 39, 6));
            for nothing in [None, Some(f32::NAN), Some(f32::INFINITY), Some(-3.0)] {
                assert_eq!(meter(kind, nothing)?, empty, "{nothing:?}");
            }
            assert_eq!(meter(kind, Some(7.0))?, full);
        }
        Ok(())
    }
}
