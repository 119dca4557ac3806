//! The pieces that screens are made of; each stays inside the area it is given.

use embedded_graphics::{
    mono_font::iso_8859_1::{FONT_6X10, FONT_10X20},
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{Circle, CornerRadii, Line, PrimitiveStyle, Rectangle, RoundedRectangle, StyledDrawable, Triangle},
    text::Alignment,
};

use super::{
    gauge::Metric,
    layout::{Scale, cut_left, cut_right, cut_top, inset},
    palette,
    text::{Face, draw_line, draw_paragraph, paragraph_height, wrap},
};

/// Shapes that differ in outline, so that they are told apart without colour and from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A bold plus.
    Plus,
    /// A disc with a minus.
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
}

/// What a banner says, and how.
pub(super) struct Banner<'a> {
    pub(super) sign: Sign,
    /// In large letters.
    pub(super) word: &'a str,
    /// In small letters beside it.
    pub(super) remark: &'a str,
    pub(super) ground: Rgb565,
    pub(super) ink: Rgb565,
}

impl Banner<'_> {
    /// What the sign leaves of `area` for words.
    pub(super) fn room(area: Rectangle, scale: &Scale) -> Rectangle {
        let mut room = inset(area, scale.gap);
        let side = room.size.height;
        cut_left(&mut room, side + scale.gap + 3);
        room
    }

    pub(super) fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        area: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        target.fill_solid(&area, self.ground)?;
        let badge = inset(area, scale.gap);
        let badge = cut_left(&mut { badge }, badge.size.height);
        draw_sign(target, badge, self.sign, self.ink, self.ground)?;
        let mut rest = Self::room(area, scale);

        let face =
            if self.word.chars().count() <= scale.word.columns(rest.size.width) { scale.word } else { scale.header };
        let word = cut_left(&mut rest, face.width(self.word.chars().count()));
        draw_line(target, word, self.word, face, self.ink, Alignment::Left)?;
        cut_left(&mut rest, scale.gap);

        // The remark stands centred over the banner's height, flush with the panel's right edge.
        let face = scale.remark;
        let height = paragraph_height(self.remark, face, rest.size.width);
        let spare = rest.size.height.saturating_sub(height) / 2;
        cut_top(&mut rest, spare);
        for line in wrap(self.remark, face.columns(rest.size.width)) {
            let row = cut_top(&mut rest, face.line_height());
            draw_line(target, row, line, face, self.ink, Alignment::Right)?;
        }
        Ok(())
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
        Sign::Minus => {
            Circle::new(square.top_left, side).draw_styled(&shape, target)?;
            block(3, 7, 13, 9).draw_styled(&hole, target)
        }
        Sign::Question => {
            Triangle::new(at(8, 0), at(0, 8), at(16, 8)).draw_styled(&shape, target)?;
            Triangle::new(at(8, 16), at(0, 8), at(16, 8)).draw_styled(&shape, target)?;
            let face = Face::bold(if side >= 27 { &FONT_10X20 } else { &FONT_6X10 });
            draw_line(target, square, "?", face, ground, Alignment::Center)
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
        let chip = cut_left(&mut rest, face.width(tag.chars().count()) + 10);
        let chip = inset(chip, 1);
        let radii = CornerRadii::new(Size::new_equal(3));
        RoundedRectangle::new(chip, radii)
            .draw_styled(&PrimitiveStyle::with_fill(palette::SOFT_TEXT), &mut target.clipped(&area))?;
        draw_line(target, chip, tag, face, palette::BACKGROUND, Alignment::Center)?;
        cut_left(&mut rest, scale.gap);
    }
    draw_line(target, rest, name, scale.header, palette::TEXT, Alignment::Left)
}

/// The strip below, on every screen.
pub(super) fn draw_footer<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    text: &str,
    scale: &Scale,
) -> Result<(), D::Error> {
    target.fill_solid(&area, palette::STRIP)?;
    draw_line(target, area, text, scale.footer, palette::DISCLAIMER_TEXT, Alignment::Center)
}

/// A colour and what it means.
pub(super) struct Key {
    pub(super) text: &'static str,
    pub(super) swatch: Swatch,
}

