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
//! | legend         | bundle        |
//! +----------------+---------------+
//! | footer: research use only      |
//! +--------------------------------+
//! ```

use embedded_graphics::{
    mono_font::iso_8859_1::{
        FONT_5X8, FONT_6X10, FONT_6X13, FONT_6X13_BOLD, FONT_7X13, FONT_7X13_BOLD, FONT_7X14, FONT_7X14_BOLD,
        FONT_8X13, FONT_8X13_BOLD, FONT_9X15, FONT_9X15_BOLD, FONT_10X20,
    },
    prelude::*,
    primitives::Rectangle,
};
use profont::{PROFONT_18_POINT, PROFONT_24_POINT};

use super::text::Face;

/// Fonts and heights for a size of panel.
pub(super) struct Scale {
    /// The verdict's word.
    pub(super) word: Face,
    /// What stands beside the verdict's word.
    pub(super) remark: Face,
    /// Why a person has to decide, beside the numbers.
    pub(super) reason: Face,
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
    header_height: u32,
    banner_height: u32,
    footer_height: u32,
    /// Between parts, in pixels.
    pub(super) gap: u32,
    /// Height of bars and gauges.
    pub(super) meter_height: u32,
}

/// From 240 x 240.
static COMPACT: Scale = Scale {
    word: Face::bold(&PROFONT_24_POINT),
    remark: Face::new(&FONT_5X8),
    reason: Face::new(&FONT_6X10),
    body: Face::new(&FONT_7X14),
    heading: Face::new(&FONT_7X14_BOLD),
    label: Face::new(&FONT_6X10),
    value: Face::new(&FONT_6X13_BOLD),
    large_value: Face::bold(&PROFONT_18_POINT),
    header: Face::new(&FONT_6X13),
    small: Face::new(&FONT_5X8),
    footer: Face::new(&FONT_5X8),
    header_height: 16,
    banner_height: 36,
    footer_height: 13,
    gap: 4,
    meter_height: 7,
};

/// From 300 x 220: the panel of 320 x 240 that the layout was made for.
static REGULAR: Scale = Scale {
    word: Face::bold(&PROFONT_24_POINT),
    remark: Face::new(&FONT_7X14),
    reason: Face::new(&FONT_7X13),
    body: Face::new(&FONT_9X15),
    heading: Face::new(&FONT_9X15_BOLD),
    label: Face::new(&FONT_7X13),
    value: Face::new(&FONT_7X13_BOLD),
    large_value: Face::bold(&PROFONT_18_POINT),
    header: Face::new(&FONT_7X13),
    small: Face::new(&FONT_6X10),
    footer: Face::new(&FONT_7X13_BOLD),
    header_height: 17,
    banner_height: 40,
    footer_height: 16,
    gap: 5,
    meter_height: 8,
};

/// From 420 x 300.
static LARGE: Scale = Scale {
    word: Face::bold(&PROFONT_24_POINT),
    remark: Face::new(&FONT_9X15),
    reason: Face::new(&FONT_9X15),
    body: Face::new(&FONT_10X20),
    heading: Face::bold(&FONT_10X20),
    label: Face::new(&FONT_9X15),
    value: Face::new(&FONT_9X15_BOLD),
    large_value: Face::bold(&PROFONT_18_POINT),
    header: Face::new(&FONT_9X15),
    small: Face::new(&FONT_8X13),
    footer: Face::new(&FONT_8X13_BOLD),
    header_height: 21,
    banner_height: 46,
    footer_height: 19,
    gap: 7,
    meter_height: 11,
};

impl Scale {
    /// What suits a panel of this size.
    pub(super) fn of(size: Size) -> &'static Self {
        if size.width >= 420 && size.height >= 300 {
            &LARGE
        } else if size.width >= 300 && size.height >= 220 {
            &REGULAR
        } else {
            &COMPACT
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
        let footer = cut_bottom(&mut body, scale.footer_height);
        let header = cut_top(&mut body, scale.header_height);
        let banner = cut_top(&mut body, scale.banner_height);
        Self { header, banner, body: inset(body, scale.gap), footer }
    }
}

/// The body of a result.
pub(super) struct ResultBody {
    pub(super) picture: Rectangle,
    pub(super) legend: Rectangle,
    pub(super) column: Rectangle,
    pub(super) bundle: Rectangle,
}

impl ResultBody {
    pub(super) fn of(body: Rectangle, scale: &Scale) -> Self {
        let mut column = body;
        let mut picture = cut_left(&mut column, body.size.width * 13 / 25);
        cut_left(&mut column, scale.gap + 2);
        let legend = cut_bottom(&mut picture, scale.small.height());
        let bundle = cut_bottom(&mut column, scale.small.height());
        cut_bottom(&mut picture, 3);
        cut_bottom(&mut column, 3);
        Self { picture, legend, column, bundle }
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
    use crate::DISCLAIMER;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_lie_inside_the_panel_and_apart(width in 0u32..2000, height in 0u32..2000, x in -50i32..50, y in -50i32..50) {
            let bounds = Rectangle::new(Point::new(x, y), Size::new(width, height));
            let scale = Scale::of(bounds.size);
            let Frame { header, banner, body, footer } = Frame::of(bounds, scale);
            let ResultBody { picture, legend, column, bundle } = ResultBody::of(body, scale);
            let parts = [header, banner, footer, picture, legend, column, bundle];
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.is_zero_sized() || part.intersection(&bounds) == *part, "{part:?}");
                for other in &parts[..index] {
                    prop_assert!(part.intersection(other).is_zero_sized(), "{part:?} {other:?}");
                }
            }
        }

        #[test]
        fn supported_panels_have_room_for_everything(width in 240u32..=480, height in 240u32..=320) {
            let scale = Scale::of(Size::new(width, height));
            prop_assert!(scale.footer.columns(width) >= DISCLAIMER.len());
            let frame = Frame::of(Rectangle::new(Point::zero(), Size::new(width, height)), scale);
            let body = ResultBody::of(frame.body, scale);
            prop_assert!(body.picture.size.width >= 110 && body.picture.size.height >= 110, "{:?}", body.picture);
            prop_assert!(body.column.size.width >= 100 && body.column.size.height >= 110, "{:?}", body.column);
        }
    }
}
