//! What is told beside a picture: a number with its name, and a bar below; how sure the models are, as a gauge between two words.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{CornerRadii, PrimitiveStyle, Rectangle, RoundedRectangle, StyledDrawable},
    text::Alignment,
};

use super::{
    layout::{Scale, cut_bottom, cut_left, cut_right, cut_top},
    palette,
    text::{Face, Ink, NO_NUMBER, draw_line, draw_paragraph, paragraph_height},
};

/// A share of a whole on a line from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meter {
    /// Filled from the left: a probability, an area.
    Bar,
    /// One of ten cells is lit, since a row of lit cells beside *sure* reads as how much of it there is.
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
        let share = share.filter(|share| share.is_finite()).map(|share| share.clamp(0.0, 1.0));
        match self {
            Self::Bar => {
                let filled = (share.unwrap_or(0.0) * area.size.width as f32 + 0.5) as u32;
                let radii = CornerRadii::new(Size::new_equal(area.size.height / 3));
                RoundedRectangle::new(area, radii).draw_styled(&PrimitiveStyle::with_fill(track), target)?;
                let filled = cut_left(&mut { area }, filled);
                RoundedRectangle::new(area, radii)
                    .draw_styled(&PrimitiveStyle::with_fill(fill), &mut target.clipped(&filled))
            }
            Self::Gauge => {
                const CELLS: u32 = 10;
                let mut rest = area;
                let cell_width = (area.size.width + 1) / CELLS;
                // The pixels left over go to the first cells, one each.
                let longer = (area.size.width + 1) % CELLS;
                let lit = share.map(|share| ((share * CELLS as f32) as u32).min(CELLS - 1));
                for number in 0..CELLS {
                    let mut cell = cut_left(&mut rest, cell_width + u32::from(number < longer));
                    // Each cell ends in a gap, the last one at the area's edge.
                    if !rest.is_zero_sized() {
                        cut_right(&mut cell, 1);
                    }
                    target.fill_solid(&cell, if lit == Some(number) { fill } else { track })?;
                }
                Ok(())
            }
        }
    }
}

/// Between a number and its unit, in pixels.
const UNIT_GAP: u32 = 4;
/// A gauge is no narrower, in pixels.
const LEAST_GAUGE: u32 = 30;

/// A line of a column.
pub(super) enum Measure<'a> {
    /// A number.
    Number(Metric<'a>),
    /// How sure the models are.
    Gauge(Gauge<'a>),
}

impl Measure<'_> {
    /// Pixels that it needs from left to right.
    pub(super) fn width(&self, scale: &Scale) -> u32 {
        match self {
            Self::Number(metric) => metric.width(scale),
            Self::Gauge(gauge) => gauge.width(scale),
        }
    }

    /// Pixels that it needs from top to bottom where there are so many from left to right.
    pub(super) fn height(&self, width: u32, scale: &Scale) -> u32 {
        match self {
            Self::Number(metric) => metric.height(width, scale),
            Self::Gauge(_) => scale.small.height(),
        }
    }

    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        area: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        match self {
            Self::Number(metric) => metric.draw(target, area, scale),
            Self::Gauge(gauge) => gauge.draw(target, area, scale),
        }
    }
}

/// A place between two ends.
pub(super) struct Gauge<'a> {
    /// 0 to 1; `None` where it is no number.
    pub(super) share: Option<f32>,
    /// What its left and its right end mean.
    pub(super) ends: [&'a str; 2],
}

