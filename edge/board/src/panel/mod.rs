//! Where the picture is shown.
//!
//! A [`Panel`] takes a whole [`Framebuffer`] and shows it. It remembers the last one, and hands on to the hardware only the
//! rectangles in which something changed: over SPI a whole picture takes a tenth of a second, the change of a clock a millisecond.
//! After an error nothing is known of what the glass shows, so the next picture is sent whole.
//!
//! [`Panel::cost`] says what a whole picture costs.

mod changes;
mod drm;
mod framebuffer;
mod pixels;
mod place;
mod spi;
#[cfg(feature = "window")]
mod window;

use std::{path::PathBuf, time::Duration};

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use thorax_screen::{Framebuffer, PngError, input::Input};

pub use self::{
    changes::changed,
    framebuffer::{Found, found},
};
use crate::{
    config::{self, Drawn},
    error::BoardError,
};

/// What each kind of panel can do.
trait Surface {
    /// Shows `changed` of a picture, and says how many bytes it sent.
    fn show(&mut self, picture: &Framebuffer, changed: &[Rectangle]) -> Result<usize, BoardError>;

    /// Turns the light behind the glass on or off, where it can.
    fn light(&mut self, _on: bool) -> Result<(), BoardError> {
        Ok(())
    }

    /// What the operator did at the panel itself, for a panel that is a window.
    fn inputs(&mut self) -> Vec<Input> {
        vec![]
    }
}

/// What a whole picture costs on the way to the panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes of a whole picture.
    pub bytes: usize,
    /// Whole pictures a second that the bus can carry, without the kernel's share; `None` where there is no bus.
    pub frames_a_second: Option<f64>,
}

/// What [`Panel::show`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Rectangles in which something changed.
    pub rectangles: usize,
    /// Bytes that were sent for them.
    pub bytes: usize,
}

/// A panel that is open.
///
/// It stays in the thread that opened it (a window can be served by no other).
pub struct Panel {
    surface: Box<dyn Surface>,
    size: Size,
    cost: Cost,
    last: Option<Vec<Rgb565>>,
}

impl Panel {
    /// Opens the panel of a profile, black.
    ///
    /// # Errors
    /// [`BoardError`] when there is no such device, or it cannot be used.
    pub fn open(config: &config::Panel) -> Result<Self, BoardError> {
        let size = drawn_size(config);
        let cost = cost(config);
        let surface: Box<dyn Surface> = match config {
            config::Panel::Spi(spi) => spi::open(spi)?,
            config::Panel::Drm(drm) => Box::new(drm::Monitor::open(drm)?),
            config::Panel::Framebuffer(framebuffer) => Box::new(framebuffer::Device::open(framebuffer)?),
            config::Panel::Png(png) => Box::new(PngFile(png.file.clone())),
            #[cfg(feature = "window")]
            config::Panel::Window(window) => Box::new(window::Desktop::open(window)),
            #[cfg(not(feature = "window"))]
            config::Panel::Window(_) => {
                return Err(BoardError::Missing {
                    what: "window in this program".into(),
                    there: String::new(),
                    remedy: "build it with `--features window` (Debian: libsdl2-dev), or show a PNG: [panel.png]",
                });
            }
        };
        Ok(Self { surface, size, cost, last: None })
    }

    /// The picture that has to be drawn.
    pub fn size(&self) -> Size {
        self.size
    }

    /// What a whole picture costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Shows a picture of [`Self::size`].
    ///
    /// # Errors
    /// [`BoardError`] when the picture has another size, or the device fails. The next one is sent whole then.
    pub fn show(&mut self, picture: &Framebuffer) -> Result<Shown, BoardError> {
        let size = picture.size();
        if size != self.size {
            let cause = format!("the picture has {} x {} pixels", size.width, size.height);
            let what = format!("the panel of {} x {}", self.size.width, self.size.height);
            return Err(BoardError::Device { what, cause, remedy: "draw it in the panel's size" });
        }
        let rectangles = match self.last.take() {
            Some(last) => changed(&last, picture.pixels(), size),
            None => vec![Rectangle::new(Point::zero(), size)],
        };
        let bytes = if rectangles.is_empty() { 0 } else { self.surface.show(picture, &rectangles)? };
        self.last = Some(picture.pixels().to_vec());
        Ok(Shown { rectangles: rectangles.len(), bytes })
    }

