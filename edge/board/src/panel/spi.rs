//! Panels at an SPI bus, by the drivers of `mipidsi`.
//!
//! All four controllers speak MIPI's display command set (DCS) over four lines: a byte with D/C low is a command, bytes with D/C
//! high are its parameters or pixels. A rectangle is `CASET` (2Ah) with the first and last column, `RASET` (2Bh; ILI9341: PASET) with
//! first and last row, each as two bytes with the higher one first, and `RAMWR` (2Ch) with the pixels. How the glass is turned goes into
//! `MADCTL` (36h), so a turned panel costs nothing. The tests compare the bytes with what the data sheets say. The data sheets were not at
//! hand: numbers of commands, bits of `MADCTL` and forms of pixels were looked up in open drivers, sections are from memory.
//!
//! The bus is our own, since `spidev` takes no more than its buffer at once (4096 bytes, unless the module was told otherwise), and
//! since `mipidsi`'s writes an empty transfer behind each command that has no parameters.

use std::fmt::Debug;

use embedded_graphics::{
    pixelcolor::{Rgb565, RgbColor},
    primitives::Rectangle,
};
use embedded_hal::{delay::DelayNs, digital::OutputPin, spi::SpiDevice};
use linux_embedded_hal::{
    Delay, SpidevDevice,
    spidev::{SpiModeFlags, SpidevOptions},
};
use mipidsi::{
    Builder, Display, InitError,
    interface::{Interface, InterfaceKind, InterfacePixelFormat},
    models::{GC9A01, ILI9341Rgb565, ILI9488Rgb666, Model, ST7789},
    options::{ColorInversion, ColorOrder, Orientation, Rotation as Turn},
};
use thorax_screen::Framebuffer;

use super::Surface;
use crate::{
    config::{ColourOrder, Controller, Line, Rotation, Spi},
    error::BoardError,
    line::Output,
};

/// What a rectangle costs beside its pixels: `CASET` and `RASET` with four bytes each, and `RAMWR`.
pub(super) const WINDOW_BYTES: usize = 5 + 5 + 1;
/// What `spidev` takes at once, unless it was told otherwise (its parameter `bufsiz`).
const MOST_BYTES: usize = 4096;

const REMEDY: &str =
    "check the wiring against the board's drawing, and with `thorax-edge board check` that the SPI bus is enabled";

/// Opens bus and pins, and starts the controller.
pub(super) fn open(config: &Spi) -> Result<Box<dyn Surface>, BoardError> {
    let failed = |cause: std::io::Error| BoardError::Device {
        what: config.device.display().to_string(),
        cause: cause.to_string(),
        remedy: REMEDY,
    };
    let mut device = SpidevDevice::open(&config.device).map_err(|error| failed(error.into_io()))?;
    let mode = [SpiModeFlags::SPI_MODE_0, SpiModeFlags::SPI_MODE_1, SpiModeFlags::SPI_MODE_2, SpiModeFlags::SPI_MODE_3];
    let mode = mode.get(usize::from(config.mode)).copied().unwrap_or(SpiModeFlags::SPI_MODE_0);
    let options = SpidevOptions::new().bits_per_word(8).max_speed_hz(config.clock_hertz).mode(mode).build();
    device.configure(&options).map_err(failed)?;
    let open = |line: &Line| Output::open(line, true);
    let data_command = open(&config.data_command)?;
    let reset = config.reset.as_ref().map(open).transpose()?;
    let backlight = config.backlight.as_ref().map(|line| Output::open(line, false)).transpose()?;
    let mut panel = start(config, device, data_command, reset, backlight, &mut Delay)?;
    panel.light(true)?;
    Ok(panel)
}

/// What the kernel says beneath the errors of `embedded-hal`.
trait IntoIo {
    fn into_io(self) -> std::io::Error;
}

impl IntoIo for linux_embedded_hal::SPIError {
    fn into_io(self) -> std::io::Error {
        std::io::Error::other(self.to_string())
    }
}