/// How a [`Key`]'s colour is shown.
pub(super) enum Swatch {
    /// From nothing to all of it, left to right.
    Heat,
    /// A filled box.
    Filled(Rgb565),
    /// A box's outline.
    Outlined(Rgb565),
}

/// Draws as many keys as there is room for, from the left.
pub(super) fn draw_legend<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    keys: &[Key],
    face: Face,
) -> Result<(), D::Error> {
    let mut rest = area;
    let side = face.height().saturating_sub(2);
    for key in keys {
        let text_width = face.width(key.text.len());
        if rest.size.width < side + 2 + text_width {
            break;
        }
        let mut swatch = cut_left(&mut rest, side);
        cut_top(&mut swatch, 1);
        let swatch = cut_top(&mut swatch, side);
        match key.swatch {
            Swatch::Heat => {
                for column in 0..side {
                    let colour = super::picture::panel_colour(super::picture::heat_colour(column as f32 / side as f32));
                    let strip =
                        Rectangle::new(swatch.top_left + Size::new(column, 0), Size::new(1, swatch.size.height));
                    target.fill_solid(&strip, colour)?;
                }
            }
            Swatch::Filled(colour) => target.fill_solid(&swatch, colour)?,
            Swatch::Outlined(colour) => swatch.draw_styled(&PrimitiveStyle::with_stroke(colour, 1), target)?,
        }
        cut_left(&mut rest, 2);
        let text = cut_left(&mut rest, text_width);
        draw_line(target, text, key.text, face, palette::SOFT_TEXT, Alignment::Left)?;
        cut_left(&mut rest, 5);
    }
    Ok(())
}

/// A paragraph's words and its font and colour.
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    pub(super) face: Face,
    pub(super) colour: Rgb565,
}

