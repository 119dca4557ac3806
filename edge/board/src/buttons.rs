//! Three buttons: contacts at GPIO lines, or keys of a keyboard.
//!
//! A contact bounces for some milliseconds when it closes and when it opens, and a long cable picks up pulses of its own. So a level
//! counts only when it was at rest for a while ([`Debouncer`]), and everything later is reckoned from the edge that began it. A key
//! that is held long is told while it is still down, so that the screen answers before the finger is lifted; then its release is not
//! told again.

use std::time::Duration;

use evdev::KeyCode;
use gpiocdev::{Request, line::Value};
use thorax_screen::input::{Hold, Input, Key};

use crate::{config::Buttons, error::BoardError, line};

/// How long is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A level has to be at rest for as long before it counts.
    pub settle: Duration,
    /// A key that is held for as long is held long.
    pub long: Duration,
}

impl Timing {
    /// As a profile has it.
    pub fn of(buttons: &Buttons) -> Self {
        Self {
            settle: Duration::from_millis(buttons.debounce_milliseconds),
            long: Duration::from_millis(buttons.long_milliseconds),
        }
    }

    /// Of a keyboard whose keys do not bounce, or are debounced where they are read.
    pub fn of_keyboard() -> Self {
        Self { settle: Duration::ZERO, ..Self::of(&Buttons::default()) }
    }
}

/// One key, from its levels to what the operator did.
///
/// It knows no clock: whoever asks says what time it is, and may ask as often as he likes, but has to ask at [`Self::deadline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debouncer {
    timing: Timing,
    /// What counts.
    down: bool,
    /// The level that was seen last, and since when.
    seen: (bool, Duration),
    /// When the press that counts began.
    pressed: Duration,
    told: bool,
}

impl Debouncer {
    /// A key that is up.
    pub fn new(timing: Timing) -> Self {
        Self { timing, down: false, seen: (false, Duration::ZERO), pressed: Duration::ZERO, told: false }
    }

    /// The key's level at a time, which never goes back. Says what the operator did with it, if that is known now.
    pub fn update(&mut self, now: Duration, down: bool) -> Option<Hold> {
        // What was at rest long enough until now counts, before the new level does.
        let before = self.settle(now);
        if self.seen.0 != down {
            self.seen = (down, now);
        }
        before.or_else(|| self.settle(now))
    }

    fn settle(&mut self, now: Duration) -> Option<Hold> {
        let (down, since) = self.seen;
        if down != self.down && now.saturating_sub(since) >= self.timing.settle {
            self.down = down;
            if down {
                (self.pressed, self.told) = (since, false);
            } else if !self.told {
                // Nobody asked in the meantime; how long it was down is known all the same.
                let long = since.saturating_sub(self.pressed) >= self.timing.long;
                return Some(if long { Hold::Long } else { Hold::Short });
            }
        }
        // While the contact opens, it is not known yet whether it is held on; what it was until then counts.
        let held_until = if self.seen.0 { now } else { self.seen.1 };
        if self.down && !self.told && held_until.saturating_sub(self.pressed) >= self.timing.long {
            self.told = true;
            return Some(Hold::Long);
        }
        None
    }

    /// When it has to be asked again although nothing changes.
    pub fn deadline(&self) -> Option<Duration> {
        let (level, since) = self.seen;
        if level != self.down {
            return Some(since + self.timing.settle);
        }
        (self.down && !self.told).then(|| self.pressed + self.timing.long)
    }
}

/// The contacts of three buttons, open.
pub(crate) struct Contacts {
    lines: [(Key, Request, Debouncer); 3],
}

impl Contacts {
    /// Opens the three lines; `None` where the profile has none.
    pub(crate) fn open(buttons: &Buttons) -> Result<Option<Self>, BoardError> {
        let [Some((_, up)), Some((_, down)), Some((_, select))] = buttons.lines() else { return Ok(None) };
        let open = |key, line| -> Result<_, BoardError> {
            Ok((key, line::open_input(line)?, Debouncer::new(Timing::of(buttons))))
        };
        Ok(Some(Self { lines: [open(Key::Up, up)?, open(Key::Down, down)?, open(Key::Select, select)?] }))
    }

    /// What tells that a level changed.
    pub(crate) fn requests(&self) -> [&Request; 3] {
        let [(_, up, _), (_, down, _), (_, select, _)] = &self.lines;
        [up, down, select]
    }

