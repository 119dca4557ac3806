//! Where things go: the panel is cut into rectangles, from the outside in, so that nothing can overlap.
//!
//! ```text
//! +--------------------------------+
//! | header: modality, name         |
//! +--------------------------------+
//! | banner: sign, word, remark     |
//! +----------------+---------------+
//! | picture        | column:       |
//! |                | reason,       |
//! |                | numbers       |
//! | legend                  bundle |
//! +----------------+---------------+
//! | footer: research use only      |
//! +--------------------------------+
//! ```

use embedded_graphics::{prelude::*, primitives::Rectangle};
use thorax_shared::words::{Language, Word};

use super::text::{Face, paragraph_height};

/// Fonts and heights for a size of panel and a language.
pub(super) struct Scale {
    pub(super) language: Language,
    /// The verdict's word.
    pub(super) word: Face,
    /// What stands beside the verdict's word.
    pub(super) remark: Face,
    /// Why a person has to decide, beside the numbers.
    pub(super) reason: Face,
    /// What to do, beside the numbers.
    pub(super) advice: Face,
    /// Text that has the body for itself.
    pub(super) body: Face,
    /// Its first sentence.
    pub(super) heading: Face,
    /// What a number is of.
    pub(super) label: Face,
    /// A number.
    pub(super) value: Face,
    /// The most important number.
    pub(super) large_value: Face,
    /// File name and modality.
    pub(super) header: Face,
    /// Legend and bundle.
    pub(super) small: Face,
    /// The disclaimer.
    pub(super) footer: Face,
    /// Between parts, in pixels.
    pub(super) gap: u32,
    /// Height of bars and gauges.
    pub(super) meter_height: u32,
}

impl Scale {
    /// What suits a panel of this size.
    pub(super) fn of(size: Size, language: Language) -> Self {
        let thin = |pixels| Face::new(pixels, false, language == Language::Hindi);
        let bold = |pixels| Face::new(pixels, true, language == Language::Hindi);
        // Figures are written in Latin script.
        let figure = |pixels| Face::new(pixels, true, false);
        match size {
            // 800 x 480.
            Size { width: 700.., height: 420.. } => Self {
                language,
                word: bold(52),
                remark: thin(24),
                reason: thin(24),
                advice: bold(22),
                body: thin(26),
                heading: bold(26),
                label: thin(24),
                value: bold(26),
                large_value: figure(44),
                header: thin(24),
                small: thin(20),
                footer: bold(22),
                gap: 12,
                meter_height: 18,
            },
            // 480 x 320.
            Size { width: 420.., height: 300.. } => Self {
                language,
                word: bold(34),
                remark: thin(16),
                reason: thin(16),
                advice: bold(15),
                body: thin(18),
                heading: bold(18),
                label: thin(16),
                value: bold(18),
                large_value: figure(30),
                header: thin(16),
                small: thin(14),
                footer: bold(15),
                gap: 7,
                meter_height: 11,
            },
            // 320 x 240, the panel that the layout was made for.
            Size { width: 300.., height: 220.. } => Self {
                language,
                word: bold(28),
                remark: thin(12),
                reason: thin(12),
                advice: bold(12),
                body: thin(14),
                heading: bold(15),
                label: thin(12),
                value: bold(13),
                large_value: figure(20),
                header: thin(13),
                small: thin(11),
                footer: thin(11),
                gap: 4,
                meter_height: 6,
            },
            // 240 x 240.
            _ => Self {
                language,
                word: bold(24),
                remark: thin(11),
                reason: thin(11),
                advice: bold(12),
                body: thin(12),
                heading: bold(12),
                label: thin(11),
                value: bold(12),
                large_value: figure(18),
                header: thin(12),
                small: thin(11),
                footer: thin(11),
                gap: 3,
                meter_height: 5,
            },
        }
    }
}

/// What every screen has.
pub(super) struct Frame {
    pub(super) header: Rectangle,
    pub(super) banner: Rectangle,
    pub(super) body: Rectangle,
    pub(super) footer: Rectangle,
}

