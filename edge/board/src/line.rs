//! One line of a GPIO chip, found by its name or by chip and number, and as a pin of `embedded-hal`.
//!
//! Chips are numbered in the order in which the kernel finds them, so a profile names lines, or a chip by its label
//! (`pinctrl-rp1`, `tegra-gpio`), and both are looked up when the line is opened.

use std::path::PathBuf;

use embedded_hal::digital::{ErrorKind, ErrorType, OutputPin};
use gpiocdev::{
    Request,
    chip::Chip,
    line::{Bias as KernelBias, EdgeDetection, Offset, Value},
};

use crate::{
    config::{Bias, Line},
    error::BoardError,
};

/// Whom the kernel names as the line's user.
const CONSUMER: &str = "thorax";
const REMEDY: &str = "see `thorax-edge board check`, and boards/README.md for groups and first-boot steps";

/// The chip's path and the line's number in it.
pub(crate) fn find(line: &Line) -> Result<(PathBuf, Offset), BoardError> {
    let chips = gpiocdev::chip::chips().map_err(|cause| failed("GPIO", &cause))?;
    let mut seen = vec![];
    let mut closed = None;
    for path in chips {
        let chip = match Chip::from_path(&path) {
            Ok(chip) => chip,
            Err(cause) => {
                closed = Some(failed(&path.display().to_string(), &cause));
                continue;
            }
        };
        let info = chip.info().map_err(|cause| failed(&path.display().to_string(), &cause))?;
        seen.push(info.label.clone());
        if line.chip.as_ref().is_some_and(|wanted| *wanted != info.label && *wanted != info.name) {
            continue;
        }
        let offset = match (&line.name, line.offset) {
            (Some(name), _) => chip.find_line_info(name).map(|found| found.offset),
            (None, offset) => offset.filter(|offset| *offset < info.num_lines),
        };
        if let Some(offset) = offset {
            return Ok((path, offset));
        }
    }
    // A chip that may not be opened is the likelier cause than a line that is not there.
    Err(closed.unwrap_or_else(|| BoardError::Missing {
        what: format!("GPIO line {}", line.describe()),
        there: if seen.is_empty() { String::new() } else { format!("chips {}", seen.join(", ")) },
        remedy: REMEDY,
    }))
}

fn failed(what: &str, cause: &gpiocdev::Error) -> BoardError {
    BoardError::Device { what: what.into(), cause: cause.to_string(), remedy: REMEDY }
}

/// A line that is driven.
pub(crate) struct Output(Request);

impl Output {
    /// Opens it at `active` or not.
    pub(crate) fn open(line: &Line, active: bool) -> Result<Self, BoardError> {
        let (chip, offset) = find(line)?;
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_line(offset).as_output(value(active));
        if line.active_low {
            builder.as_active_low();
        }
        builder.request().map(Self).map_err(|cause| failed(&line.describe(), &cause))
    }

    /// Sets it.
    pub(crate) fn set(&self, active: bool) -> Result<(), BoardError> {
        self.0.set_lone_value(value(active)).map_err(|cause| failed("GPIO", &cause))
    }
}

fn value(active: bool) -> Value {
    if active { Value::Active } else { Value::Inactive }
}

/// What the kernel says of a pin.
#[derive(Debug)]
pub(crate) struct PinError(#[allow(dead_code, reason = "read by Debug")] gpiocdev::Error);

impl embedded_hal::digital::Error for PinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for Output {
    type Error = PinError;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.0.set_lone_value(Value::Inactive).map_err(PinError)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.0.set_lone_value(Value::Active).map_err(PinError)
    }
}

/// Opens a line that is read, and that tells its edges.
pub(crate) fn open_input(line: &Line) -> Result<Request, BoardError> {
    let (chip, offset) = find(line)?;
    let mut builder = Request::builder();
    builder.on_chip(chip).with_consumer(CONSUMER).with_line(offset).as_input();
    builder.with_edge_detection(EdgeDetection::BothEdges);
    if line.active_low {
        builder.as_active_low();
    }
    match line.bias {
        Bias::AsIs => {}
        Bias::Disabled => drop(builder.with_bias(KernelBias::Disabled)),
        Bias::PullUp => drop(builder.with_bias(KernelBias::PullUp)),
        Bias::PullDown => drop(builder.with_bias(KernelBias::PullDown)),
    }
    builder.request().map_err(|cause| failed(&line.describe(), &cause))
}