    /// Reads the three levels.
    pub(crate) fn update(&mut self, now: Duration) -> Result<Vec<Input>, BoardError> {
        let mut inputs = vec![];
        for (key, request, debouncer) in &mut self.lines {
            let failed = |cause: gpiocdev::Error| BoardError::Device {
                what: format!("the button {key:?}"),
                cause: cause.to_string(),
                remedy: "see `thorax-edge board check`",
            };
            // Edges only wake us: what counts is the level, which tells the truth even where an edge was lost.
            while request.has_edge_event().map_err(failed)? {
                request.read_edge_event().map_err(failed)?;
            }
            let down = request.lone_value().map_err(failed)? == Value::Active;
            inputs.extend(debouncer.update(now, down).map(|hold| Input::Press(*key, hold)));
        }
        Ok(inputs)
    }

    /// When they have to be read again although nothing changes.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.lines.iter().filter_map(|(_, _, debouncer)| debouncer.deadline()).min()
    }
}

/// The keys of a keyboard.
#[derive(Clone, Debug)]
pub struct Keyboard {
    keys: [(Key, bool, Debouncer); 3],
}

impl Default for Keyboard {
    fn default() -> Self {
        Self::new(Timing::of_keyboard())
    }
}

impl Keyboard {
    /// With all keys up.
    pub fn new(timing: Timing) -> Self {
        Self { keys: [Key::Up, Key::Down, Key::Select].map(|key| (key, false, Debouncer::new(timing))) }
    }

    /// A key event of evdev: 0 for released, 1 for pressed, 2 for repeated, which is passed over.
    pub fn event(&mut self, now: Duration, code: KeyCode, value: i32) -> Option<Input> {
        let key = match code {
            KeyCode::KEY_UP | KeyCode::KEY_LEFT => Key::Up,
            KeyCode::KEY_DOWN | KeyCode::KEY_RIGHT => Key::Down,
            KeyCode::KEY_ENTER | KeyCode::KEY_KPENTER | KeyCode::KEY_SPACE => Key::Select,
            // Back, as a long press is.
            KeyCode::KEY_ESC => return (value == 1).then_some(Input::Press(Key::Select, Hold::Long)),
            _ => return None,
        };
        let down = match value {
            0 => false,
            1 => true,
            _ => return None,
        };
        let (_, level, debouncer) = self.keys.iter_mut().find(|(ours, ..)| *ours == key)?;
        *level = down;
        debouncer.update(now, down).map(|hold| Input::Press(key, hold))
    }

    /// What became known because time went by.
    pub fn update(&mut self, now: Duration) -> Vec<Input> {
        let keys = self.keys.iter_mut();
        keys.filter_map(|(key, level, debouncer)| Some(Input::Press(*key, debouncer.update(now, *level)?))).collect()
    }

    /// When it has to be asked again although nothing comes.
    pub fn deadline(&self) -> Option<Duration> {
        self.keys.iter().filter_map(|(_, _, debouncer)| debouncer.deadline()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMING: Timing = Timing { settle: Duration::from_millis(20), long: Duration::from_millis(500) };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// What comes of level changes, asked at each and at every deadline, and when it was told.
    fn told(changes: &[(u64, bool)], end: u64) -> Vec<(u64, Hold)> {
        let mut debouncer = Debouncer::new(TIMING);
        let mut told = vec![];
        let mut ask = |debouncer: &mut Debouncer, now: Duration, down| {
            told.extend(debouncer.update(now, down).map(|hold| (now.as_millis() as u64, hold)));
        };
        let mut level = false;
        for &(at, down) in changes.iter().chain([&(end, false)]) {
            while let Some(deadline) = debouncer.deadline().filter(|deadline| *deadline < ms(at)) {
                ask(&mut debouncer, deadline, level);
            }
            if at == end {
                break;
            }
            level = down;
            ask(&mut debouncer, ms(at), level);
        }
        told
    }

    #[test]
    fn a_press_is_short_or_long_and_told_once() {
        assert_eq!(told(&[(100, true), (200, false)], 2000), [(220, Hold::Short)]);
        assert_eq!(told(&[(100, true), (700, false)], 2000), [(600, Hold::Long)], "while it is down");
        assert_eq!(told(&[(100, true)], 9000), [(600, Hold::Long)], "and no second time");
        let twice = [(100, true), (200, false), (300, true), (400, false)];
        assert_eq!(told(&twice, 2000), [(220, Hold::Short), (420, Hold::Short)]);
    }

    #[test]
    fn bouncing_and_pulses_do_not_count() {
        let bouncing = [
            (100, true),
            (103, false),
            (105, true),
            (111, false),
            (112, true),
            (300, false),
            (304, true),
            (309, false),
        ];
        assert_eq!(told(&bouncing, 2000), [(329, Hold::Short)]);
        assert_eq!(told(&[(100, true), (119, false), (200, true), (201, false)], 2000), []);
        assert_eq!(
            told(&[(100, true), (300, false), (310, true), (700, false)], 2000),
            [(600, Hold::Long)],
            "a gap of 10 ms"
        );
    }

    #[test]
    fn who_asks_seldom_learns_the_same() {
        let mut debouncer = Debouncer::new(TIMING);
        assert_eq!(debouncer.update(ms(100), true), None);
        assert_eq!(debouncer.update(ms(200), false), None);
        assert_eq!(debouncer.update(ms(5000), false), Some(Hold::Short), "it was up since 200");
        assert_eq!(debouncer.update(ms(6000), true), None);
        assert_eq!(debouncer.update(ms(7000), false), Some(Hold::Long));
        assert_eq!(debouncer.update(ms(8000), false), None, "told already");
    }

    #[test]
    fn a_keyboard_s_repeats_are_passed_over_and_escape_is_back() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.event(ms(10), KeyCode::KEY_DOWN, 1), None);
        for at in (300..700).step_by(30) {
            assert_eq!(keyboard.event(ms(at), KeyCode::KEY_DOWN, 2), None);
        }
        assert_eq!(keyboard.event(ms(700), KeyCode::KEY_DOWN, 0), Some(Input::Press(Key::Down, Hold::Short)));
        assert_eq!(keyboard.event(ms(800), KeyCode::KEY_ENTER, 1), None);
        assert_eq!(keyboard.deadline(), Some(ms(1600)));
        assert_eq!(keyboard.update(ms(1600)), [Input::Press(Key::Select, Hold::Long)]);
        assert_eq!(keyboard.event(ms(1700), KeyCode::KEY_ENTER, 0), None);
        assert_eq!(keyboard.event(ms(1800), KeyCode::KEY_ESC, 1), Some(Input::Press(Key::Select, Hold::Long)));
        assert_eq!(keyboard.event(ms(1900), KeyCode::KEY_A, 1), None);
        assert_eq!(keyboard.deadline(), None);
    }

