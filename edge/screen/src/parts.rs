//! The pieces that screens are made of; each stays inside the area it is given.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{Circle, CornerRadii, Line, PrimitiveStyle, Rectangle, RoundedRectangle, StyledDrawable, Triangle},
    text::Alignment,
};
use thorax_shared::words::{Language, Word};

use super::{
    gauge::Measure,
    input::{Hold, Key},
    layout::{Frame, Scale, cut_bottom, cut_left, cut_right, cut_top, inset},
    palette,
    text::{Face, Ink, draw_line, draw_paragraph, paragraph_height},
};

/// Shapes that differ in outline, so that they are told apart without colour and from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A bold plus.
    Plus,
    /// A bold bar.
    Minus,
    /// A diamond with a question mark.
    Question,
    /// A square with a cross.
    Cross,
    /// An hourglass.
    Hourglass,
    /// A triangle with an exclamation mark.
    Exclamation,
    /// A ring with a dot.
    Ring,
    /// Three bars, as of a list.
    Bars,
    /// A tick.
    Tick,
    /// A ring that a bar breaks, as on switches.
    Power,
}

/// What a banner says, and how.
pub(super) struct Banner<'a> {
    pub(super) sign: Sign,
    /// In large letters, and in capitals where the script has any.
    pub(super) word: &'a str,
    /// In small letters beside it.
    pub(super) remark: &'a str,
    pub(super) ground: Rgb565,
    pub(super) ink: Rgb565,
}

impl Banner<'_> {
    /// The word as it is drawn, its font, and what is left for the remark, flush with the right edge.
    pub(super) fn parts(&self, area: Rectangle, scale: &Scale) -> (String, Face, Rectangle, Rectangle) {
        let mut rest = inset(area, scale.gap / 2);
        cut_left(&mut rest, area.size.height + 3);
        let word = self.word.to_uppercase();
        let fits = |face: Face| face.width(&word) <= rest.size.width;
        let face = [scale.word, scale.heading].into_iter().find(|face| fits(*face)).unwrap_or(scale.header);
        let place = cut_left(&mut rest, face.width(&word));
        cut_left(&mut rest, scale.gap);
        cut_right(&mut rest, scale.gap / 2);
        (word, face, place, rest)
    }

    /// Whether the remark stands beside the word; without room it is left out.
    pub(super) fn has_room_for_remark(&self, area: Rectangle, scale: &Scale) -> bool {
        let (.., room) = self.parts(area, scale);
        self.remark_fits(room, scale)
    }

    fn remark_fits(&self, room: Rectangle, scale: &Scale) -> bool {
        Words { text: self.remark, face: scale.remark, colour: self.ink }.fit(room.size)
    }

    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        area: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        target.fill_solid(&area, self.ground)?;
        let badge = inset(area, scale.gap * 3 / 4);
        let badge = cut_left(&mut { badge }, badge.size.height);
        draw_sign(target, badge, self.sign, self.ink, self.ground)?;
        let (word, face, place, mut rest) = self.parts(area, scale);
        let ink = Ink::on(self.ink, self.ground);
        draw_line(target, place, &word, face, ink, Alignment::Left)?;
        if !self.remark_fits(rest, scale) {
            return Ok(());
        }
        let height = paragraph_height(self.remark, scale.remark, rest.size.width);
        let spare = rest.size.height.saturating_sub(height) / 2;
        cut_top(&mut rest, spare);
        draw_paragraph(target, rest, self.remark, scale.remark, ink, Alignment::Right)
    }
}

