//! The panel's colours: light on dark, and told apart by people who do not see red and green.
//!
//! The verdicts take their hues from Okabe and Ito's palette (*Color Universal Design*, 2008): vermilion, bluish green
//! and orange. Colour never stands alone; each verdict has its word and its shape as well.

use embedded_graphics::pixelcolor::Rgb565;

/// 8 bits a channel, cut to the panel's 5, 6 and 5.
pub(super) const fn rgb(red: u8, green: u8, blue: u8) -> Rgb565 {
    Rgb565::new(red >> 3, green >> 2, blue >> 3)
}

/// A colour of an overlay as it is where nothing shines through.
pub(super) fn panel([red, green, blue]: [u8; 3]) -> Rgb565 {
    rgb(red, green, blue)
}

pub(super) const BACKGROUND: Rgb565 = rgb(10, 14, 20);
pub(super) const STRIP: Rgb565 = rgb(28, 36, 46);
pub(super) const TRACK: Rgb565 = rgb(48, 58, 70);
pub(super) const TEXT: Rgb565 = rgb(240, 244, 248);
pub(super) const SOFT_TEXT: Rgb565 = rgb(176, 188, 200);
pub(super) const REMEDY_TEXT: Rgb565 = rgb(160, 208, 255);
pub(super) const DISCLAIMER_TEXT: Rgb565 = rgb(255, 224, 130);

pub(super) const POSITIVE: Rgb565 = rgb(208, 76, 0);
pub(super) const NEGATIVE: Rgb565 = rgb(0, 136, 104);
pub(super) const REFER: Rgb565 = rgb(240, 176, 16);
pub(super) const REJECTED: Rgb565 = rgb(96, 104, 120);
pub(super) const BUSY: Rgb565 = rgb(0, 104, 176);
pub(super) const PROBLEM: Rgb565 = rgb(128, 72, 176);
pub(super) const ON_DARK: Rgb565 = rgb(255, 255, 255);
pub(super) const ON_BRIGHT: Rgb565 = rgb(0, 0, 0);

pub(super) const ENTROPY: Rgb565 = rgb(136, 176, 255);
/// 8 bits a channel, since overlays are blended before they are cut to the panel's depth.
pub(super) use thorax_shared::mask::{INFECTION_COLOUR as INFECTION, LUNG_COLOUR as LUNG};
/// Heat glows as iron does: brighter is more, also without colour.
pub(super) const HEAT_LOW: [u8; 3] = [216, 56, 0];
pub(super) const HEAT_HIGH: [u8; 3] = [255, 232, 64];
