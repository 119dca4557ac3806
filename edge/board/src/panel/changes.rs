//! Which parts of a picture changed.
//!
//! A window on a panel costs 11 bytes and some calls into the kernel, a pixel two or three bytes, so few and tight rectangles are
//! wanted. The picture is cut into bands of eight rows; of each, the smallest rectangle with all changed pixels is taken, and bands that
//! changed in the same columns become one. That is never more than a band's width too much, and what a screen changes (a line of text,
//! a bar) lies in one or two bands.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};

/// Rows of a band.
const BAND: usize = 8;

/// Rectangles, from top to bottom and none over another, that hold every pixel in which two pictures of `size` differ.
pub fn changed(before: &[Rgb565], after: &[Rgb565], size: Size) -> Vec<Rectangle> {
    let width = size.width as usize;
    if width == 0 {
        return vec![];
    }
    let mut rectangles: Vec<Rectangle> = vec![];
    let bands = before.chunks(BAND * width).zip(after.chunks(BAND * width));
    for (index, (before, after)) in bands.enumerate() {
        let Some(part) = of_band(before, after, width) else { continue };
        let part = part.translate(Point::new(0, (index * BAND) as i32));
        match rectangles.last_mut() {
            Some(last)
                if last.top_left.x == part.top_left.x
                    && last.size.width == part.size.width
                    && last.top_left.y + last.size.height as i32 == part.top_left.y =>
            {
                last.size.height += part.size.height;
            }
            _ => rectangles.push(part),
        }
    }
    rectangles
}

/// The smallest rectangle with all changes of some rows.
fn of_band(before: &[Rgb565], after: &[Rgb565], width: usize) -> Option<Rectangle> {
    let mut corners: Option<([usize; 2], [usize; 2])> = None;
    for (y, (before, after)) in before.chunks(width).zip(after.chunks(width)).enumerate() {
        let differs = |x: &usize| before[*x] != after[*x];
        let row = 0..before.len().min(after.len());
        let (Some(left), Some(right)) = (row.clone().find(differs), row.rev().find(differs)) else { continue };
        corners = Some(match corners {
            None => ([left, y], [right, y]),
            Some(([x0, y0], [x1, _])) => ([x0.min(left), y0], [x1.max(right), y]),
        });
    }
    let ([x0, y0], [x1, y1]) = corners?;
    let corner = |x: usize, y: usize| Point::new(x as i32, y as i32);
    Some(Rectangle::with_corners(corner(x0, y0), corner(x1, y1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHITE: Rgb565 = Rgb565::WHITE;
    const BLACK: Rgb565 = Rgb565::BLACK;

    #[test]
    fn nothing_one_pixel_and_everything() {
        let size = Size::new(10, 20);
        let before = vec![BLACK; 200];
        assert!(changed(&before, &before, size).is_empty());
        let mut after = before.clone();
        after[75] = WHITE;
        assert_eq!(changed(&before, &after, size), [Rectangle::new(Point::new(5, 7), Size::new(1, 1))]);
        let all = vec![WHITE; 200];
        assert_eq!(
            changed(&before, &all, size),
            [Rectangle::new(Point::zero(), size)],
            "bands of the same columns are one"
        );
    }

    proptest! {
        #[test]
        fn sending_the_rectangles_makes_the_old_picture_the_new_one(
            width in 1usize..20,
            height in 1usize..30,
            changes in proptest::collection::vec((0usize..600, any::<bool>()), 0..12),
        ) {
            let size = Size::new(width as u32, height as u32);
            let mut panel = vec![BLACK; width * height];
            let mut after = panel.clone();
            for (at, white) in changes {
                let at = at % after.len();
                after[at] = if white { WHITE } else { BLACK };
            }
            let rectangles = changed(&panel, &after, size);
            let mut sent = 0;
            for rectangle in &rectangles {
                for point in rectangle.points() {
                    let at = point.y as usize * width + point.x as usize;
                    panel[at] = after[at];
                    sent += 1;
                }
            }
            prop_assert_eq!(&panel, &after);
            prop_assert!(sent <= width * height, "none lies over another");
            prop_assert!(rectangles.len() <= height.div_ceil(BAND));
        }
    }
}