/// Draws paragraph under paragraph, then metric under metric, spread over the height of `area`.
pub(super) fn draw_column<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    words: &[Words<'_>],
    metrics: &[Metric<'_>],
    scale: &Scale,
) -> Result<(), D::Error> {
    let height_of = |words: &Words<'_>| paragraph_height(words.text, words.face, area.size.width);
    let heights = || words.iter().map(height_of).chain(metrics.iter().map(|metric| metric.height(scale)));
    let gaps = (words.len() + metrics.len()).saturating_sub(1).max(1) as u32;
    let spare = area.size.height.saturating_sub(heights().sum());
    let gap = (spare / gaps).clamp(2, 4 * scale.gap);
    let mut rest = area;
    for (index, words) in words.iter().enumerate() {
        // A paragraph that is too long is cut itself; it does not push out what comes below.
        let below: u32 = heights().skip(index + 1).map(|height| gap + height).sum();
        let room = rest.size.height.saturating_sub(below).max(words.face.height());
        let block = cut_top(&mut rest, height_of(words).min(room));
        draw_paragraph(target, block, words.text, words.face, words.colour)?;
        cut_top(&mut rest, gap);
    }
    for metric in metrics {
        let block = cut_top(&mut rest, metric.height(scale));
        metric.draw(target, block, scale)?;
        cut_top(&mut rest, gap);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{area, display};
    use core::convert::Infallible;
    use embedded_graphics::{mock_display::MockDisplay, mono_font::ascii::FONT_4X6};

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
    fn negative_is_a_disc_with_a_minus() -> Result<(), Infallible> {
        sign(Sign::Minus)?.assert_pattern(&[
            "       WWWWW      ",
            "     WWWWWWWWW    ",
            "   WWWWWWWWWWWWW  ",
            "   WWWWWWWWWWWWW  ",
            "  WWWWWWWWWWWWWWW ",
            "  WWWWWWWWWWWWWWW ",
            " WWWWWWWWWWWWWWWWW",
            " WWWRRRRRRRRRRRWWW",
            " WWWRRRRRRRRRRRWWW",
            " WWWRRRRRRRRRRRWWW",
            " WWWWWWWWWWWWWWWWW",
            "  WWWWWWWWWWWWWWW ",
            "  WWWWWWWWWWWWWWW ",
            "   WWWWWWWWWWWWW  ",
            "   WWWWWWWWWWWWW  ",
            "     WWWWWWWWW    ",
            "       WWWWW      ",
        ]);
        Ok(())
    }

    #[test]
    fn refer_is_a_diamond_with_a_question_mark() -> Result<(), Infallible> {
        sign(Sign::Question)?.assert_pattern(&[
            "         W        ",
            "        WWW       ",
            "       WWWWW      ",
            "      WWWWWWW     ",
            "     WWRRRRWWW    ",
            "    WWRRWWRRWWW   ",
            "   WWWWWWRRWWWWW  ",
            "  WWWWWWRRWWWWWWW ",
            " WWWWWWWRRWWWWWWWW",
            "  WWWWWWWWWWWWWWW ",
            "   WWWWWRRWWWWWW  ",
            "    WWWWWWWWWWW   ",
            "     WWWWWWWWW    ",
            "      WWWWWWW     ",
            "       WWWWW      ",
            "        WWW       ",
            "         W        ",
        ]);
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
        use Sign::{Cross, Exclamation, Hourglass, Minus, Plus, Question, Ring};
        for sign in [Plus, Minus, Question, Cross, Hourglass, Exclamation, Ring] {
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
    fn paragraphs_break_between_words() -> Result<(), Infallible> {
        let mut display = display();
        let face = Face::new(&FONT_4X6);
        draw_paragraph(&mut display, area(2, 1, 40, 20), "too few pixels here", face, Rgb565::WHITE)?;
        display.assert_pattern(&[
            "                             ",
            "   W                W        ",
            "  WWW  W   W       W   W  W W",
            "   W  W W W W     WWW W W W W",
            "   W  W W W W      W  WW  WWW",
            "    W  W   W       W   WW W W",
            "                             ",
            "                             ",
            "       W          WW         ",
            "  WW      W W  W   W   WW    ",
            "  W W WW   W  W W  W  WW     ",
            "  WW   W   W  WW   W    W    ",
            "  W   WWW W W  WW WWW WW     ",
            "  W                          ",
            "                             ",
            "  W                          ",
            "  WW   W  W W  W             ",
            "  W W W W WW  W W            ",
            "  W W WW  W   WW             ",
            "  W W  WW W    WW            ",
        ]);
        Ok(())
    }

    #[test]
    fn a_paragraph_that_is_too_long_does_not_push_out_the_next() -> Result<(), Infallible> {
        let words = |text, colour| Words { text, face: Face::new(&FONT_4X6), colour };
        let scale = Scale::of(Size::zero());
        let mut display = display();
        let long = "word ".repeat(99);
        let paragraphs = [words(&long, Rgb565::RED), words("two words", Rgb565::CYAN)];
        draw_column(&mut display, area(0, 0, 20, 40), &paragraphs, &[], scale)?;
        let mut alone = MockDisplay::new();
        draw_paragraph(&mut alone, area(0, 27, 20, 13), "two words", Face::new(&FONT_4X6), Rgb565::CYAN)?;
        let below = |display: &MockDisplay<Rgb565>| {
            area(0, 26, 20, 14).points().map(|at| display.get_pixel(at)).collect::<Vec<_>>()
        };
        assert_eq!(below(&display), below(&alone));
        Ok(())
    }

    #[test]
    fn a_legend_leaves_out_what_has_no_room() -> Result<(), Infallible> {
        let keys = [
            Key { text: "heat", swatch: Swatch::Filled(Rgb565::RED) },
            Key { text: "lung", swatch: Swatch::Outlined(Rgb565::CYAN) },
            Key { text: "infected", swatch: Swatch::Filled(Rgb565::BLUE) },
        ];
        let mut display = display();
        draw_legend(&mut display, area(0, 0, 60, 8), &keys, Face::new(&FONT_4X6))?;
        let swatches =
            |colour| display.affected_area().points().filter(|&at| display.get_pixel(at) == Some(colour)).count();
        assert_eq!([Rgb565::RED, Rgb565::CYAN, Rgb565::BLUE].map(swatches), [16, 12, 0]);
        Ok(())
    }
}