/// Draws `sign` into the largest square in the middle of `area`: the shape in `ink`, what is inside it in `ground`.
pub(super) fn draw_sign<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    sign: Sign,
    ink: Rgb565,
    ground: Rgb565,
) -> Result<(), D::Error> {
    // An odd side has a middle pixel, which keeps the shapes symmetric.
    let side = (area.size.width.min(area.size.height)).saturating_sub(1) / 2 * 2 + 1;
    let square =
        Rectangle::new(area.top_left + (area.size.saturating_sub(Size::new_equal(side))) / 2, Size::new_equal(side));
    let mut target = target.clipped(&area);
    let target = &mut target;
    let shape = PrimitiveStyle::with_fill(ink);
    let hole = PrimitiveStyle::with_fill(ground);
    // Points in sixteenths of the square.
    let at = |x: i32, y: i32| {
        let span = side as i32 - 1;
        square.top_left + Point::new((x * span + 8) / 16, (y * span + 8) / 16)
    };
    let block = |x0: i32, y0: i32, x1: i32, y1: i32| Rectangle::with_corners(at(x0, y0), at(x1, y1));
    match sign {
        Sign::Plus => {
            block(5, 0, 11, 16).draw_styled(&shape, target)?;
            block(0, 5, 16, 11).draw_styled(&shape, target)
        }
        Sign::Minus => block(0, 5, 16, 11).draw_styled(&shape, target),
        Sign::Question => {
            Triangle::new(at(8, 0), at(0, 8), at(16, 8)).draw_styled(&shape, target)?;
            Triangle::new(at(8, 16), at(0, 8), at(16, 8)).draw_styled(&shape, target)?;
            let face = Face::new(side * 5 / 8, true, false);
            draw_line(target, square, "?", face, Ink::on(ground, ink), Alignment::Center)
        }
        Sign::Cross => {
            let corners = CornerRadii::new(Size::new_equal(side / 8));
            RoundedRectangle::new(square, corners).draw_styled(&shape, target)?;
            let stroke = PrimitiveStyle::with_stroke(ground, (side / 8).max(1));
            Line::new(at(4, 4), at(12, 12)).draw_styled(&stroke, target)?;
            Line::new(at(12, 4), at(4, 12)).draw_styled(&stroke, target)
        }
        Sign::Hourglass => {
            block(1, 0, 15, 1).draw_styled(&shape, target)?;
            block(1, 15, 15, 16).draw_styled(&shape, target)?;
            Triangle::new(at(2, 3), at(14, 3), at(8, 9)).draw_styled(&shape, target)?;
            Triangle::new(at(2, 13), at(14, 13), at(8, 7)).draw_styled(&shape, target)
        }
        Sign::Exclamation => {
            Triangle::new(at(8, 0), at(0, 16), at(16, 16)).draw_styled(&shape, target)?;
            block(7, 6, 9, 11).draw_styled(&hole, target)?;
            block(7, 13, 9, 14).draw_styled(&hole, target)
        }
        Sign::Ring => {
            Circle::new(square.top_left, side).draw_styled(&shape, target)?;
            let inner = inset(square, (side / 7).max(1));
            Circle::new(inner.top_left, inner.size.width).draw_styled(&hole, target)?;
            let dot = inset(square, side / 3);
            Circle::new(dot.top_left, dot.size.width).draw_styled(&shape, target)
        }
        Sign::Tick => {
            let stroke = PrimitiveStyle::with_stroke(ink, (side / 6).max(1));
            // Ends of thick lines stick out.
            Line::new(at(3, 9), at(7, 13)).draw_styled(&stroke, target)?;
            Line::new(at(7, 13), at(13, 4)).draw_styled(&stroke, target)
        }
        Sign::Power => {
            let outer = inset(square, side / 12);
            Circle::new(outer.top_left, outer.size.width).draw_styled(&shape, target)?;
            let inner = inset(outer, (side / 7).max(1));
            Circle::new(inner.top_left, inner.size.width).draw_styled(&hole, target)?;
            block(6, 0, 10, 8).draw_styled(&hole, target)?;
            block(7, 0, 9, 7).draw_styled(&shape, target)
        }
        Sign::Bars => {
            for row in [1, 7, 13] {
                block(0, row, 16, row + 2).draw_styled(&shape, target)?;
            }
            Ok(())
        }
    }
}

/// Between the parts of a study's name.
const PART: &str = " \u{b7} ";

/// What a study is called on the panel: its number, the patient's, and when its images came, which is `received` in UTC; what is not
/// known is left out.
pub fn study_name(language: Language, study: u64, patient_id: &str, received: &str) -> String {
    let number = format!("{} {study}", language.word(Word::Study));
    let patient = match patient_id {
        "" => String::new(),
        id => format!("{} {}", language.word(Word::Patient), end_of(id, 8)),
    };
    let time = if received.is_empty() { String::new() } else { format!("{received} UTC") };
    [number, patient, time].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(PART)
}

