//! A touch panel: from the values of its two axes to a pixel of the picture.
//!
//! A tap is told when the finger is lifted, at the last place where it was: a resistive panel's first value is its worst. What the
//! device says of its axes (least and greatest value) is the calibration, unless the profile knows better; how the glass is mounted is
//! told by `swap_axes`, `invert_x` and `invert_y`.

use embedded_graphics::prelude::{Point, Size};
use evdev::{AbsoluteAxisCode, EventSummary, InputEvent, KeyCode, SynchronizationCode};
use thorax_screen::input::Input;

use crate::config::Touch;

/// From the values of the axes to the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Least and greatest value of the axis that runs from left to right.
    pub x_range: [i32; 2],
    /// And of the other.
    pub y_range: [i32; 2],
    /// Whether the axes are exchanged.
    pub swap_axes: bool,
    /// Whether left is right.
    pub invert_x: bool,
    /// Whether top is bottom.
    pub invert_y: bool,
    /// The picture.
    pub size: Size,
}

impl Calibration {
    /// As a profile has it, for a device whose axes X and Y have these ranges.
    pub fn of(touch: &Touch, device_x: [i32; 2], device_y: [i32; 2], size: Size) -> Self {
        let (across, down) = if touch.swap_axes { (device_y, device_x) } else { (device_x, device_y) };
        Self {
            x_range: touch.x_range.unwrap_or(across),
            y_range: touch.y_range.unwrap_or(down),
            swap_axes: touch.swap_axes,
            invert_x: touch.invert_x,
            invert_y: touch.invert_y,
            size,
        }
    }

    /// The pixel of two values of the device's axes X and Y. What lies beyond the ranges is at the edge.
    pub fn pixel(&self, x: i32, y: i32) -> Point {
        let (x, y) = if self.swap_axes { (y, x) } else { (x, y) };
        Point::new(
            along(x, self.x_range, self.invert_x, self.size.width),
            along(y, self.y_range, self.invert_y, self.size.height),
        )
    }
}

/// The pixel, of `length`, of a value in a range.
fn along(value: i32, [least, greatest]: [i32; 2], invert: bool, length: u32) -> i32 {
    let (value, least, greatest) = (i64::from(value), i64::from(least), i64::from(greatest));
    let last = i64::from(length) - 1;
    if greatest <= least || last < 0 {
        return 0;
    }
    // Each pixel has an equal share of the range, both ends included.
    let share = (value.clamp(least, greatest) - least) * i64::from(length) / (greatest - least + 1);
    let pixel = if invert { last - share } else { share };
    i32::try_from(pixel.clamp(0, last)).unwrap_or(0)
}

/// A finger, from events to taps.
#[derive(Clone, Debug)]
pub struct Finger {
    calibration: Calibration,
    x: Option<i32>,
    y: Option<i32>,
    down: bool,
    was_down: bool,
}

impl Finger {
    /// No finger.
    pub fn new(calibration: Calibration) -> Self {
        Self { calibration, x: None, y: None, down: false, was_down: false }
    }

