//! The tables of a profile that tell the board: `[board]`, `[panel]`, `[buttons]`, `[touch]`, `[thermal]`, `[executor]`.
//!
//! `boards/README.md` has a line for every key. Each table says of itself whether it can work ([`Tables::check`] asks them all, and
//! whether they agree with each other); nothing is opened for that.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::BoardError;

/// All tables that tell the board; other tables of a profile are passed over.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tables {
    /// Which board it is.
    pub board: Option<Board>,
    /// Where the picture is shown.
    pub panel: Option<Panel>,
    /// The three buttons, or the keys of a keyboard.
    pub buttons: Option<Buttons>,
    /// The touch panel.
    pub touch: Option<Touch>,
    /// How hot the board may become.
    pub thermal: Option<Thermal>,
    /// By how many processors a picture is read.
    pub executor: Option<Executor>,
}

/// Which board it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name, for people.
    pub name: String,
    /// The model has one of these in its name (`/proc/device-tree/model`, on a PC `/sys/class/dmi/id/product_name`); without any it
    /// may be every machine.
    #[serde(default)]
    pub models: Vec<String>,
    /// Processors.
    pub cores: u16,
    /// What the program may take of the memory, MiB.
    pub memory_budget_mebibytes: u64,
    /// The file by which the system is asked to switch the device off; without it, the panel offers no such thing.
    #[serde(default)]
    pub power_off_file: Option<PathBuf>,
}

/// Where the picture is shown: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Panel {
    /// A panel of its own controller at an SPI bus.
    Spi(Spi),
    /// A monitor or panel that the kernel drives (DRM/KMS).
    Drm(Drm),
    /// A panel that the kernel drives as an old framebuffer (`/dev/fb*`).
    Framebuffer(LinuxFramebuffer),
    /// A PNG file.
    Png(Png),
    /// A window of the desktop.
    Window(Window),
}

/// A panel at an SPI bus (four lines: clock, data, chip select, data or command).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spi {
    /// Its controller.
    pub controller: Controller,
    /// The device of bus and chip select.
    pub device: PathBuf,
    /// Bits a second.
    #[serde(default = "thirty_two_megahertz")]
    pub clock_hertz: u32,
    /// SPI mode: polarity and phase of the clock.
    #[serde(default)]
    pub mode: u8,
    /// Low for a command, high for data (D/C, RS, A0).
    pub data_command: Line,
    /// Low resets the controller (RST, RES); without it, a command does.
    #[serde(default)]
    pub reset: Option<Line>,
    /// Active while the panel is to be lit (BL, LED).
    #[serde(default)]
    pub backlight: Option<Line>,
    /// Pixels of the glass from left to right, before it is turned; the controller's own, if this is not told.
    #[serde(default)]
    pub width: Option<u16>,
    /// And from top to bottom.
    #[serde(default)]
    pub height: Option<u16>,
    /// Where in the controller's memory the glass begins: columns and rows, before it is turned.
    #[serde(default)]
    pub offset: [u16; 2],
    /// How far the picture is turned clockwise.
    #[serde(default)]
    pub rotation: Rotation,
    /// Whether left and right are exchanged.
    #[serde(default)]
    pub mirrored: bool,
    /// Whether the glass wants light for dark, as most IPS panels do.
    #[serde(default)]
    pub inverted: bool,
    /// In which order red, green and blue are on the glass.
    #[serde(default)]
    pub colour_order: ColourOrder,
}

impl Spi {
    /// The glass in pixels, before it is turned.
    pub fn glass(&self) -> [u16; 2] {
        let [width, height] = self.controller.memory();
        [self.width.unwrap_or(width), self.height.unwrap_or(height)]
    }

    /// Bytes of `pixels` on the bus.
    pub fn bytes(&self, pixels: usize) -> usize {
        pixels * self.controller.bytes_a_pixel()
    }
}

/// The controllers that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// Ilitek ILI9341, 240 x 320.
    Ili9341,
    /// Sitronix ST7789, 240 x 320.
    St7789,
    /// Ilitek ILI9488, 320 x 480, which takes no 16 bits a pixel over SPI, so three bytes are sent.
    Ili9488,
    /// Galaxycore GC9A01, 240 x 240, round.
    Gc9a01,
}

