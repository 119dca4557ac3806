//! What an operator does at the device, whatever it is done with.
//!
//! A device has three buttons, or a touch panel, or the keys of a keyboard. What reads them (`thorax-board`) says only which
//! of three keys was pressed and for how long, or where the panel was touched, so that a screen knows no hardware.

use embedded_graphics::prelude::Point;

/// One of the three keys that every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// To the one before.
    Up,
    /// To the next one.
    Down,
    /// This one; held long, back to where one came from.
    Select,
}

/// How long a key was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Pressed and released.
    Short,
    /// Held; told while it is still down, once.
    Long,
}

/// What the operator did, debounced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A key was pressed.
    Press(Key, Hold),
    /// The panel was touched and released, in pixels of the picture as it is drawn, from its upper left corner.
    Touch(Point),
}
