//! What the operator does, whatever it is done with.
//!
//! [`Inputs`] opens what the profile names, and reads each in a thread of its own, which sleeps in the kernel until something
//! happens. A device that fails (a keyboard that was pulled out) is told in the log and ends its thread; the others go on.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use embedded_graphics::prelude::Size;
use evdev::{AbsoluteAxisCode, Device, EventSummary};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thorax_screen::input::Input;

use crate::{
    buttons::{Contacts, Keyboard, Timing},
    config::{Buttons, Touch},
    error::BoardError,
    touch::{Calibration, Finger},
};

/// A thread looks as often whether it is to end.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
const REMEDY: &str = "connect it, put the service's user into the group `input`, and see `thorax-edge board check`";

/// The operator's keys and fingers.
pub struct Inputs {
    receiver: Receiver<Input>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Inputs {
    /// Opens what the profile has; `size` is the picture's, in whose pixels touches are told. Without buttons and touch there is
    /// never an input.
    ///
    /// # Errors
    /// [`BoardError`] when one of the devices is not there, or may not be opened.
    pub fn open(buttons: Option<&Buttons>, touch: Option<&Touch>, size: Size) -> Result<Self, BoardError> {
        let mut sources: Vec<Box<dyn Source>> = vec![];
        if let Some(buttons) = buttons {
            if let Some(contacts) = Contacts::open(buttons)? {
                sources.push(Box::new(contacts));
            }
            if let Some(name) = &buttons.keyboard {
                let timing = Timing { settle: Duration::ZERO, ..Timing::of(buttons) };
                sources.push(Box::new(Keys { device: device(name)?, keyboard: Keyboard::new(timing) }));
            }
        }
        if let Some(touch) = touch {
            let device = device(&touch.device)?;
            let [x, y] = axes(&device, &touch.device)?;
            sources.push(Box::new(Glass { device, finger: Finger::new(Calibration::of(touch, x, y, size)) }));
        }
        Ok(Self::of(sources))
    }

    fn of(sources: Vec<Box<dyn Source>>) -> Self {
        let (sender, receiver) = mpsc::channel();
        let ends = Arc::new(AtomicBool::new(false));
        let threads = sources.into_iter().map(|source| {
            let (sender, ends) = (sender.clone(), ends.clone());
            std::thread::spawn(move || read(source, &sender, &ends))
        });
        Self { receiver, threads: threads.collect(), ends }
    }

    /// The next input, if there is one within `longest`. Without any device that lives it just waits.
    pub fn wait(&self, longest: Duration) -> Option<Input> {
        match self.receiver.recv_timeout(longest) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(longest);
                None
            }
        }
    }

    /// The next input that is there already.
    pub fn take(&self) -> Option<Input> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Something that is read.
trait Source: Send {
    /// What to wait for.
    fn handles(&self) -> Vec<BorrowedFd<'_>>;
    /// When to read although nothing came, on the clock of `read`.
    fn deadline(&self) -> Option<Duration>;
    /// Reads without waiting.
    fn read(&mut self, now: Duration) -> Result<Vec<Input>, BoardError>;
}

fn read(mut source: Box<dyn Source>, sender: &Sender<Input>, ends: &AtomicBool) {
    let began = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        let left = source.deadline().map_or(LONGEST_SLEEP, |deadline| deadline.saturating_sub(began.elapsed()));
        // Rounded up: the kernel may wake us a little early, and there would be nothing to do.
        let sleep = left.min(LONGEST_SLEEP) + Duration::from_millis(1);
        let mut handles: Vec<PollFd<'_>> =
            source.handles().into_iter().map(|handle| PollFd::from_borrowed_fd(handle, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(sleep.subsec_nanos()) };
        match poll(&mut handles, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(cause) => {
                tracing::error!(%cause, "buttons and touch are not read any more");
                return;
            }
        }
        drop(handles);
        match source.read(began.elapsed()) {
            Ok(inputs) => {
                for input in inputs {
                    if sender.send(input).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "a device of the operator is not read any more");
                return;
            }
        }
    }
}

impl Source for Contacts {
    fn handles(&self) -> Vec<BorrowedFd<'_>> {
        self.requests().map(AsFd::as_fd).to_vec()
    }

    fn deadline(&self) -> Option<Duration> {
        Contacts::deadline(self)
    }

    fn read(&mut self, now: Duration) -> Result<Vec<Input>, BoardError> {
        self.update(now)
    }
}

/// A keyboard that is open.
struct Keys {
    device: Device,
    keyboard: Keyboard,
}

impl Source for Keys {
    fn handles(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.device.as_fd()]
    }

    fn deadline(&self) -> Option<Duration> {
        self.keyboard.deadline()
    }

    fn read(&mut self, now: Duration) -> Result<Vec<Input>, BoardError> {
        let mut inputs = vec![];
        for event in events(&mut self.device)? {
            if let EventSummary::Key(_, code, value) = event.destructure() {
                inputs.extend(self.keyboard.event(now, code, value));
            }
        }
        inputs.extend(self.keyboard.update(now));
        Ok(inputs)
    }
}

/// A touch panel that is open.
struct Glass {
    device: Device,
    finger: Finger,
}