impl Controller {
    /// Columns and rows of its memory.
    pub fn memory(self) -> [u16; 2] {
        match self {
            Self::Ili9341 | Self::St7789 => [240, 320],
            Self::Ili9488 => [320, 480],
            Self::Gc9a01 => [240, 240],
        }
    }

    /// Bytes of a pixel on the bus.
    pub fn bytes_a_pixel(self) -> usize {
        match self {
            Self::Ili9341 | Self::St7789 | Self::Gc9a01 => 2,
            Self::Ili9488 => 3,
        }
    }
}

/// Degrees clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub enum Rotation {
    /// As it is.
    #[default]
    None,
    /// 90 degrees.
    Quarter,
    /// 180 degrees.
    Half,
    /// 270 degrees.
    ThreeQuarters,
}

impl Rotation {
    /// Whether width and height change places.
    pub fn is_sideways(self) -> bool {
        matches!(self, Self::Quarter | Self::ThreeQuarters)
    }
}

impl TryFrom<u16> for Rotation {
    type Error = String;

    fn try_from(degrees: u16) -> Result<Self, String> {
        match degrees {
            0 => Ok(Self::None),
            90 => Ok(Self::Quarter),
            180 => Ok(Self::Half),
            270 => Ok(Self::ThreeQuarters),
            other => Err(format!("{other} degrees; a panel is turned by 0, 90, 180 or 270")),
        }
    }
}

/// In which order the colours of a pixel come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// A monitor that the kernel drives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drm {
    /// The card; else the first that has a monitor.
    pub card: Option<PathBuf>,
    /// The connector, such as `HDMI-A-1`; else the first with a monitor.
    pub connector: Option<String>,
    /// The monitor's mode, columns and rows; else the one that it prefers.
    pub mode: Option<[u16; 2]>,
    /// Columns and rows of what is drawn; it is shown as large as whole multiples allow, in the middle.
    pub drawn: Drawn,
    /// How far the picture is turned clockwise.
    pub rotation: Rotation,
}

/// A panel that the kernel drives as a framebuffer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinuxFramebuffer {
    /// What the driver calls it (`/sys/class/graphics/fb*/name`); the number changes from start to start.
    pub name: String,
    /// Columns and rows of what is drawn; it is shown as large as whole multiples allow, in the middle.
    #[serde(default)]
    pub drawn: Drawn,
    /// How far the picture is turned clockwise.
    #[serde(default)]
    pub rotation: Rotation,
    /// In which order red, green and blue are in a pixel; the kernel's files do not tell.
    #[serde(default)]
    pub colour_order: ColourOrder,
}

/// Columns and rows that are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Drawn(pub [u16; 2]);

impl Default for Drawn {
    fn default() -> Self {
        Self([800, 480])
    }
}

/// A PNG file that is written anew, whole, for each picture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Png {
    /// The file.
    pub file: PathBuf,
    /// Columns and rows of what is drawn.
    #[serde(default)]
    pub drawn: Drawn,
}

/// A window of the desktop.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// Columns and rows of what is drawn.
    pub drawn: Drawn,
    /// Pixels of the monitor for one of ours.
    pub scale: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { drawn: Drawn::default(), scale: 1 }
    }
}

/// One line of a GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The pin of the 40-pin header, for the drawing.
    #[serde(default)]
    pub pin: Option<u8>,
    /// What the kernel calls the line.
    #[serde(default)]
    pub name: Option<String>,
    /// The chip's label or name, where several have a line of that name, or lines have none.
    #[serde(default)]
    pub chip: Option<String>,
    /// Its number in the chip, where lines have no names.
    #[serde(default)]
    pub offset: Option<u32>,
    /// Whether low voltage is active.
    #[serde(default)]
    pub active_low: bool,
    /// The chip's own resistor. Chips that have none pass this over.
    #[serde(default)]
    pub bias: Bias,
}