/// Starts the controller at any bus and pins, and blackens the glass.
fn start<SPI, DC, RST>(
    config: &Spi,
    spi: SPI,
    data_command: DC,
    reset: Option<RST>,
    backlight: Option<Output>,
    delay: &mut impl DelayNs,
) -> Result<Box<dyn Surface>, BoardError>
where
    SPI: SpiDevice + 'static,
    DC: OutputPin + 'static,
    RST: OutputPin + 'static,
{
    let bus = Bus { spi, data_command, buffer: Vec::with_capacity(MOST_BYTES) };
    match config.controller {
        Controller::Ili9341 => Chip::start(ILI9341Rgb565, config, bus, reset, backlight, delay),
        Controller::St7789 => Chip::start(ST7789, config, bus, reset, backlight, delay),
        Controller::Ili9488 => Chip::start(ILI9488Rgb666, config, bus, reset, backlight, delay),
        Controller::Gc9a01 => Chip::start(GC9A01, config, bus, reset, backlight, delay),
    }
}

/// A controller that was started.
struct Chip<SPI: SpiDevice, DC: OutputPin, M, RST: OutputPin>
where
    M: Model,
    M::ColorFormat: InterfacePixelFormat<u8>,
{
    display: Display<Bus<SPI, DC>, M, RST>,
    backlight: Option<Output>,
    bytes_a_pixel: usize,
}

impl<SPI, DC, M, RST> Chip<SPI, DC, M, RST>
where
    SPI: SpiDevice + 'static,
    DC: OutputPin + 'static,
    M: Model + 'static,
    M::ColorFormat: InterfacePixelFormat<u8> + From<Rgb565>,
    RST: OutputPin + 'static,
{
    fn start(
        model: M,
        config: &Spi,
        bus: Bus<SPI, DC>,
        reset: Option<RST>,
        backlight: Option<Output>,
        delay: &mut impl DelayNs,
    ) -> Result<Box<dyn Surface>, BoardError> {
        let turn = match config.rotation {
            Rotation::None => Turn::Deg0,
            Rotation::Quarter => Turn::Deg90,
            Rotation::Half => Turn::Deg180,
            Rotation::ThreeQuarters => Turn::Deg270,
        };
        let orientation = Orientation::new().rotate(turn);
        let orientation = if config.mirrored { orientation.flip_horizontal() } else { orientation };
        let [width, height] = config.glass();
        let [x, y] = config.offset;
        let builder = Builder::new(model, bus)
            .display_size(width, height)
            .display_offset(x, y)
            .orientation(orientation)
            .invert_colors(if config.inverted { ColorInversion::Inverted } else { ColorInversion::Normal })
            .color_order(match config.colour_order {
                ColourOrder::Rgb => ColorOrder::Rgb,
                ColourOrder::Bgr => ColorOrder::Bgr,
            });
        // With a pin and without are two types of display.
        match reset {
            Some(reset) => {
                let display = builder.reset_pin(reset).init(delay).map_err(|error| init_failed(config, &error))?;
                Chip::black(display, config, backlight)
            }
            None => {
                let display = builder.init(delay).map_err(|error| init_failed(config, &error))?;
                Chip::black(display, config, backlight)
            }
        }
    }

    /// Blackens the glass, which shows noise at first.
    fn black(
        mut display: Display<Bus<SPI, DC>, M, RST>,
        config: &Spi,
        backlight: Option<Output>,
    ) -> Result<Box<dyn Surface>, BoardError> {
        let [width, height] = config.glass();
        let [right, bottom] =
            if config.rotation.is_sideways() { [height - 1, width - 1] } else { [width - 1, height - 1] };
        let black = std::iter::repeat_with(|| M::ColorFormat::from(Rgb565::BLACK));
        let pixels = black.take(usize::from(width) * usize::from(height));
        display.set_pixels(0, 0, right, bottom, pixels).map_err(|error| failed(&error))?;
        Ok(Box::new(Self { display, backlight, bytes_a_pixel: config.controller.bytes_a_pixel() }))
    }
}

fn failed(error: &impl Debug) -> BoardError {
    BoardError::Device { what: "the SPI panel".into(), cause: format!("{error:?}"), remedy: REMEDY }
}

fn init_failed(config: &Spi, error: &InitError<impl Debug, impl Debug>) -> BoardError {
    match error {
        InitError::InvalidConfiguration(cause) => BoardError::setting("panel.spi", format!("{cause:?}")),
        error => BoardError::Device {
            what: config.device.display().to_string(),
            cause: format!("{error:?}"),
            remedy: REMEDY,
        },
    }
}