    /// The same by another way: the level of each millisecond, of which runs shorter than `settle` are put to what was before them,
    /// and what is left is cut into presses.
    fn by_samples(changes: &[(u64, bool)], end: u64) -> Vec<Hold> {
        let mut runs: Vec<(bool, u64, u64)> = vec![(false, 0, 0)];
        for at in 0..end {
            let level = changes.iter().rev().find(|(from, _)| *from <= at).is_some_and(|(_, level)| *level);
            match runs.last_mut() {
                Some((last, _, to)) if *last == level => *to = at + 1,
                _ => runs.push((level, at, at + 1)),
            }
        }
        let settle = TIMING.settle.as_millis() as u64;
        let mut presses: Vec<(u64, Option<u64>)> = vec![];
        let mut down = false;
        for (level, from, to) in runs {
            if level == down || to - from < settle {
                continue;
            }
            down = level;
            match (down, presses.last_mut()) {
                (true, _) => presses.push((from, None)),
                (false, Some((_, until))) => *until = Some(from),
                (false, None) => {}
            }
        }
        let long = TIMING.long.as_millis() as u64;
        let hold = |(from, until): (u64, Option<u64>)| match until {
            Some(until) if until - from >= long => Some(Hold::Long),
            Some(_) => Some(Hold::Short),
            None if end - from > long => Some(Hold::Long),
            None => None,
        };
        presses.into_iter().filter_map(hold).collect()
    }

    proptest! {
        #[test]
        fn whatever_a_contact_does_is_told_as_its_samples_have_it(pauses in proptest::collection::vec(prop_oneof![1u64..30, 1u64..700], 0..24)) {
            let mut at = 0;
            let changes: Vec<(u64, bool)> = pauses.iter().enumerate().map(|(i, pause)| { at += pause; (at, i % 2 == 0) }).collect();
            // At rest, and up, at the end.
            let end = at + 2000;
            let mut changes = changes;
            changes.push((at + 900, false));
            let holds: Vec<Hold> = told(&changes, end).into_iter().map(|(_, hold)| hold).collect();
            prop_assert_eq!(holds, by_samples(&changes, end), "{:?}", changes);
        }

        #[test]
        fn pulses_that_are_too_short_are_never_told(pulses in proptest::collection::vec((21u64..80, 1u64..20), 0..20)) {
            let mut at = 0;
            let changes: Vec<(u64, bool)> = pulses.into_iter().flat_map(|(pause, pulse)| { at += pause + pulse; [(at - pulse, true), (at, false)] }).collect();
            prop_assert!(told(&changes, at + 2000).is_empty());
        }
    }
}