    /// Turns the light behind the glass on or off. A panel whose light nothing switches is left as it is.
    ///
    /// # Errors
    /// [`BoardError`] when the line cannot be set.
    pub fn light(&mut self, on: bool) -> Result<(), BoardError> {
        self.surface.light(on)
    }

    /// What the operator did at the panel itself since the last call: keys and clicks of a window. Other panels never have any;
    /// see [`Inputs`](crate::inputs::Inputs). A window wants to be asked some twenty times a second.
    pub fn inputs(&mut self) -> Vec<Input> {
        self.surface.inputs()
    }
}

/// The picture that has to be drawn for a panel.
pub fn drawn_size(config: &config::Panel) -> Size {
    let size = |[width, height]: [u16; 2]| Size::new(width.into(), height.into());
    match config {
        config::Panel::Spi(spi) if spi.rotation.is_sideways() => {
            let [width, height] = spi.glass();
            size([height, width])
        }
        config::Panel::Spi(spi) => size(spi.glass()),
        config::Panel::Drm(config::Drm { drawn: Drawn(drawn), .. })
        | config::Panel::Framebuffer(config::LinuxFramebuffer { drawn: Drawn(drawn), .. })
        | config::Panel::Png(config::Png { drawn: Drawn(drawn), .. })
        | config::Panel::Window(config::Window { drawn: Drawn(drawn), .. }) => size(*drawn),
    }
}

/// What a whole picture costs: over SPI its pixels and the window around them, at eight bits a byte and no pause between them.
pub fn cost(config: &config::Panel) -> Cost {
    let size = drawn_size(config);
    let pixels = size.width as usize * size.height as usize;
    match config {
        config::Panel::Spi(spi) => {
            let bytes = spi::WINDOW_BYTES + spi.bytes(pixels);
            Cost { bytes, frames_a_second: Some(f64::from(spi.clock_hertz) / (8 * bytes) as f64) }
        }
        // Before it is enlarged, in the monitor's four bytes.
        config::Panel::Drm(_) => Cost { bytes: 4 * pixels, frames_a_second: None },
        _ => Cost { bytes: 2 * pixels, frames_a_second: None },
    }
}

/// How long a change of `pixels` takes at least on the bus of an SPI panel.
pub fn time_of(spi: &config::Spi, pixels: usize) -> Duration {
    let bits = 8 * (spi::WINDOW_BYTES + spi.bytes(pixels));
    Duration::from_secs_f64(bits as f64 / f64::from(spi.clock_hertz))
}

/// A picture in a file.
struct PngFile(PathBuf);