impl<SPI, DC, M, RST> Surface for Chip<SPI, DC, M, RST>
where
    SPI: SpiDevice,
    DC: OutputPin,
    M: Model,
    M::ColorFormat: InterfacePixelFormat<u8> + From<Rgb565>,
    RST: OutputPin,
{
    fn show(&mut self, picture: &Framebuffer, changed: &[Rectangle]) -> Result<usize, BoardError> {
        use embedded_graphics::prelude::*;
        let width = picture.size().width as usize;
        let mut sent = 0;
        for part in changed {
            let Some(end) = part.bottom_right() else { continue };
            // A panel has fewer than 65,536 columns, and no picture begins left of it.
            let [sx, sy, ex, ey] = [part.top_left.x, part.top_left.y, end.x, end.y].map(|at| at as u16);
            let pixels = part.points().filter_map(|at| picture.pixels().get(at.y as usize * width + at.x as usize));
            self.display
                .set_pixels(sx, sy, ex, ey, pixels.map(|pixel| M::ColorFormat::from(*pixel)))
                .map_err(|error| failed(&error))?;
            sent += WINDOW_BYTES + self.bytes_a_pixel * part.size.width as usize * part.size.height as usize;
        }
        Ok(sent)
    }

    fn light(&mut self, on: bool) -> Result<(), BoardError> {
        self.backlight.as_ref().map_or(Ok(()), |line| line.set(on))
    }
}

/// The bus with its D/C line.
struct Bus<SPI, DC> {
    spi: SPI,
    data_command: DC,
    buffer: Vec<u8>,
}