impl Line {
    fn check(&self, setting: &str) -> Result<(), BoardError> {
        match (&self.name, &self.chip, self.offset) {
            (Some(name), _, None) if !name.trim().is_empty() => {}
            (None, Some(chip), Some(_)) if !chip.trim().is_empty() => {}
            _ => {
                return Err(BoardError::setting(
                    setting,
                    "a line has a name, with or without its chip, or a chip and an offset",
                ));
            }
        }
        if let Some(pin) = self.pin
            && (!(1..=40).contains(&pin) || POWER_PINS.contains(&pin))
        {
            return Err(BoardError::setting(setting, format!("pin {pin} of the header carries no signal")));
        }
        Ok(())
    }

    /// The line for people: `GPIO25`, or `tegra-gpio, line 13`.
    pub fn describe(&self) -> String {
        match (&self.name, &self.chip, self.offset) {
            (Some(name), Some(chip), _) => format!("{name} of {chip}"),
            (Some(name), None, _) => name.clone(),
            (None, chip, offset) => {
                format!("{}, line {}", chip.as_deref().unwrap_or("?"), offset.unwrap_or_default())
            }
        }
    }
}

/// Pins of the 40-pin header that carry power or ground, the same on all boards that have one.
pub(crate) const POWER_PINS: [u8; 12] = [1, 2, 4, 6, 9, 14, 17, 20, 25, 30, 34, 39];

/// The resistor of a GPIO chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// As the firmware left it.
    #[default]
    AsIs,
    /// None.
    Disabled,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
}

/// The three keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Buttons {
    /// Contact of the key *up*.
    pub up: Option<Line>,
    /// Contact of the key *down*.
    pub down: Option<Line>,
    /// Contact of the key *select*.
    pub select: Option<Line>,
    /// A keyboard, or keys that the kernel drives: part of what evdev calls it.
    pub keyboard: Option<String>,
    /// A contact has to be at rest for as long before it counts, ms.
    pub debounce_milliseconds: u64,
    /// A key that is held for as long is held long, ms.
    pub long_milliseconds: u64,
}

impl Default for Buttons {
    fn default() -> Self {
        Self { up: None, down: None, select: None, keyboard: None, debounce_milliseconds: 25, long_milliseconds: 800 }
    }
}

/// The touch panel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touch {
    /// Part of what evdev calls it.
    pub device: String,
    /// Whether the axes are exchanged, before they are inverted.
    #[serde(default)]
    pub swap_axes: bool,
    /// Whether left is right.
    #[serde(default)]
    pub invert_x: bool,
    /// Whether top is bottom.
    #[serde(default)]
    pub invert_y: bool,
    /// Least and greatest value of the axis that runs from left to right; else those that the device tells.
    #[serde(default)]
    pub x_range: Option<[i32; 2]>,
    /// And of the one that runs from top to bottom.
    #[serde(default)]
    pub y_range: Option<[i32; 2]>,
}

/// How hot the board may become.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thermal {
    /// Zones that are looked at.
    pub zones: Vec<Zone>,
    /// It counts as cooler only by as many degrees below a limit, Celsius.
    pub hysteresis_celsius: f32,
    /// A warm board rests as long before each study.
    pub pause_seconds: u64,
    /// The zones are looked at as often.
    pub every_seconds: u64,
}

impl Default for Thermal {
    fn default() -> Self {
        Self { zones: vec![], hysteresis_celsius: 5.0, pause_seconds: 20, every_seconds: 5 }
    }
}

/// A thermal zone of the kernel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its type (`/sys/class/thermal/thermal_zone*/type`); the number changes.
    pub name: String,
    /// From here on the board slows down, Celsius.
    pub warm_celsius: f32,
    /// From here on it reads nothing, Celsius.
    pub hot_celsius: f32,
}

/// By how many processors a picture is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Executor {
    /// Threads of a worker of `[screening]`.
    pub threads: usize,
    /// Whether bundles are run on an NVIDIA GPU.
    pub gpu: bool,
}

impl Default for Executor {
    fn default() -> Self {
        Self { threads: 1, gpu: false }
    }
}

fn thirty_two_megahertz() -> u32 {
    32_000_000
}

fn within<T: PartialOrd + std::fmt::Display>(setting: &str, value: T, least: T, most: T) -> Result<(), BoardError> {
    // Written so that what is no number is refused.
    if value >= least && value <= most {
        return Ok(());
    }
    Err(BoardError::setting(setting, format!("{value} is not from {least} to {most}")))
}