/// The last `letters` of a number, and that there are more.
pub(super) fn end_of(number: &str, letters: usize) -> String {
    match number.char_indices().rev().nth(letters.saturating_sub(1)) {
        Some((start, _)) if start > 0 => format!("\u{2026}{}", &number[start..]),
        _ => number.into(),
    }
}

/// The strip on top: what kind of picture, and whose.
pub(super) fn draw_header<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    tag: &str,
    name: &str,
    scale: &Scale,
) -> Result<(), D::Error> {
    target.fill_solid(&area, palette::STRIP)?;
    let mut rest = area;
    cut_left(&mut rest, scale.gap);
    cut_right(&mut rest, scale.gap);
    if !tag.is_empty() {
        let face = scale.header;
        let chip = cut_left(&mut rest, face.width(tag) + 10);
        let chip = inset(chip, 1);
        let radii = CornerRadii::new(Size::new_equal(3));
        RoundedRectangle::new(chip, radii)
            .draw_styled(&PrimitiveStyle::with_fill(palette::SOFT_TEXT), &mut target.clipped(&area))?;
        draw_line(target, chip, tag, face, Ink::on(palette::BACKGROUND, palette::SOFT_TEXT), Alignment::Center)?;
        cut_left(&mut rest, scale.gap);
    }
    // Of a study's name without room its number is left out, and then its time: the patient stays.
    let mut parts: Vec<&str> = name.split(PART).collect();
    let mut name = name.to_owned();
    while parts.len() > 1 && scale.header.width(&name) > rest.size.width {
        parts.remove(if parts.len() > 2 { 0 } else { 1 });
        name = parts.join(PART);
    }
    draw_line(target, rest, &name, scale.header, Ink::on(palette::TEXT, palette::STRIP), Alignment::Left)
}

/// The strip below, on every screen: that it comes from no medical device.
pub(super) fn draw_footer<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    scale: &Scale,
) -> Result<(), D::Error> {
    target.fill_solid(&area, palette::STRIP)?;
    let text = scale.language.word(Word::Notice);
    let mut rest = area;
    cut_left(&mut rest, 2);
    cut_right(&mut rest, 2);
    let spare = rest.size.height.saturating_sub(paragraph_height(text, scale.footer, rest.size.width)) / 2;
    cut_top(&mut rest, spare);
    draw_paragraph(
        target,
        rest,
        text,
        scale.footer,
        Ink::on(palette::DISCLAIMER_TEXT, palette::STRIP),
        Alignment::Center,
    )
}

/// What the three keys do on a screen, told in a strip above the footer; a finger on it does the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// What up and down go to; `None` where they go nowhere.
    pub arrows: Option<Word>,
    /// What a short press of *select* does.
    pub select: Option<Word>,
    /// A long press of *select* leads back.
    pub back: bool,
}

/// A part of the strip of keys.
struct Cell {
    press: (Key, Hold),
    text: String,
    /// With the room to the next one.
    place: Rectangle,
}

impl Keys {
    /// Nobody can press anything.
    pub const NONE: Self = Self { arrows: None, select: None, back: false };

    fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Takes the room of the strip from the bottom of `body`; none where there are no keys.
    pub(super) fn cut(self, body: &mut Rectangle, scale: &Scale) -> Rectangle {
        let strip = cut_bottom(body, if self.is_empty() { 0 } else { scale.small.height() + 2 + scale.gap / 3 });
        if !self.is_empty() {
            cut_bottom(body, 2);
        }
        strip
    }

    /// Pixels that a key's sign needs with the room around it.
    fn sign_width(scale: &Scale) -> u32 {
        scale.small.height() + 4
    }