impl Frame {
    /// The footer comes first: it is there on however low a target.
    pub(super) fn of(bounds: Rectangle, scale: &Scale) -> Self {
        let mut body = bounds;
        let notice =
            paragraph_height(scale.language.word(Word::Notice), scale.footer, bounds.size.width.saturating_sub(4));
        let footer = cut_bottom(&mut body, notice + 2 + scale.gap / 4);
        let header = cut_top(&mut body, scale.header.height() + 2 + scale.gap / 3);
        let banner = cut_top(&mut body, scale.word.height() + 3 + scale.gap / 3);
        cut_left(&mut body, scale.gap);
        cut_right(&mut body, scale.gap);
        cut_top(&mut body, scale.gap / 2);
        cut_bottom(&mut body, scale.gap / 2);
        Self { header, banner, body, footer }
    }
}

/// The body of a result.
pub(super) struct ResultBody {
    pub(super) picture: Rectangle,
    pub(super) column: Rectangle,
    pub(super) note: Rectangle,
    pub(super) legend: Rectangle,
    pub(super) bundle: Rectangle,
}

impl ResultBody {
    /// The picture takes `share` of 25 columns; below it and the column there is room for legend and bundle, and above those for
    /// a line, where one is wanted. The legend is `legend_width` pixels wide.
    pub(super) fn of(body: Rectangle, share: u32, with_note: bool, legend_width: u32, scale: &Scale) -> Self {
        let mut column = body;
        let mut below = cut_bottom(&mut column, scale.small.height());
        let note = cut_bottom(&mut column, if with_note { scale.small.height() } else { 0 });
        cut_bottom(&mut column, 2);
        let picture = cut_left(&mut column, body.size.width * share / 25);
        cut_left(&mut column, scale.gap + 2);
        let legend = cut_left(&mut below, legend_width);
        cut_left(&mut below, scale.gap);
        Self { picture, column, note, legend, bundle: below }
    }
}

/// Takes so many rows, or all there are, from the top of `rest`.
pub(super) fn cut_top(rest: &mut Rectangle, height: u32) -> Rectangle {
    let height = height.min(rest.size.height);
    let cut = Rectangle::new(rest.top_left, Size::new(rest.size.width, height));
    *rest = Rectangle::new(rest.top_left + Size::new(0, height), rest.size - Size::new(0, height));
    cut
}

/// Takes so many rows, or all there are, from the bottom of `rest`.
pub(super) fn cut_bottom(rest: &mut Rectangle, height: u32) -> Rectangle {
    let kept = rest.size.height.saturating_sub(height);
    let mut cut = *rest;
    *rest = cut_top(&mut cut, kept);
    cut
}

/// Takes so many columns, or all there are, from the left of `rest`.
pub(super) fn cut_left(rest: &mut Rectangle, width: u32) -> Rectangle {
    let width = width.min(rest.size.width);
    let cut = Rectangle::new(rest.top_left, Size::new(width, rest.size.height));
    *rest = Rectangle::new(rest.top_left + Size::new(width, 0), rest.size - Size::new(width, 0));
    cut
}

/// Takes so many columns, or all there are, from the right of `rest`.
pub(super) fn cut_right(rest: &mut Rectangle, width: u32) -> Rectangle {
    let kept = rest.size.width.saturating_sub(width);
    let mut cut = *rest;
    *rest = cut_left(&mut cut, kept);
    cut
}

/// `area` without `margin` pixels on each side.
pub(super) fn inset(area: Rectangle, margin: u32) -> Rectangle {
    let mut inner = area;
    cut_top(&mut inner, margin);
    cut_bottom(&mut inner, margin);
    cut_left(&mut inner, margin);
    cut_right(&mut inner, margin);
    inner
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_language() -> impl Strategy<Value = Language> {
        proptest::sample::select(&Language::ALL[..])
    }

    proptest! {
        #[test]
        fn parts_lie_inside_the_panel_and_apart(width in 0u32..2000, height in 0u32..2000, x in -50i32..50, y in -50i32..50, language in any_language()) {
            let bounds = Rectangle::new(Point::new(x, y), Size::new(width, height));
            let scale = Scale::of(bounds.size, language);
            let Frame { header, banner, body, footer } = Frame::of(bounds, &scale);
            let ResultBody { picture, legend, column, bundle, note } = ResultBody::of(body, 12, true, 99, &scale);
            let parts = [header, banner, footer, picture, legend, column, bundle, note];
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.is_zero_sized() || part.intersection(&bounds) == *part, "{part:?}");
                for other in &parts[..index] {
                    prop_assert!(part.intersection(other).is_zero_sized(), "{part:?} {other:?}");
                }
            }
        }
    }
}
