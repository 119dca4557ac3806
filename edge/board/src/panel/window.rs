//! The panel as a window of the desktop, with the arrow keys, Enter and Escape as its buttons, and the mouse as a finger.

use std::time::Instant;

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use embedded_graphics_simulator::{
    OutputSettingsBuilder, SimulatorDisplay, SimulatorEvent, Window as SdlWindow, sdl2::Keycode,
};
use thorax_screen::{Framebuffer, input::Hold, input::Input, input::Key};

use super::Surface;
use crate::{
    buttons::{Debouncer, Timing},
    config::{self, Drawn},
    error::BoardError,
};

/// A window that is open.
pub(super) struct Desktop {
    display: SimulatorDisplay<Rgb565>,
    window: SdlWindow,
    keys: [(Key, bool, Debouncer); 3],
    began: Instant,
}

impl Desktop {
    pub(super) fn open(config: &config::Window) -> Self {
        let Drawn([width, height]) = config.drawn;
        let display = SimulatorDisplay::new(Size::new(width.into(), height.into()));
        let settings = OutputSettingsBuilder::new().scale(config.scale).build();
        let mut window = SdlWindow::new("Thorax", &settings);
        // Before there is a picture SDL has no window, and no events.
        window.update(&display);
        let keys = [Key::Up, Key::Down, Key::Select].map(|key| (key, false, Debouncer::new(Timing::of_keyboard())));
        Self { display, window, keys, began: Instant::now() }
    }
}

/// Which of our keys a key of the keyboard is.
fn key(code: Keycode) -> Option<Key> {
    match code {
        Keycode::Up | Keycode::Left => Some(Key::Up),
        Keycode::Down | Keycode::Right => Some(Key::Down),
        Keycode::Return | Keycode::Space => Some(Key::Select),
        _ => None,
    }
}

impl Surface for Desktop {
    fn show(&mut self, picture: &Framebuffer, changed: &[Rectangle]) -> Result<usize, BoardError> {
        let width = picture.size().width as usize;
        let mut sent = 0;
        for part in changed {
            let pixels = part.points().filter_map(|at| picture.pixels().get(at.y as usize * width + at.x as usize));
            let Ok(()) = self.display.fill_contiguous(part, pixels.copied());
            sent += 2 * part.size.width as usize * part.size.height as usize;
        }
        self.window.update(&self.display);
        Ok(sent)
    }

    fn inputs(&mut self) -> Vec<Input> {
        let mut inputs = vec![];
        let mut changes = vec![];
        for event in self.window.events() {
            match event {
                // The simulator takes Escape, and the window's own button, for the wish to quit.
                SimulatorEvent::Quit | SimulatorEvent::KeyDown { keycode: Keycode::Backspace, repeat: false, .. } => {
                    inputs.push(Input::Press(Key::Select, Hold::Long));
                }
                SimulatorEvent::KeyDown { keycode, repeat: false, .. } => {
                    changes.extend(key(keycode).map(|key| (key, true)))
                }
                SimulatorEvent::KeyUp { keycode, .. } => changes.extend(key(keycode).map(|key| (key, false))),
                SimulatorEvent::MouseButtonUp { point, .. } => inputs.push(Input::Touch(point)),
                _ => {}
            }
        }
        let now = self.began.elapsed();
        for (key, down) in changes {
            for (ours, level, debouncer) in &mut self.keys {
                if *ours == key {
                    *level = down;
                    inputs.extend(debouncer.update(now, down).map(|hold| Input::Press(key, hold)));
                }
            }
        }
        for (key, level, debouncer) in &mut self.keys {
            inputs.extend(debouncer.update(now, *level).map(|hold| Input::Press(*key, hold)));
        }
        inputs
    }
}