    /// The parts of the strip, each as wide as its text asks for and its share of what is left. Where there is not enough, the
    /// arrows have no text.
    fn cells(self, strip: Rectangle, scale: &Scale) -> Vec<Cell> {
        let word = |word| scale.language.word(word).to_owned();
        let back = self.back.then(|| scale.language.told(&word(Word::HoldKey), &word(Word::BackKey)));
        let parts = [
            ((Key::Up, Hold::Short), self.arrows.map(|_| String::new())),
            ((Key::Down, Hold::Short), self.arrows.map(word)),
            ((Key::Select, Hold::Short), self.select.map(word)),
            ((Key::Select, Hold::Long), back),
        ];
        let mut parts: Vec<_> = parts.into_iter().filter_map(|(press, text)| Some((press, text?))).collect();
        let width = |text: &str| Self::sign_width(scale) + scale.small.width(text);
        let wanted = |parts: &[(_, String)]| parts.iter().map(|(_, text)| width(text)).sum::<u32>();
        if wanted(&parts) > strip.size.width {
            parts.iter_mut().filter(|((key, _), _)| *key == Key::Down).for_each(|(_, text)| text.clear());
        }
        let spare = strip.size.width.saturating_sub(wanted(&parts)) / (parts.len() as u32).max(1);
        let mut rest = strip;
        let cell = |(press, text): (_, String)| {
            let place = cut_left(&mut rest, width(&text) + spare);
            Cell { press, text, place }
        };
        parts.into_iter().map(cell).collect()
    }

    /// The key that a finger at `point` of the strip presses.
    pub(super) fn at(self, strip: Rectangle, point: Point, scale: &Scale) -> Option<(Key, Hold)> {
        self.cells(strip, scale).into_iter().find(|cell| cell.place.contains(point)).map(|cell| cell.press)
    }

    /// Whether all of it has room in the strip, but for the text of the arrows.
    #[cfg(test)]
    pub(super) fn fit(self, strip: Rectangle, scale: &Scale) -> bool {
        let has_room = |cell: &Cell| Self::sign_width(scale) + scale.small.width(&cell.text) <= cell.place.size.width;
        self.is_empty() || (strip.size.height >= scale.small.height() && self.cells(strip, scale).iter().all(has_room))
    }

    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(
        self,
        target: &mut D,
        strip: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        let fill = PrimitiveStyle::with_fill(palette::SOFT_TEXT);
        let side = (scale.small.height() * 2 / 3) as i32;
        for (index, Cell { press: (key, _), text, place }) in self.cells(strip, scale).into_iter().enumerate() {
            let mut room = place;
            let width = scale.small.height() + 1;
            // Up stands close to down.
            let sign = if key == Key::Up { cut_right(&mut room, width) } else { cut_left(&mut room, width) };
            let at = |x: i32, y: i32| sign.center() + Point::new(x, if key == Key::Up { y } else { -y });
            let mut clipped = target.clipped(&sign);
            match key {
                Key::Select => Circle::with_center(at(0, 0), side.max(1) as u32).draw_styled(&fill, &mut clipped)?,
                _ => Triangle::new(at(0, -side / 2), at(-side / 2, side / 2), at(side / 2, side / 2))
                    .draw_styled(&fill, &mut clipped)?,
            }
            draw_line(target, room, &text, scale.small, Ink::new(palette::SOFT_TEXT), Alignment::Left)?;
            // Keys are told apart, and up and down belong together.
            if index > 0 && key == Key::Select {
                let line = Rectangle::new(place.top_left - Point::new(3, 0), Size::new(1, place.size.height));
                target.fill_solid(&line.intersection(&strip), palette::TRACK)?;
            }
        }
        Ok(())
    }
}

/// Draws what all screens have in common, and says what is left for the body.
pub(super) fn draw_frame<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    tag: &str,
    name: &str,
    banner: &Banner<'_>,
    keys: Keys,
    scale: &Scale,
) -> Result<Rectangle, D::Error> {
    let frame = Frame::of(target.bounding_box(), scale);
    target.fill_solid(&target.bounding_box(), palette::BACKGROUND)?;
    draw_header(target, frame.header, tag, name, scale)?;
    banner.draw(target, frame.banner, scale)?;
    draw_footer(target, frame.footer, scale)?;
    let mut body = frame.body;
    let strip = keys.cut(&mut body, scale);
    keys.draw(target, strip, scale)?;
    Ok(body)
}

/// A colour and what it means.
pub(super) struct Legend {
    pub(super) word: Word,
    pub(super) swatch: Swatch,
}