impl Gauge<'_> {
    fn width(&self, scale: &Scale) -> u32 {
        self.ends.iter().map(|end| scale.small.width(end) + scale.gap).sum::<u32>() + LEAST_GAUGE
    }

    fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        area: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        let ([left, right], soft) = (self.ends, Ink::new(palette::SOFT_TEXT));
        let mut rest = area;
        let place = cut_left(&mut rest, scale.small.width(left));
        draw_line(target, place, left, scale.small, soft, Alignment::Left)?;
        let place = cut_right(&mut rest, scale.small.width(right));
        draw_line(target, place, right, scale.small, soft, Alignment::Right)?;
        cut_left(&mut rest, scale.gap);
        cut_right(&mut rest, scale.gap);
        if self.share.is_none() {
            return draw_line(target, rest, NO_NUMBER, scale.small, Ink::new(palette::TEXT), Alignment::Center);
        }
        let height = (scale.meter_height + 2).min(rest.size.height);
        let spare = (rest.size.height - height) / 2;
        cut_top(&mut rest, spare);
        Meter::Gauge.draw(target, cut_top(&mut rest, height), self.share, palette::ENTROPY, palette::TRACK)
    }
}

/// A number with its name beside it, and a bar below where it is a share of a whole that has one.
pub(super) struct Metric<'a> {
    /// In several lines where there is no room for one.
    pub(super) label: &'a str,
    pub(super) value: super::text::Number,
    pub(super) bar: Option<Bar>,
    /// The number in large digits.
    pub(super) large: bool,
    /// At the bottom, at its left and right end; empty where there is nothing to say.
    pub(super) ends: [String; 2],
}

/// The bar below a number.
pub(super) struct Bar {
    /// 0 to 1; `None` leaves it empty.
    pub(super) share: Option<f32>,
    /// Shares of the whole that are marked on it.
    pub(super) marks: Option<[f32; 2]>,
    pub(super) colour: Rgb565,
}

impl Metric<'_> {
    fn face(&self, scale: &Scale) -> Face {
        if self.large { scale.large_value } else { scale.value }
    }

    /// The number, and its unit.
    fn parts(&self) -> (&str, &str) {
        self.value.rsplit_once(' ').unwrap_or((&self.value, ""))
    }

    fn number_width(&self, scale: &Scale) -> u32 {
        let (number, unit) = self.parts();
        3 + self.face(scale).width(number) + UNIT_GAP + scale.value.width(unit)
    }

    /// Pixels that the longest word of the label, number and unit need side by side, or the ends with a space between.
    fn width(&self, scale: &Scale) -> u32 {
        let longest = self.label.split_whitespace().map(|word| scale.label.width(word)).max().unwrap_or(0);
        let [left, right] = &self.ends;
        (longest + self.number_width(scale)).max(scale.small.width(left) + 4 + scale.small.width(right))
    }

    /// Pixels from the number's top to the bottom of the bar, or of what is below it.
    fn height(&self, width: u32, scale: &Scale) -> u32 {
        let bar = if self.bar.is_some() { 2 + scale.meter_height } else { 0 };
        let ends = if self.has_ends() { 1 + scale.small.height() } else { 0 };
        self.line_height(width, scale) + bar + ends
    }

    fn line_height(&self, width: u32, scale: &Scale) -> u32 {
        let label = paragraph_height(self.label, scale.label, width.saturating_sub(self.number_width(scale)));
        self.face(scale).height().max(label + self.deepest(scale) - scale.label.descent())
    }

    /// Pixels below the line that number, unit and the label's last line stand on.
    fn deepest(&self, scale: &Scale) -> u32 {
        self.face(scale).descent().max(scale.label.descent()).max(scale.value.descent())
    }

    fn has_ends(&self) -> bool {
        self.ends.iter().any(|end| !end.is_empty())
    }

    fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        area: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        let face = self.face(scale);
        let mut rest = area;
        let mut line = cut_top(&mut rest, self.line_height(area.size.width, scale));
        // Unit and label are small; all three stand on the same line.
        let (number, unit) = self.parts();
        let deepest = self.deepest(scale);
        let on_baseline = |area: Rectangle, face: Face, height: u32| {
            let mut area = area;
            cut_bottom(&mut area, deepest.saturating_sub(face.descent()));
            cut_bottom(&mut area, height)
        };
        let (text, soft) = (Ink::new(palette::TEXT), Ink::new(palette::SOFT_TEXT));
        if !unit.is_empty() {
            let area = cut_right(&mut line, scale.value.width(unit));
            let place = on_baseline(area, scale.value, scale.value.height());
            draw_line(target, place, unit, scale.value, text, Alignment::Right)?;
            cut_right(&mut line, UNIT_GAP);
        }
        let area = cut_right(&mut line, face.width(number));
        draw_line(target, on_baseline(area, face, face.height()), number, face, text, Alignment::Right)?;
        cut_right(&mut line, 3);
        let label = paragraph_height(self.label, scale.label, line.size.width);
        let place = on_baseline(line, scale.label, label);
        draw_paragraph(target, place, self.label, scale.label, soft, Alignment::Left)?;
        if let Some(Bar { share, marks, colour }) = &self.bar {
            cut_top(&mut rest, 2);
            let meter = cut_top(&mut rest, scale.meter_height);
            Meter::Bar.draw(target, meter, *share, *colour, palette::TRACK)?;
            for mark in marks.iter().flatten().filter(|mark| (0.0..=1.0).contains(*mark)) {
                let place = (mark * meter.size.width as f32) as u32;
                let width = 2.min(meter.size.width);
                let left = place.min(meter.size.width - width);
                let tick = Rectangle::new(meter.top_left + Size::new(left, 0), Size::new(width, meter.size.height));
                target.fill_solid(&tick, palette::TEXT)?;
            }
        }
        draw_ends(target, &mut rest, self.ends.each_ref().map(String::as_str), scale)
    }
}

