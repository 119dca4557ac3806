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

pub(super) const POSITIVE: Rgb565 = rgb(192, 64, 0);
pub(super) const NEGATIVE: Rgb565 = rgb(0, 120, 96);
pub(super) const REFER: Rgb565 = rgb(240, 176, 16);
pub(super) const REJECTED: Rgb565 = rgb(72, 76, 92);
pub(super) const BUSY: Rgb565 = rgb(0, 104, 176);
pub(super) const PROBLEM: Rgb565 = rgb(120, 64, 168);
pub(super) const READY: Rgb565 = rgb(40, 72, 104);
pub(super) const OFF: Rgb565 = rgb(40, 40, 40);
pub(super) const MENU: Rgb565 = rgb(52, 62, 76);
pub(super) const CHOSEN: Rgb565 = rgb(32, 64, 104);
pub(super) const TROUBLE_TEXT: Rgb565 = rgb(255, 168, 128);
pub(super) const ON_DARK: Rgb565 = rgb(255, 255, 255);
pub(super) const ON_BRIGHT: Rgb565 = rgb(0, 0, 0);

pub(super) const ENTROPY: Rgb565 = rgb(136, 176, 255);
/// 8 bits a channel, since overlays are blended before they are cut to the panel's depth.
pub(super) use thorax_shared::mask::{INFECTION_COLOUR as INFECTION, LUNG_COLOUR as LUNG};
/// No verdict has the blues of heat, and no bone: brighter is more, also without colour.
pub(super) const HEAT_LOW: [u8; 3] = [24, 72, 255];
pub(super) const HEAT_HIGH: [u8; 3] = [64, 248, 255];

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::pixelcolor::{Rgb888, RgbColor};

    /// Relative luminance (WCAG 2.2).
    fn luminance(colour: Rgb565) -> f64 {
        let colour = Rgb888::from(colour);
        let linear = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
    }

    fn contrast(a: Rgb565, b: Rgb565) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// WCAG asks for 4.5 of text and 3 of large text; in the sun, more is better.
    #[test]
    fn text_stands_out_from_its_ground() {
        let dark = [BACKGROUND, STRIP, CHOSEN];
        for ground in dark {
            for (name, text) in [
                ("text", TEXT),
                ("soft text", SOFT_TEXT),
                ("remedy", REMEDY_TEXT),
                ("disclaimer", DISCLAIMER_TEXT),
                ("trouble", TROUBLE_TEXT),
            ] {
                assert!(contrast(text, ground) >= 4.5, "{name}: {:.1}", contrast(text, ground));
            }
        }
        assert!(contrast(TEXT, BACKGROUND) >= 15.0 && contrast(REMEDY_TEXT, BACKGROUND) >= 10.0);
        for (name, ground) in [
            ("positive", POSITIVE),
            ("negative", NEGATIVE),
            ("rejected", REJECTED),
            ("busy", BUSY),
            ("problem", PROBLEM),
            ("ready", READY),
            ("menu", MENU),
            ("off", OFF),
        ] {
            assert!(contrast(ON_DARK, ground) >= 5.0, "{name}: {:.2}", contrast(ON_DARK, ground));
        }
        assert!(contrast(ON_BRIGHT, REFER) >= 10.0);
    }

    /// Rows and columns of the Brettel, Vienot and Mollon (1997) simulation in linear light as Vienot et al. (1999) give it.
    fn seen_without(red: bool, colour: Rgb565) -> [f64; 3] {
        let colour = Rgb888::from(colour);
        let linear = |channel: u8| (f64::from(channel) / 255.0).powf(2.2);
        let [r, g, b] = [linear(colour.r()), linear(colour.g()), linear(colour.b())];
        let mixed = if red { 0.11238 * r + 0.88762 * g } else { 0.29275 * r + 0.70725 * g };
        let blue = if red { 0.00401 * r - 0.00401 * g + b } else { -0.02234 * r + 0.02234 * g + b };
        [mixed, mixed, blue].map(|channel| channel.clamp(0.0, 1.0).powf(1.0 / 2.2))
    }

    #[test]
    fn verdicts_differ_for_those_who_do_not_see_red_or_green() {
        let verdicts = [("positive", POSITIVE), ("negative", NEGATIVE), ("refer", REFER), ("rejected", REJECTED)];
        for red in [true, false] {
            for (index, (name, colour)) in verdicts.iter().enumerate() {
                for (other_name, other) in &verdicts[..index] {
                    let (a, b) = (seen_without(red, *colour), seen_without(red, *other));
                    let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    assert!(distance > 0.12, "{name} and {other_name}: {distance:.2}");
                }
            }
        }
    }
}