    /// An event of evdev; those of the axes, of `BTN_TOUCH`, and the end of a report count.
    pub fn event(&mut self, event: InputEvent) -> Option<Input> {
        match event.destructure() {
            EventSummary::AbsoluteAxis(_, AbsoluteAxisCode::ABS_X, value) => self.x = Some(value),
            EventSummary::AbsoluteAxis(_, AbsoluteAxisCode::ABS_Y, value) => self.y = Some(value),
            EventSummary::Key(_, KeyCode::BTN_TOUCH, value) => self.down = value != 0,
            EventSummary::Synchronization(_, SynchronizationCode::SYN_REPORT, _) => {
                let lifted = self.was_down && !self.down;
                self.was_down = self.down;
                // The kernel sends an axis only when it changed, so values stay from one finger to the next.
                if lifted && let (Some(x), Some(y)) = (self.x, self.y) {
                    return Some(Input::Touch(self.calibration.pixel(x, y)));
                }
            }
            // The kernel's buffer ran over: what comes next is half of a report.
            EventSummary::Synchronization(_, SynchronizationCode::SYN_DROPPED, _) => {
                (self.down, self.was_down) = (false, false);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use evdev::EventType;
    use proptest::prelude::*;

    use super::*;

    fn calibration(swap_axes: bool, invert_x: bool, invert_y: bool) -> Calibration {
        let touch = Touch { device: "x".into(), swap_axes, invert_x, invert_y, x_range: None, y_range: None };
        Calibration::of(&touch, [0, 4095], [100, 3899], Size::new(320, 240))
    }

    #[test]
    fn corners_are_where_the_glass_is_mounted() {
        let (lower, upper) = ([0, 100], [4095, 3899]);
        for (calibration, from_lower, from_upper) in [
            (calibration(false, false, false), (0, 0), (319, 239)),
            (calibration(false, true, false), (319, 0), (0, 239)),
            (calibration(false, false, true), (0, 239), (319, 0)),
            (calibration(true, false, false), (0, 0), (319, 239)),
        ] {
            assert_eq!(calibration.pixel(lower[0], lower[1]), Point::new(from_lower.0, from_lower.1));
            assert_eq!(calibration.pixel(upper[0], upper[1]), Point::new(from_upper.0, from_upper.1));
        }
        assert_eq!(
            calibration(true, false, false).pixel(0, 3899),
            Point::new(319, 0),
            "the device's Y runs from left to right"
        );
        assert_eq!(calibration(false, false, false).pixel(2048, 2000), Point::new(160, 120));
        let touch = Touch {
            device: "x".into(),
            swap_axes: false,
            invert_x: false,
            invert_y: false,
            x_range: Some([200, 3800]),
            y_range: None,
        };
        let told = Calibration::of(&touch, [0, 4095], [0, 4095], Size::new(320, 240));
        assert_eq!(
            (told.pixel(0, 0).x, told.pixel(200, 0).x, told.pixel(3800, 0).x),
            (0, 0, 319),
            "the profile knows better"
        );
    }

    fn event(kind: EventType, code: u16, value: i32) -> InputEvent {
        InputEvent::new(kind.0, code, value)
    }

    #[test]
    fn a_tap_is_told_once_where_the_finger_was_last() {
        let mut finger = Finger::new(calibration(false, false, false));
        let x = |value| event(EventType::ABSOLUTE, AbsoluteAxisCode::ABS_X.0, value);
        let y = |value| event(EventType::ABSOLUTE, AbsoluteAxisCode::ABS_Y.0, value);
        let touch = |value| event(EventType::KEY, KeyCode::BTN_TOUCH.0, value);
        let report = event(EventType::SYNCHRONIZATION, 0, 0);
        let dropped = event(EventType::SYNCHRONIZATION, 3, 0);
        let mut all =
            |events: &[InputEvent]| events.iter().filter_map(|event| finger.event(*event)).collect::<Vec<_>>();
        assert_eq!(
            all(&[touch(1), x(0), y(100), report, x(2048), report, touch(0), report]),
            [Input::Touch(Point::new(160, 0))]
        );
        assert_eq!(
            all(&[touch(1), report, touch(0), report]),
            [Input::Touch(Point::new(160, 0))],
            "at the same place again"
        );
        assert_eq!(all(&[touch(1), report, dropped, touch(0), report]), [], "half of a report");
        assert_eq!(all(&[report, report]), []);
    }

    proptest! {
        #[test]
        fn every_value_is_a_pixel_of_the_picture(
            x: i32, y: i32, a: i32, b: i32, c: i32, d: i32,
            flags in any::<[bool; 3]>(), width in 1u32..2000, height in 1u32..2000,
        ) {
            let [swap_axes, invert_x, invert_y] = flags;
            let calibration = Calibration {
                x_range: [a, b], y_range: [c, d], swap_axes, invert_x, invert_y, size: Size::new(width, height),
            };
            let Point { x, y } = calibration.pixel(x, y);
            prop_assert!((0..width as i32).contains(&x) && (0..height as i32).contains(&y));
        }
    }
}