/// How a [`Legend`]'s colour is shown.
#[derive(Clone, Copy)]
pub(super) enum Swatch {
    /// From nothing to all of it, left to right.
    Heat,
    /// A filled box.
    Filled(Rgb565),
    /// A box's outline.
    Outlined(Rgb565),
}

/// Pixels that [`draw_legend`] wants from left to right.
pub(super) fn legend_width(legends: &[Legend], scale: &Scale) -> u32 {
    let width = |legend: &Legend| scale.small.height() + scale.small.width(scale.language.word(legend.word));
    (legends.iter().map(width).sum::<u32>() + LEGEND_GAP * legends.len() as u32).saturating_sub(LEGEND_GAP)
}

/// From one colour of a legend to the next, in pixels.
const LEGEND_GAP: u32 = 6;

/// Draws as many colours as there is room for, from the left.
pub(super) fn draw_legend<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    legends: &[Legend],
    scale: &Scale,
) -> Result<(), D::Error> {
    let mut rest = area;
    let face = scale.small;
    let side = face.height().saturating_sub(3);
    for legend in legends {
        let text = scale.language.word(legend.word);
        if rest.size.width < side + 3 + face.width(text) {
            break;
        }
        let mut swatch = cut_left(&mut rest, side);
        cut_top(&mut swatch, 1);
        let swatch = cut_top(&mut swatch, side);
        draw_swatch(target, swatch, legend.swatch)?;
        cut_left(&mut rest, 3);
        let place = cut_left(&mut rest, face.width(text));
        draw_line(target, place, text, face, Ink::new(palette::SOFT_TEXT), Alignment::Left)?;
        cut_left(&mut rest, LEGEND_GAP);
    }
    Ok(())
}

/// Draws one colour of a legend.
pub(super) fn draw_swatch<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    swatch: Swatch,
) -> Result<(), D::Error> {
    match swatch {
        Swatch::Heat => {
            let width = area.size.width;
            for column in 0..width {
                let colour = super::picture::panel_colour(super::picture::heat_colour(column as f32 / width as f32));
                let strip = Rectangle::new(area.top_left + Size::new(column, 0), Size::new(1, area.size.height));
                target.fill_solid(&strip, colour)?;
            }
            Ok(())
        }
        Swatch::Filled(colour) => target.fill_solid(&area, colour),
        Swatch::Outlined(colour) => area.draw_styled(&PrimitiveStyle::with_stroke(colour, 1), target),
    }
}

/// A paragraph's words and its font and colour.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    pub(super) face: Face,
    pub(super) colour: Rgb565,
}

impl Words<'_> {
    /// Whether all of it has room, with no word broken.
    pub(super) fn fit(&self, room: Size) -> bool {
        paragraph_height(self.text, self.face, room.width) <= room.height
            && self.text.split_whitespace().all(|word| self.face.width(word) <= room.width)
    }
}

/// Whether paragraphs and measures have room one under the other.
pub(super) fn column_fits(words: &[Words<'_>], measures: &[Measure<'_>], room: Size, scale: &Scale) -> bool {
    column_height(words, measures, room.width, scale) <= room.height
        && words.iter().all(|words| words.fit(room))
        && measures.iter().all(|measure| measure.width(scale) <= room.width)
}

/// Pixels that paragraphs and measures need one under the other, with the least room between them.
fn column_height(words: &[Words<'_>], measures: &[Measure<'_>], width: u32, scale: &Scale) -> u32 {
    let words = words.iter().filter(|words| !words.text.is_empty());
    let heights: Vec<u32> = words
        .map(|words| paragraph_height(words.text, words.face, width))
        .chain(measures.iter().map(|measure| measure.height(width, scale)))
        .collect();
    heights.iter().sum::<u32>() + 2 * heights.len().saturating_sub(1) as u32
}