impl Surface for PngFile {
    fn show(&mut self, picture: &Framebuffer, _changed: &[Rectangle]) -> Result<usize, BoardError> {
        picture.write_png(&self.0).map_err(|error| match error {
            PngError::Write(error) => BoardError::Write(error),
            PngError::Encode { path, reason } => BoardError::Device {
                what: path.display().to_string(),
                cause: reason.to_string(),
                remedy: "choose a smaller panel",
            },
        })?;
        Ok(2 * picture.pixels().len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn spi(text: &str) -> config::Panel {
        let line = "data_command = { name = \"DC\" }\ndevice = \"/dev/spidev0.0\"";
        let tables: config::Tables = toml::from_str(&format!("[panel.spi]\n{line}\n{text}")).unwrap();
        tables.check().unwrap();
        tables.panel.unwrap()
    }

    #[test]
    fn what_a_picture_costs_at_the_clock_of_the_profile() {
        for (text, size, bytes, frames) in [
            ("controller = \"ili9341\"\nrotation = 90", (320, 240), 153_611, 26.04),
            ("controller = \"st7789\"\nheight = 240\nclock_hertz = 62500000", (240, 240), 115_211, 67.81),
            ("controller = \"gc9a01\"\nclock_hertz = 40000000", (240, 240), 115_211, 43.4),
            // Three bytes a pixel; with two it would be the 13 that the same panel reaches where it takes them.
            ("controller = \"ili9488\"\nrotation = 270", (480, 320), 460_811, 8.68),
        ] {
            let config = spi(text);
            assert_eq!(drawn_size(&config), Size::new(size.0, size.1), "{text}");
            let cost = cost(&config);
            assert_eq!(cost.bytes, bytes, "{text}");
            assert!((cost.frames_a_second.unwrap() - frames).abs() < 0.01, "{text}: {cost:?}");
        }
        let config::Panel::Spi(ili9341) = spi("controller = \"ili9341\"") else { panic!() };
        assert!((time_of(&ili9341, 40 * 16).as_secs_f64() - 0.000_322_75).abs() < 1e-9, "a clock of 40 x 16 pixels");
    }

    #[test]
    fn only_what_changed_is_sent_and_after_an_error_everything() {
        struct Recorder(std::rc::Rc<std::cell::RefCell<Vec<Vec<Rectangle>>>>, u32);
        impl Surface for Recorder {
            fn show(&mut self, _picture: &Framebuffer, changed: &[Rectangle]) -> Result<usize, BoardError> {
                self.1 += 1;
                if self.1 == 3 {
                    return Err(BoardError::setting("x", "y"));
                }
                self.0.borrow_mut().push(changed.to_vec());
                Ok(1)
            }
        }
        let sent = std::rc::Rc::new(std::cell::RefCell::new(vec![]));
        let size = Size::new(240, 240);
        let whole = Rectangle::new(Point::zero(), size);
        let mut panel = Panel {
            surface: Box::new(Recorder(sent.clone(), 0)),
            size,
            cost: Cost { bytes: 0, frames_a_second: None },
            last: None,
        };
        let mut picture = Framebuffer::new(size);
        assert_eq!(panel.show(&picture).unwrap(), Shown { rectangles: 1, bytes: 1 });
        assert_eq!(panel.show(&picture).unwrap(), Shown::default(), "the same picture again");
        let dot = Rectangle::new(Point::new(7, 9), Size::new(2, 3));
        picture.fill_solid(&dot, Rgb565::RED).unwrap();
        panel.show(&picture).unwrap();
        picture.fill_solid(&dot, Rgb565::BLUE).unwrap();
        panel.show(&picture).unwrap_err();
        panel.show(&picture).unwrap();
        assert_eq!(*sent.borrow(), [vec![whole], vec![dot], vec![whole]]);
        let other = panel.show(&Framebuffer::new(Size::new(1, 1))).unwrap_err().to_string();
        assert!(other.contains("1 x 1") && other.contains("240 x 240"), "{other}");
    }

    #[test]
    fn a_file_is_a_panel() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("panel.png");
        let config = config::Panel::Png(config::Png { file: file.clone(), drawn: Drawn([320, 240]) });
        let mut panel = Panel::open(&config).unwrap();
        assert_eq!(panel.size(), Size::new(320, 240));
        let mut picture = Framebuffer::new(panel.size());
        picture.fill_solid(&Rectangle::new(Point::new(5, 5), Size::new(1, 1)), Rgb565::RED).unwrap();
        panel.show(&picture).unwrap();
        panel.light(false).unwrap();
        assert!(panel.inputs().is_empty());
        assert_eq!(std::fs::read(&file).unwrap(), picture.png().unwrap());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        picture.fill_solid(&Rectangle::new(Point::zero(), Size::new(1, 1)), Rgb565::RED).unwrap();
        assert!(panel.show(&picture).unwrap_err().to_string().contains("panel.png"));
    }

    #[cfg(not(feature = "window"))]
    #[test]
    fn a_program_without_windows_says_how_to_get_them() {
        let error = Panel::open(&config::Panel::Window(config::Window::default())).err().unwrap();
        assert!(error.to_string().contains("--features window"));
    }
}