/// Writes what the ends of a scale mean below it; nothing where they mean nothing.
pub(super) fn draw_ends<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    rest: &mut Rectangle,
    [left, right]: [&str; 2],
    scale: &Scale,
) -> Result<(), D::Error> {
    if left.is_empty() && right.is_empty() {
        return Ok(());
    }
    cut_top(rest, 1);
    let (line, soft) = (cut_top(rest, scale.small.height()), Ink::new(palette::SOFT_TEXT));
    let area = cut_left(&mut { line }, scale.small.width(left));
    draw_line(target, area, left, scale.small, soft, Alignment::Left)?;
    let area = cut_right(&mut { line }, scale.small.width(right));
    draw_line(target, area, right, scale.small, soft, Alignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{area, display};
    use core::convert::Infallible;
    use embedded_graphics::mock_display::MockDisplay;

    /// Filled or lit white, the rest blue.
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
    fn a_gauge_lights_one_of_ten_cells() -> Result<(), Infallible> {
        meter(Meter::Gauge, Some(0.45))?.assert_pattern(&[
            "                                        ",
            " BBB BBB BBB BBB WWW BBB BBB BBB BBB BBB",
            " BBB BBB BBB BBB WWW BBB BBB BBB BBB BBB",
            " BBB BBB BBB BBB WWW BBB BBB BBB BBB BBB",
            " BBB BBB BBB BBB WWW BBB BBB BBB BBB BBB",
            " BBB BBB BBB BBB WWW BBB BBB BBB BBB BBB",
            " BBB BBB BBB BBB WWW BBB BBB BBB BBB BBB",
        ]);
        Ok(())
    }

    #[test]
    fn meters_take_any_number() -> Result<(), Infallible> {
        for kind in [Meter::Bar, Meter::Gauge] {
            let (least, most, nothing) = (meter(kind, Some(0.0))?, meter(kind, Some(1.0))?, meter(kind, None)?);
            assert_ne!(least, most);
            assert_eq!(most.affected_area(), area(1, 1, 39, 6));
            // A bar of nothing is as empty as one without a number; a gauge has an end there.
            assert_eq!(least == nothing, kind == Meter::Bar);
            for no_number in [f32::NAN, f32::INFINITY] {
                assert_eq!(meter(kind, Some(no_number))?, nothing, "{no_number}");
            }
            assert_eq!(meter(kind, Some(-3.0))?, least);
            assert_eq!(meter(kind, Some(7.0))?, most);
        }
        Ok(())
    }
}
