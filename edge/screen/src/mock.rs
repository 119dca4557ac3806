//! For tests: what pieces of a screen are drawn on.

use embedded_graphics::{mock_display::MockDisplay, pixelcolor::Rgb565, prelude::*, primitives::Rectangle};

/// A display of 64 x 64 pixels on which a pixel may be drawn twice.
pub(super) fn display() -> MockDisplay<Rgb565> {
    let mut display = MockDisplay::new();
    display.set_allow_overdraw(true);
    display
}

pub(super) fn area(x: i32, y: i32, width: u32, height: u32) -> Rectangle {
    Rectangle::new(Point::new(x, y), Size::new(width, height))
}
