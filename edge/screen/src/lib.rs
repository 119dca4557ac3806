//! What the panel shows.
//!
//! A screen is a value that says what is known ([`ResultScreen`], [`HeatScreen`], [`ListScreen`], [`MessageScreen`]) and draws itself
//! onto any [`DrawTarget`](embedded_graphics::prelude::DrawTarget) of [`Rgb565`](embedded_graphics::pixelcolor::Rgb565): an SPI panel
//! of 320 x 240 pixels, a Linux framebuffer, or the [`Framebuffer`] from which a PNG is made. Everything is laid out from the
//! target's own size; 240 x 240, 240 x 320, 320 x 240, 480 x 320 and 800 x 480 are supported, and other sizes are drawn as far as
//! there is room.
//!
//! A screen is read at arm's length, in a hurry, by people who may not tell red from green. The verdict therefore has a
//! word, a shape and a colour of its own; under it stands what to do now; numbers come with a bar or gauge; what is not known is
//! left out, and what is no number is shown as `--`. An image that was rejected has no numbers and no overlay, whatever else was
//! computed. And every screen says that it comes from no medical device.
//!
//! Words come from the table that the tablet's page uses too ([`thorax_shared::words`]), in six languages.
//!
//! `tests/screens.rs` draws them all.

mod framebuffer;
mod gauge;
mod glyphs;
pub mod input;
mod layers;
mod layout;
mod list;
mod message;
#[cfg(test)]
mod mock;
pub mod operator;
mod palette;
mod parts;
mod picture;
mod result;
mod text;
#[cfg(test)]
mod titles;

use embedded_graphics::prelude::Size;

pub use self::{
    framebuffer::{Framebuffer, PngError, render_png},
    list::{Level, ListScreen, Row, Touched},
    message::{MessageScreen, Tone},
    parts::{Keys, study_name},
    picture::Overlaid,
    result::{HeatScreen, ResultScreen},
};

/// The panel of which a picture is kept with each result, in pixels.
pub const PANEL: Size = Size::new(320, 240);

/// Sizes that every screen has room on.
pub const SUPPORTED: [Size; 5] =
    [Size::new(240, 240), Size::new(240, 320), Size::new(320, 240), Size::new(480, 320), Size::new(800, 480)];

/// `text` with a capital at its beginning, as at the beginning of a sentence.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