/// Draws paragraph under paragraph, then measure under measure, spread over the height of `area`.
pub(super) fn draw_column<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    words: &[Words<'_>],
    measures: &[Measure<'_>],
    scale: &Scale,
) -> Result<(), D::Error> {
    let words: Vec<&Words<'_>> = words.iter().filter(|words| !words.text.is_empty()).collect();
    let heights: Vec<u32> = words
        .iter()
        .map(|words| paragraph_height(words.text, words.face, area.size.width))
        .chain(measures.iter().map(|measure| measure.height(area.size.width, scale)))
        .collect();
    let gaps = heights.len().saturating_sub(1).max(1) as u32;
    let spare = area.size.height.saturating_sub(heights.iter().sum());
    let gap = (spare / gaps).clamp(2, 4 * scale.gap);
    let mut rest = area;
    for (index, words) in words.iter().enumerate() {
        // A paragraph that is too long is cut itself; it does not push out what comes below.
        let below: u32 = heights.iter().skip(index + 1).map(|height| gap + height).sum();
        let room = rest.size.height.saturating_sub(below).max(words.face.height());
        let block = cut_top(&mut rest, heights[index].min(room));
        draw_paragraph(target, block, words.text, words.face, Ink::new(words.colour), Alignment::Left)?;
        cut_top(&mut rest, gap);
    }
    for (measure, height) in measures.iter().zip(&heights[words.len()..]) {
        let block = cut_top(&mut rest, *height);
        measure.draw(target, block, scale)?;
        cut_top(&mut rest, gap);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{area, display};
    use core::convert::Infallible;
    use embedded_graphics::mock_display::MockDisplay;

    fn sign(sign: Sign) -> Result<MockDisplay<Rgb565>, Infallible> {
        let mut display = display();
        draw_sign(&mut display, area(1, 0, 17, 17), sign, Rgb565::WHITE, Rgb565::RED)?;
        Ok(display)
    }

    #[test]
    fn positive_is_a_bold_plus() -> Result<(), Infallible> {
        sign(Sign::Plus)?.assert_pattern(&[
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
            "      WWWWWWW     ",
        ]);
        Ok(())
    }

    #[test]
    fn negative_is_a_bold_bar() -> Result<(), Infallible> {
        sign(Sign::Minus)?.assert_pattern(&[
            "                  ",
            "                  ",
            "                  ",
            "                  ",
            "                  ",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
        ]);
        Ok(())
    }

    #[test]
    fn refer_is_a_diamond_with_a_question_mark() -> Result<(), Infallible> {
        let drawn = sign(Sign::Question)?;
        let ink = |x: i32, y: i32| drawn.get_pixel(Point::new(x, y));
        assert_eq!([ink(9, 0), ink(9, 16), ink(1, 8), ink(17, 8)], [Some(Rgb565::WHITE); 4], "its corners");
        assert_eq!([ink(1, 0), ink(17, 0), ink(1, 16), ink(17, 16)], [None; 4]);
        let inside =
            area(3, 3, 13, 11).points().filter(|at| drawn.get_pixel(*at).is_some_and(|colour| colour.g() < 40)).count();
        assert!(inside > 8, "the mark");
        Ok(())
    }

    #[test]
    fn rejected_is_a_square_with_a_cross() -> Result<(), Infallible> {
        sign(Sign::Cross)?.assert_pattern(&[
            "  WWWWWWWWWWWWWWW ",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWRRWWWWWWRWWWW",
            " WWWWWRRWWWWRRWWWW",
            " WWWWWWRRWWRRWWWWW",
            " WWWWWWWRRRRWWWWWW",
            " WWWWWWWWRRWWWWWWW",
            " WWWWWWWRRRRWWWWWW",
            " WWWWWWRRWWRRWWWWW",
            " WWWWWRRWWWWRRWWWW",
            " WWWWRRWWWWWWRWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            " WWWWWWWWWWWWWWWWW",
            "  WWWWWWWWWWWWWWW ",
        ]);
        Ok(())
    }

    #[test]
    fn a_problem_is_a_triangle_with_an_exclamation_mark() -> Result<(), Infallible> {
        sign(Sign::Exclamation)?.assert_pattern(&[
            "         W        ",
            "         W        ",
            "        WWW       ",
            "        WWW       ",
            "       WWWWW      ",
            "       WWWWW      ",
            "      WWRRRWW     ",
            "      WWRRRWW     ",
            "     WWWRRRWWW    ",
            "     WWWRRRWWW    ",
            "    WWWWRRRWWWW   ",
            "    WWWWRRRWWWW   ",
            "   WWWWWWWWWWWWW  ",
            "   WWWWWRRRWWWWW  ",
            "  WWWWWWRRRWWWWWW ",
            "  WWWWWWWWWWWWWWW ",
            " WWWWWWWWWWWWWWWWW",
        ]);
        Ok(())
    }

    #[test]
    fn signs_stay_inside_areas_of_any_size() -> Result<(), Infallible> {
        use Sign::{Bars, Cross, Exclamation, Hourglass, Minus, Plus, Power, Question, Ring, Tick};
        for sign in [Plus, Minus, Question, Cross, Hourglass, Exclamation, Ring, Bars, Tick, Power] {
            for (width, height) in (0..40).flat_map(|width| [(width, 5), (width, width), (30, width)]) {
                let mut display = display();
                let area = area(10, 10, width, height);
                draw_sign(&mut display, area, sign, Rgb565::WHITE, Rgb565::RED)?;
                let drawn = display.affected_area();
                assert!(drawn.is_zero_sized() || drawn.intersection(&area) == drawn, "{sign:?} {drawn:?} {area:?}");
                assert_eq!(drawn.is_zero_sized(), area.is_zero_sized(), "{sign:?} {area:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_paragraph_that_is_too_long_does_not_push_out_the_next() -> Result<(), Infallible> {
        let scale = Scale::of(Size::zero(), Language::English);
        let words = |text, colour| Words { text, face: scale.small, colour };
        let mut display = display();
        let long = "word ".repeat(99);
        let line = scale.small.height();
        let whole = area(0, 0, 60, 4 * line);
        draw_column(&mut display, whole, &[words(&long, Rgb565::RED), words("two", Rgb565::CYAN)], &[], &scale)?;
        let drawn = |colour: Rgb565| whole.points().filter(|&at| display.get_pixel(at) == Some(colour)).count();
        assert!(drawn(Rgb565::RED) > 0 && drawn(Rgb565::CYAN) > 0);
        Ok(())
    }

    #[test]
    fn a_finger_on_the_strip_presses_what_is_drawn_there() {
        let strip = area(0, 100, 180, 20);
        let scale = &Scale::of(Size::zero(), Language::English);
        let all = Keys { arrows: Some(Word::OthersKey), select: Some(Word::OpenKey), back: true };
        let pressed = |keys: Keys, x: i32| keys.at(strip, Point::new(x, 110), scale);
        let expected =
            [(Key::Up, Hold::Short), (Key::Down, Hold::Short), (Key::Select, Hold::Short), (Key::Select, Hold::Long)];
        assert_eq!([5, 30, 100, 170].map(|x| pressed(all, x)), expected.map(Some));
        assert_eq!([5, 30, 100, 170].map(|x| pressed(Keys::NONE, x)), [None; 4]);
        assert_eq!(all.at(strip, Point::new(5, 99), scale), None);
        assert_eq!(
            pressed(Keys { arrows: None, ..all }, 5),
            Some((Key::Select, Hold::Short)),
            "no arrow, no room for one"
        );
    }

    #[test]
    fn a_study_s_name_says_whose_it_is_and_in_which_time() {
        let name = study_name(Language::English, 41, "0713", "08:31");
        assert_eq!(name, "Study 41 \u{b7} patient 0713 \u{b7} 08:31 UTC");
        assert_eq!(study_name(Language::French, 41, "", ""), "Examen 41");
        assert_eq!([end_of("HN-2026-0713", 4), end_of("0713", 4), end_of("", 4)], ["\u{2026}0713", "0713", ""]);
    }

    #[test]
    fn a_legend_leaves_out_what_has_no_room() -> Result<(), Infallible> {
        let scale = Scale::of(Size::zero(), Language::English);
        let legend = |word, colour| Legend { word, swatch: Swatch::Filled(colour) };
        let legends = [legend(Word::LungShort, Rgb565::RED), legend(Word::InfectionShort, Rgb565::CYAN)];
        let mut display = display();
        draw_legend(&mut display, area(0, 0, 60, scale.small.height()), &legends, &scale)?;
        let swatches =
            |colour| display.affected_area().points().filter(|&at| display.get_pixel(at) == Some(colour)).count();
        assert!(swatches(Rgb565::RED) > 0 && swatches(Rgb565::CYAN) == 0);
        Ok(())
    }
}