/// What went wrong on the way to the panel.
#[derive(Debug)]
enum BusError<SPI, DC> {
    /// The bus.
    Spi(#[allow(dead_code, reason = "read by Debug")] SPI),
    /// The D/C line.
    DataCommand(#[allow(dead_code, reason = "read by Debug")] DC),
}

impl<SPI: SpiDevice, DC: OutputPin> Bus<SPI, DC> {
    fn flush(&mut self) -> Result<(), BusError<SPI::Error, DC::Error>> {
        if !self.buffer.is_empty() {
            self.spi.write(&self.buffer).map_err(BusError::Spi)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl<SPI: SpiDevice, DC: OutputPin> Interface for Bus<SPI, DC> {
    type Word = u8;
    type Error = BusError<SPI::Error, DC::Error>;

    const KIND: InterfaceKind = InterfaceKind::Serial4Line;

    fn send_command(&mut self, command: u8, arguments: &[u8]) -> Result<(), Self::Error> {
        // Whatever an error left unsent belongs to no command any more.
        self.buffer.clear();
        self.data_command.set_low().map_err(BusError::DataCommand)?;
        self.spi.write(&[command]).map_err(BusError::Spi)?;
        self.data_command.set_high().map_err(BusError::DataCommand)?;
        if arguments.is_empty() {
            return Ok(());
        }
        self.spi.write(arguments).map_err(BusError::Spi)
    }

    fn send_pixels<const N: usize>(&mut self, pixels: impl IntoIterator<Item = [u8; N]>) -> Result<(), Self::Error> {
        for pixel in pixels {
            if self.buffer.len() + N > MOST_BYTES {
                self.flush()?;
            }
            self.buffer.extend(pixel);
        }
        self.flush()
    }

    fn send_repeated_pixel<const N: usize>(&mut self, pixel: [u8; N], count: u32) -> Result<(), Self::Error> {
        self.send_pixels((0..count).map(|_| pixel))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::{cell::RefCell, convert::Infallible, rc::Rc};

    use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
    use embedded_hal::{digital, spi};

    use super::*;
    use crate::config::{Panel, Tables};

    /// What went over the wires, in its order.
    #[derive(Clone, Debug, PartialEq)]
    enum Wire {
        /// Bytes while D/C was low.
        Command(Vec<u8>),
        /// Bytes while D/C was high; writes behind each other are one.
        Data(Vec<u8>),
        Reset(bool),
        Wait(u32),
    }

    #[derive(Clone, Default)]
    struct Recorder {
        wires: Rc<RefCell<Vec<Wire>>>,
        data: Rc<RefCell<bool>>,
        longest: Rc<RefCell<usize>>,
        fail: Rc<RefCell<bool>>,
    }

    #[derive(Debug)]
    struct Broken;
    impl spi::Error for Broken {
        fn kind(&self) -> spi::ErrorKind {
            spi::ErrorKind::Other
        }
    }
    impl spi::ErrorType for Recorder {
        type Error = Broken;
    }
    impl SpiDevice for Recorder {
        fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), Broken> {
            if *self.fail.borrow() {
                return Err(Broken);
            }
            let mut wires = self.wires.borrow_mut();
            for operation in operations {
                let spi::Operation::Write(bytes) = operation else { panic!("{operation:?}") };
                assert!(!bytes.is_empty(), "an empty transfer");
                let longest = (*self.longest.borrow()).max(bytes.len());
                *self.longest.borrow_mut() = longest;
                match (*self.data.borrow(), wires.last_mut()) {
                    (true, Some(Wire::Data(before))) => before.extend(&**bytes),
                    (true, _) => wires.push(Wire::Data(bytes.to_vec())),
                    (false, _) => wires.push(Wire::Command(bytes.to_vec())),
                }
            }
            Ok(())
        }
    }

    struct DataCommand(Recorder);
    impl digital::ErrorType for DataCommand {
        type Error = Infallible;
    }
    impl OutputPin for DataCommand {
        fn set_low(&mut self) -> Result<(), Infallible> {
            *self.0.data.borrow_mut() = false;
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Infallible> {
            *self.0.data.borrow_mut() = true;
            Ok(())
        }
    }

    struct Reset(Recorder);
    impl digital::ErrorType for Reset {
        type Error = Infallible;
    }
    impl OutputPin for Reset {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.wires.borrow_mut().push(Wire::Reset(false));
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.wires.borrow_mut().push(Wire::Reset(true));
            Ok(())
        }
    }

    struct Clock(Recorder);
    impl DelayNs for Clock {
        fn delay_ns(&mut self, ns: u32) {
            self.0.wires.borrow_mut().push(Wire::Wait(ns / 1000));
        }
        fn delay_us(&mut self, us: u32) {
            self.0.wires.borrow_mut().push(Wire::Wait(us));
        }
    }

    /// Starts a panel as a profile has it, and gives what was sent with it.
    fn started(text: &str, reset: bool) -> (Box<dyn Surface>, Recorder, Spi) {
        let line = "data_command = { name = \"DC\" }\ndevice = \"/dev/spidev0.0\"";
        let tables: Tables = toml::from_str(&format!("[panel.spi]\n{line}\n{text}")).unwrap();
        tables.check().unwrap();
        let Some(Panel::Spi(config)) = tables.panel else { panic!() };
        let recorder = Recorder::default();
        let r = || recorder.clone();
        let reset = reset.then(|| Reset(r()));
        let panel = start(&config, r(), DataCommand(r()), reset, None, &mut Clock(r())).unwrap();
        (panel, recorder, config)
    }

    /// Commands with their parameters; pixels are left out.
    fn commands(wires: &[Wire]) -> Vec<(u8, Vec<u8>)> {
        let mut commands: Vec<(u8, Vec<u8>)> = vec![];
        for wire in wires {
            match wire {
                Wire::Command(bytes) => commands.extend(bytes.iter().map(|byte| (*byte, vec![]))),
                Wire::Data(bytes) => {
                    let (command, parameters) = commands.last_mut().unwrap();
                    if *command != RAMWR {
                        parameters.extend(bytes);
                    }
                }
                Wire::Reset(_) | Wire::Wait(_) => {}
            }
        }
        commands
    }

    // MIPI's display command set, as all four data sheets have it. ILI9341 (V1.11, sections from memory): 8.2.2 SWRESET, 8.2.12 SLPOUT, 8.2.14 NORON,
    // 8.2.15 INVOFF, 8.2.16 INVON, 8.2.19 DISPON, 8.2.20 CASET, 8.2.21 PASET, 8.2.22 RAMWR, 8.2.29 MADCTL, 8.2.33 COLMOD.
    const SWRESET: u8 = 0x01;
    const SLPOUT: u8 = 0x11;
    const INVOFF: u8 = 0x20;
    const INVON: u8 = 0x21;
    const DISPON: u8 = 0x29;
    const CASET: u8 = 0x2A;
    const RASET: u8 = 0x2B;
    const RAMWR: u8 = 0x2C;
    const MADCTL: u8 = 0x36;
    const COLMOD: u8 = 0x3A;
    // Bits of MADCTL: row order, column order, exchange of rows and columns, blue first.
    const MY: u8 = 0x80;
    const MX: u8 = 0x40;
    const MV: u8 = 0x20;
    const BGR: u8 = 0x08;

    const ALL: [(&str, [u16; 2], u8); 4] = [
        ("ili9341", [240, 320], 0x55),
        ("st7789", [240, 320], 0x55),
        // 18 bits: three bytes, of which the upper six bits count.
        ("ili9488", [320, 480], 0x66),
        ("gc9a01", [240, 240], 0x55),
    ];

    #[test]
    fn each_controller_is_woken_told_its_pixels_and_its_glass_blackened_before_it_is_used() {
        for (controller, [columns, rows], colmod) in ALL {
            let (_, recorder, config) = started(&format!("controller = \"{controller}\"\ninverted = true"), true);
            let wires = recorder.wires.borrow();
            // Reset low, then high, before the first command; at least 5 ms until that (ILI9341 15.4, ILI9488: 120 ms are waited).
            assert_eq!([&wires[0], &wires[2]], [&Wire::Reset(false), &Wire::Reset(true)], "{controller}");
            assert!(matches!(wires[1], Wire::Wait(10..)), "ILI9341 15.4: reset is low for 10 us");
            assert!(matches!(wires[3], Wire::Wait(5000..)), "{controller}: {:?}", wires[3]);
            let commands = commands(&wires);
            let has = |command: u8, parameters: &[u8]| {
                let found = commands.iter().position(|sent| *sent == (command, parameters.to_vec()));
                found.unwrap_or_else(|| panic!("{controller} lacks {command:02X} {parameters:02X?}: {commands:02X?}"))
            };
            has(COLMOD, &[colmod]);
            has(MADCTL, &[0]);
            has(INVON, &[]);
            assert!(has(SLPOUT, &[]) < has(DISPON, &[]));
            let [column, row] = [columns - 1, rows - 1].map(u16::to_be_bytes);
            let n = commands.len();
            assert_eq!(commands[n - 3], (CASET, vec![0, 0, column[0], column[1]]), "{controller}");
            assert_eq!(commands[n - 2], (RASET, vec![0, 0, row[0], row[1]]), "{controller}");
            assert_eq!(commands[n - 1], (RAMWR, vec![]));
            let pixels = usize::from(columns) * usize::from(rows);
            assert_eq!(*wires.last().unwrap(), Wire::Data(vec![0; config.bytes(pixels)]), "black");
            assert!(*recorder.longest.borrow() <= 4096, "spidev takes no more at once");
            assert!(!commands.iter().any(|(command, _)| *command == SWRESET || *command == INVOFF));
        }
    }

    #[test]
    fn without_a_reset_line_a_command_resets() {
        for (controller, ..) in ALL {
            let (_, recorder, _) = started(&format!("controller = \"{controller}\""), false);
            let wires = recorder.wires.borrow();
            assert_eq!(wires[0], Wire::Command(vec![SWRESET]), "{controller}");
            assert!(matches!(wires[1], Wire::Wait(5000..)), "{controller}: 8.2.2 of ILI9341 wants 5 ms");
            assert!(commands(&wires).contains(&(INVOFF, vec![])));
        }
    }

    #[test]
    fn a_turned_glass_has_its_bits_of_madctl_and_its_columns_and_rows_exchanged() {
        for (rotation, mirrored, bits) in [
            (0, false, 0),
            (90, false, MX | MV),
            (180, false, MX | MY),
            (270, false, MY | MV),
            (0, true, MX),
            (180, true, MY),
        ] {
            let text = format!(
                "controller = \"ili9341\"\nrotation = {rotation}\nmirrored = {mirrored}\ncolour_order = \"bgr\""
            );
            let (_, recorder, _) = started(&text, true);
            let commands = commands(&recorder.wires.borrow());
            assert!(commands.contains(&(MADCTL, vec![bits | BGR])), "{rotation} {mirrored}: {commands:02X?}");
            let last_column: u16 = if rotation % 180 == 0 { 239 } else { 319 };
            let [high, low] = last_column.to_be_bytes();
            assert!(commands.contains(&(CASET, vec![0, 0, high, low])), "{rotation}: {commands:02X?}");
        }
    }

    #[test]
    fn a_small_glass_lies_where_its_offset_says_however_it_is_turned() {
        // The usual 240 x 240 ST7789: rows 0 to 239 of 320; turned by 180 degrees they are rows 80 to 319.
        for (rotation, columns, rows) in
            [(0, [0, 239], [0, 239]), (90, [0, 239], [0, 239]), (180, [0, 239], [80, 319]), (270, [80, 319], [0, 239])]
        {
            let (_, recorder, _) =
                started(&format!("controller = \"st7789\"\nheight = 240\nrotation = {rotation}"), true);
            let commands = commands(&recorder.wires.borrow());
            let range = |range: [u16; 2]| range.into_iter().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
            assert!(commands.contains(&(CASET, range(columns))), "{rotation}: {commands:02X?}");
            assert!(commands.contains(&(RASET, range(rows))), "{rotation}: {commands:02X?}");
        }
    }

    #[test]
    fn a_rectangle_is_caset_raset_ramwr_and_its_pixels_and_costs_what_is_said() {
        for (controller, pixels) in [
            // Red, green, blue, white: 5, 6 and 5 bits, the higher byte first (ILI9341 7.6.2: 16 bits a pixel).
            ("ili9341", vec![0xF8, 0x00, 0x07, 0xE0, 0x00, 0x1F, 0xFF, 0xFF]),
            // Six bits each in the upper part of a byte (18 bits a pixel).
            ("ili9488", vec![0xFC, 0, 0, 0, 0xFC, 0, 0, 0, 0xFC, 0xFC, 0xFC, 0xFC]),
        ] {
            let (mut panel, recorder, config) = started(&format!("controller = \"{controller}\"\nrotation = 90"), true);
            recorder.wires.borrow_mut().clear();
            let tables = Tables { panel: Some(Panel::Spi(config)), ..Tables::default() };
            let mut picture = Framebuffer::new(super::super::drawn_size(tables.panel.as_ref().unwrap()));
            let part = Rectangle::new(Point::new(300, 9), Size::new(2, 2));
            let colours = [Rgb565::RED, Rgb565::GREEN, Rgb565::BLUE, Rgb565::WHITE];
            picture.fill_contiguous(&part, colours).unwrap();
            let sent = panel.show(&picture, &[part]).unwrap();
            let wires = recorder.wires.borrow();
            let expected = [
                Wire::Command(vec![CASET]),
                Wire::Data(vec![0x01, 0x2C, 0x01, 0x2D]),
                Wire::Command(vec![RASET]),
                Wire::Data(vec![0, 9, 0, 10]),
                Wire::Command(vec![RAMWR]),
                Wire::Data(pixels),
            ];
            assert_eq!(*wires, expected, "{controller}");
            let bytes: usize = wires
                .iter()
                .map(|wire| match wire {
                    Wire::Command(b) | Wire::Data(b) => b.len(),
                    _ => 0,
                })
                .sum();
            assert_eq!(sent, bytes);
        }
    }

    #[test]
    fn a_bus_that_fails_is_told_and_the_next_picture_begins_with_a_command() {
        let (mut panel, recorder, _) = started("controller = \"gc9a01\"", true);
        let picture = Framebuffer::new(Size::new(240, 240));
        let part = [Rectangle::new(Point::zero(), Size::new(1, 1))];
        *recorder.fail.borrow_mut() = true;
        let error = panel.show(&picture, &part).unwrap_err().to_string();
        assert!(error.contains("Broken") && error.contains("board check"), "{error}");
        *recorder.fail.borrow_mut() = false;
        recorder.wires.borrow_mut().clear();
        assert_eq!(panel.show(&picture, &part).unwrap(), 13);
        assert_eq!(recorder.wires.borrow()[0], Wire::Command(vec![CASET]));
    }
}