impl Source for Glass {
    fn handles(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.device.as_fd()]
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn read(&mut self, _now: Duration) -> Result<Vec<Input>, BoardError> {
        let events = events(&mut self.device)?;
        Ok(events.into_iter().filter_map(|event| self.finger.event(event)).collect())
    }
}

/// What the device has to tell, without waiting.
fn events(device: &mut Device) -> Result<Vec<evdev::InputEvent>, BoardError> {
    let name = device.name().unwrap_or("an input device").to_owned();
    let events = match device.fetch_events() {
        Ok(events) => Ok(events.collect()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(vec![]),
        Err(error) => Err(error),
    };
    events.map_err(|cause| BoardError::Device { what: name, cause: cause.to_string(), remedy: REMEDY })
}

/// The device that has `part` in its name.
fn device(part: &str) -> Result<Device, BoardError> {
    let mut there = vec![];
    for (_, device) in evdev::enumerate() {
        let name = device.name().unwrap_or_default();
        if name.contains(part) {
            let named = name.to_owned();
            device.set_nonblocking(true).map_err(|cause| BoardError::Device {
                what: named,
                cause: cause.to_string(),
                remedy: REMEDY,
            })?;
            return Ok(device);
        }
        there.push(format!("{name:?}"));
    }
    Err(BoardError::Missing { what: format!("input device {part:?}"), there: there.join(", "), remedy: REMEDY })
}

/// Least and greatest value of the two axes.
fn axes(device: &Device, name: &str) -> Result<[[i32; 2]; 2], BoardError> {
    let failed = |cause: String| BoardError::Device {
        what: name.to_owned(),
        cause,
        remedy: "name a touch panel; `thorax-edge board check` lists the devices",
    };
    let all: Vec<_> = device.get_absinfo().map_err(|cause| failed(cause.to_string()))?.collect();
    let axis = |wanted: AbsoluteAxisCode| {
        let found = all.iter().find(|(code, _)| *code == wanted);
        found.map(|(_, info)| [info.minimum(), info.maximum()]).ok_or_else(|| failed(format!("has no axis {wanted:?}")))
    };
    Ok([axis(AbsoluteAxisCode::ABS_X)?, axis(AbsoluteAxisCode::ABS_Y)?])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use thorax_screen::input::{Hold, Key};

    use super::*;

    /// A source at the other end of a stream: each byte is an input, `x` is a failure, and a second after `d` comes one by itself.
    struct Stream(UnixStream, Option<Duration>);

    impl Source for Stream {
        fn handles(&self) -> Vec<BorrowedFd<'_>> {
            vec![self.0.as_fd()]
        }
        fn deadline(&self) -> Option<Duration> {
            self.1
        }
        fn read(&mut self, now: Duration) -> Result<Vec<Input>, BoardError> {
            use std::io::Read;
            if self.1.is_some_and(|deadline| now >= deadline) {
                self.1 = None;
                return Ok(vec![Input::Press(Key::Select, Hold::Long)]);
            }
            let mut bytes = [0; 8];
            let count = self.0.read(&mut bytes).unwrap_or(0);
            let mut inputs = vec![];
            for byte in &bytes[..count] {
                match byte {
                    b'u' => inputs.push(Input::Press(Key::Up, Hold::Short)),
                    b'd' => self.1 = Some(now + Duration::from_millis(60)),
                    _ => return Err(BoardError::setting("stream", "was cut")),
                }
            }
            Ok(inputs)
        }
    }

    fn stream() -> (UnixStream, Box<dyn Source>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, Box::new(Stream(theirs, None)))
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_several_devices_tell_comes_through_one_door_and_a_broken_one_does_not_stop_the_others() {
        let (mut first, a) = stream();
        let (mut second, b) = stream();
        let inputs = Inputs::of(vec![a, b]);
        assert_eq!(inputs.take(), None);
        first.write_all(b"u").unwrap();
        assert_eq!(inputs.wait(LONG), Some(Input::Press(Key::Up, Hold::Short)));
        first.write_all(b"x").unwrap();
        second.write_all(b"d").unwrap();
        assert_eq!(inputs.wait(LONG), Some(Input::Press(Key::Select, Hold::Long)), "by its deadline");
        second.write_all(b"u").unwrap();
        assert_eq!(inputs.wait(LONG), Some(Input::Press(Key::Up, Hold::Short)));
        assert_eq!(inputs.wait(Duration::from_millis(1)), None);
        // Ends its threads.
        drop(inputs);
    }

    #[test]
    fn without_devices_one_waits_and_a_device_that_is_not_there_is_told() {
        let inputs = Inputs::open(None, None, Size::new(320, 240)).unwrap();
        let began = Instant::now();
        assert_eq!(inputs.wait(Duration::from_millis(20)), None);
        assert!(began.elapsed() >= Duration::from_millis(20));
        let touch = Touch {
            device: "no such panel".into(),
            swap_axes: false,
            invert_x: false,
            invert_y: false,
            x_range: None,
            y_range: None,
        };
        let error = Inputs::open(None, Some(&touch), Size::new(320, 240)).err().unwrap().to_string();
        assert!(error.contains("\"no such panel\"") && error.contains("group `input`"), "{error}");
        let buttons = Buttons { keyboard: Some("no such keys".into()), ..Buttons::default() };
        assert!(
            Inputs::open(Some(&buttons), None, Size::new(320, 240)).err().unwrap().to_string().contains("no such keys")
        );
    }
}