impl Tables {
    /// Whether they can work. Nothing is opened.
    ///
    /// # Errors
    /// [`BoardError::Setting`] with table and key.
    pub fn check(&self) -> Result<(), BoardError> {
        let Self { board, panel, buttons, touch, thermal, executor } = self;
        if let Some(board) = board {
            board.check()?;
        }
        if let Some(panel) = panel {
            panel.check()?;
        }
        if let Some(buttons) = buttons {
            buttons.check()?;
        }
        if let Some(touch) = touch {
            touch.check()?;
        }
        if let Some(thermal) = thermal {
            thermal.check()?;
        }
        if let Some(executor) = executor {
            within("executor.threads", executor.threads, 1, 64)?;
            if let Some(board) = board
                && executor.threads > board.cores.into()
            {
                return Err(BoardError::setting(
                    "executor.threads",
                    format!("{} are more than the {} processors of the board", executor.threads, board.cores),
                ));
            }
        }
        self.check_lines()
    }

    /// Whether an operator can press or touch anything.
    pub fn has_keys(&self) -> bool {
        self.buttons.is_some() || self.touch.is_some() || matches!(self.panel, Some(Panel::Window(_)))
    }

    /// All lines of the profile with their settings.
    pub fn lines(&self) -> Vec<(&'static str, &Line)> {
        let mut lines = vec![];
        if let Some(Panel::Spi(spi)) = &self.panel {
            lines.push(("panel.spi.data_command", &spi.data_command));
            lines.extend(spi.reset.iter().map(|line| ("panel.spi.reset", line)));
            lines.extend(spi.backlight.iter().map(|line| ("panel.spi.backlight", line)));
        }
        if let Some(buttons) = &self.buttons {
            lines.extend(buttons.lines().into_iter().flatten());
        }
        lines
    }

    /// No line serves two purposes.
    fn check_lines(&self) -> Result<(), BoardError> {
        let lines = self.lines();
        for (i, (setting, line)) in lines.iter().enumerate() {
            line.check(setting)?;
            for (other, earlier) in &lines[..i] {
                let same_line = (&line.name, &line.chip, line.offset) == (&earlier.name, &earlier.chip, earlier.offset);
                if same_line || line.pin.is_some() && line.pin == earlier.pin {
                    return Err(BoardError::setting(setting, format!("is the line, or the pin, of {other}")));
                }
            }
            if matches!(self.panel, Some(Panel::Spi(_))) && line.pin.is_some_and(|pin| SPI_PINS.contains(&pin)) {
                return Err(BoardError::setting(setting, "is a pin of the SPI bus"));
            }
        }
        Ok(())
    }
}

/// Pins of the header's SPI bus without its second chip select: MOSI, MISO, clock, chip select 0. The Raspberry Pi's and the Jetsons' are
/// the same.
pub(crate) const SPI_PINS: [u8; 4] = [19, 21, 23, 24];

impl Board {
    fn check(&self) -> Result<(), BoardError> {
        if self.name.trim().is_empty() {
            return Err(BoardError::setting("board.name", "is empty"));
        }
        if self.models.iter().any(|model| model.trim().is_empty()) {
            return Err(BoardError::setting("board.models", "one is empty, and would fit every machine"));
        }
        if self.power_off_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err(BoardError::setting("board.power_off_file", "is no whole path"));
        }
        within("board.cores", self.cores, 1, 1024)?;
        within("board.memory_budget_mebibytes", self.memory_budget_mebibytes, 256, 1 << 20)
    }
}

impl Panel {
    /// The paths in it that are files of the profile's, for whoever has to put a folder before them.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        match self {
            Self::Png(png) if !png.file.as_os_str().is_empty() => Some(&mut png.file),
            _ => None,
        }
        .into_iter()
    }

    fn check(&self) -> Result<(), BoardError> {
        let drawn = |setting: &str, Drawn([width, height]): Drawn| {
            within(setting, width, 240, 800)?;
            within(setting, height, 240, 800)
        };
        match self {
            Self::Spi(spi) => spi.check(),
            Self::Drm(drm) => drawn("panel.drm.drawn", drm.drawn),
            Self::Framebuffer(framebuffer) => {
                if framebuffer.name.trim().is_empty() {
                    return Err(BoardError::setting("panel.framebuffer.name", "is empty"));
                }
                drawn("panel.framebuffer.drawn", framebuffer.drawn)
            }
            Self::Png(png) => {
                if png.file.as_os_str().is_empty() {
                    return Err(BoardError::setting("panel.png.file", "is empty"));
                }
                drawn("panel.png.drawn", png.drawn)
            }
            Self::Window(window) => {
                within("panel.window.scale", window.scale, 1, 8)?;
                drawn("panel.window.drawn", window.drawn)
            }
        }
    }
}

impl Spi {
    fn check(&self) -> Result<(), BoardError> {
        if self.device.as_os_str().is_empty() {
            return Err(BoardError::setting("panel.spi.device", "is empty"));
        }
        within("panel.spi.clock_hertz", self.clock_hertz, 100_000, 100_000_000)?;
        within("panel.spi.mode", self.mode, 0, 3)?;
        let [columns, rows] = self.controller.memory();
        let [width, height] = self.glass();
        within("panel.spi.width", width, 1, columns)?;
        within("panel.spi.height", height, 1, rows)?;
        let [x, y] = self.offset;
        if x > columns - width || y > rows - height {
            return Err(BoardError::setting(
                "panel.spi.offset",
                format!("{width} x {height} pixels from column {x} and row {y} on are not in its {columns} x {rows}"),
            ));
        }
        Ok(())
    }
}

impl Buttons {
    /// Each contact with its setting, in the order up, down, select.
    pub(crate) fn lines(&self) -> [Option<(&'static str, &Line)>; 3] {
        [("buttons.up", &self.up), ("buttons.down", &self.down), ("buttons.select", &self.select)]
            .map(|(setting, line)| line.as_ref().map(|line| (setting, line)))
    }

    fn check(&self) -> Result<(), BoardError> {
        let contacts = self.lines().iter().flatten().count();
        if contacts == 0 && self.keyboard.is_none() {
            return Err(BoardError::setting("buttons", "neither contacts nor a keyboard are told"));
        }
        if contacts != 0 && contacts != 3 {
            let missing = ["up", "down", "select"].into_iter().zip(self.lines()).find(|(_, line)| line.is_none());
            let name = missing.map(|(name, _)| name).unwrap_or_default();
            return Err(BoardError::setting(
                &format!("buttons.{name}"),
                "is not told, and the two others are not enough",
            ));
        }
        if self.keyboard.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err(BoardError::setting("buttons.keyboard", "is empty"));
        }
        within("buttons.debounce_milliseconds", self.debounce_milliseconds, 1, 200)?;
        within("buttons.long_milliseconds", self.long_milliseconds, 300, 5000)
    }
}

impl Touch {
    fn check(&self) -> Result<(), BoardError> {
        if self.device.trim().is_empty() {
            return Err(BoardError::setting("touch.device", "is empty"));
        }
        for (setting, range) in [("touch.x_range", self.x_range), ("touch.y_range", self.y_range)] {
            if let Some([least, greatest]) = range
                && least >= greatest
            {
                return Err(BoardError::setting(setting, format!("{least} is not less than {greatest}")));
            }
        }
        Ok(())
    }
}

impl Thermal {
    fn check(&self) -> Result<(), BoardError> {
        if self.zones.is_empty() {
            return Err(BoardError::setting("thermal.zones", "there is none"));
        }
        for (i, zone) in self.zones.iter().enumerate() {
            if zone.name.trim().is_empty() || self.zones[..i].iter().any(|other| other.name == zone.name) {
                return Err(BoardError::setting(
                    "thermal.zones.name",
                    format!("{:?} is empty, or told twice", zone.name),
                ));
            }
            within("thermal.zones.warm_celsius", zone.warm_celsius, 30.0, 110.0)?;
            within("thermal.zones.hot_celsius", zone.hot_celsius, 30.0, 120.0)?;
            if zone.hot_celsius <= zone.warm_celsius {
                return Err(BoardError::setting(
                    "thermal.zones.hot_celsius",
                    format!("{} is not above warm_celsius, {}", zone.hot_celsius, zone.warm_celsius),
                ));
            }
        }
        within("thermal.hysteresis_celsius", self.hysteresis_celsius, 0.5, 20.0)?;
        within("thermal.pause_seconds", self.pause_seconds, 1, 600)?;
        within("thermal.every_seconds", self.every_seconds, 1, 60)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = r#"
[board]
name = "A board"
models = ["Model A"]
cores = 4
memory_budget_mebibytes = 1024
[panel.spi]
controller = "ili9341"
device = "/dev/spidev0.0"
rotation = 90
data_command = { pin = 22, name = "GPIO25" }
reset = { pin = 18, chip = "chip", offset = 24 }
[buttons]
up = { pin = 29, name = "GPIO5", active_low = true, bias = "pull_up" }
down = { pin = 31, name = "GPIO6" }
select = { pin = 32, name = "GPIO12" }
[touch]
device = "ADS7846"
[thermal]
zones = [{ name = "cpu-thermal", warm_celsius = 70.0, hot_celsius = 80.0 }]
[executor]
threads = 4
"#;

    fn told(text: &str) -> String {
        match toml::from_str::<Tables>(text) {
            Ok(tables) => tables.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_whole_profile_is_taken_with_its_defaults() {
        let tables: Tables = toml::from_str(WHOLE).unwrap();
        tables.check().unwrap();
        let Some(Panel::Spi(spi)) = &tables.panel else { panic!("{tables:?}") };
        assert_eq!((spi.clock_hertz, spi.glass(), spi.rotation), (32_000_000, [240, 320], Rotation::Quarter));
        assert_eq!(tables.lines().len(), 5);
    }

    #[test]
    fn what_cannot_work_is_told_by_its_key() {
        for (from, to, words) in [
            ("cores = 4", "cores = 0", vec!["board.cores", "0 is not from 1 to 1024"]),
            ("threads = 4", "threads = 5", vec!["executor.threads", "more than the 4"]),
            ("threads = 4", "thread = 4", vec!["line 22", "unknown field"]),
            ("rotation = 90", "rotation = 45", vec!["line 10", "45 degrees"]),
            ("rotation = 90", "offset = [1, 0]", vec!["panel.spi.offset", "240 x 320"]),
            ("rotation = 90", "mode = 4", vec!["panel.spi.mode"]),
            ("rotation = 90", "clock_hertz = 1", vec!["panel.spi.clock_hertz"]),
            ("\"ili9341\"", "\"ssd1306\"", vec!["line 8", "unknown variant"]),
            ("pin = 31", "pin = 29", vec!["buttons.down", "of buttons.up"]),
            ("pin = 31", "pin = 30", vec!["buttons.down", "no signal"]),
            ("pin = 31", "pin = 23", vec!["buttons.down", "SPI bus"]),
            ("\"GPIO6\"", "\"GPIO25\"", vec!["buttons.down", "of panel.spi.data_command"]),
            ("chip = \"chip\", ", "", vec!["panel.spi.reset", "a chip and an offset"]),
            ("down = {", "# down = {", vec!["buttons.down", "not told"]),
            ("hot_celsius = 80.0", "hot_celsius = 70.0", vec!["thermal.zones.hot_celsius", "not above"]),
            ("hot_celsius = 80.0", "hot_celsius = nan", vec!["thermal.zones.hot_celsius", "NaN is not from"]),
            ("device = \"ADS7846\"", "device = \" \"", vec!["touch.device"]),
            ("device = \"ADS7846\"", "device = \"a\"\nx_range = [9, 9]", vec!["touch.x_range", "9 is not less than 9"]),
            ("[panel.spi]", "[panel.drm]\n[panel.spi]", vec!["line 7"]),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let told = told(&WHOLE.replacen(from, to, 1));
            assert!(words.iter().all(|word| told.contains(word)), "{from} -> {to}: {told}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(table in "(panel.spi|panel.drm|board|thermal|buttons)", text in "[-a-z0-9_ =\"\\[\\]{}.\n]{0,120}") {
            if let Ok(tables) = toml::from_str::<Tables>(&format!("[{table}]\n{text}")) {
                let _ = tables.check();
            }
        }
    }
}
