//! Monitors and panels that the kernel drives (DRM/KMS), by a dumb buffer.
//!
//! A dumb buffer is plain memory that every driver has, and that it shows as it is: no graphics library is needed. The picture is drawn
//! straight into the one buffer that is shown, only where it changed, and drivers that copy (`virtio`, USB, SPI panels of the kernel)
//! are told which rectangles (DIRTYFB).
//!
//! It was tried on one card, virtio's in a virtual machine (`packaging/boot.py`), and on none that lights a glass. Which mode is
//! chosen, and where each pixel lies, is tested without any.

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use ::drm::{
    Device as _,
    buffer::{Buffer, DrmFourcc},
    control::{ClipRect, Device as _, Mode, ModeTypeFlags, connector, crtc, dumbbuffer::DumbBuffer, framebuffer},
};
use embedded_graphics::{prelude::*, primitives::Rectangle};
use thorax_screen::Framebuffer;

use super::{Surface, pixels::Format, place::Place};
use crate::{
    config::{ColourOrder, Drm},
    error::BoardError,
};

const FORMAT: Format = Format::Xrgb8888;
const REMEDY: &str = "end other programs that show something, put the service's user into the group `video`, and see \
                      `thorax-edge board check`";

/// A card, open.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ::drm::Device for Card {}
impl ::drm::control::Device for Card {}

/// A monitor that shows our buffer.
pub(super) struct Monitor {
    card: Card,
    path: PathBuf,
    buffer: DumbBuffer,
    shown: framebuffer::Handle,
    crtc: crtc::Handle,
    place: Place,
}

impl Monitor {
    pub(super) fn open(config: &Drm) -> Result<Self, BoardError> {
        let cards = match &config.card {
            Some(card) => vec![card.clone()],
            None => cards(Path::new("/dev/dri")),
        };
        let mut last = BoardError::Missing {
            what: "DRM card with a monitor".into(),
            there: String::new(),
            remedy: "connect the monitor, or choose another panel",
        };
        for path in cards {
            match Self::of_card(&path, config) {
                Ok(monitor) => return Ok(monitor),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn of_card(path: &Path, config: &Drm) -> Result<Self, BoardError> {
        let failed = |what: &'static str| {
            let path = path.to_owned();
            move |cause: std::io::Error| BoardError::Device {
                what: path.display().to_string(),
                cause: format!("{what}: {cause}"),
                remedy: REMEDY,
            }
        };
        let card = Card(OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?);
        // Of two programs that are open, one is the master; it is no error to be it already.
        let _ = card.acquire_master_lock();
        let resources = card.resource_handles().map_err(failed("resources"))?;
        let connectors = resources.connectors().iter().filter_map(|handle| card.get_connector(*handle, true).ok());
        let connectors: Vec<connector::Info> = connectors.collect();
        let connected = connectors.iter().find(|connector| {
            let name = connector_name(connector);
            connector.state() == connector::State::Connected
                && config.connector.as_ref().is_none_or(|wanted| *wanted == name)
        });
        let connector = connected.ok_or_else(|| BoardError::Missing {
            what: match &config.connector {
                Some(name) => format!("monitor at {name} of {}", path.display()),
                None => format!("monitor at {}", path.display()),
            },
            there: connectors.iter().map(connector_name).collect::<Vec<_>>().join(", "),
            remedy: "connect the monitor, or name another connector",
        })?;
        let modes: Vec<([u16; 2], bool)> = connector
            .modes()
            .iter()
            .map(|mode| (mode.size().into(), mode.mode_type().contains(ModeTypeFlags::PREFERRED)))
            .collect();
        let mode = choose(&modes, config.mode).and_then(|index| connector.modes().get(index));
        let mode: &Mode = mode.ok_or_else(|| BoardError::Missing {
            what: format!("mode {:?} of {}", config.mode.unwrap_or_default(), connector_name(connector)),
            there: modes
                .iter()
                .map(|([width, height], _)| format!("{width} x {height}"))
                .collect::<Vec<_>>()
                .join(", "),
            remedy: "name one of these",
        })?;
        let (columns, rows) = mode.size();
        let [width, height] = config.drawn.0;
        let drawn = Size::new(width.into(), height.into());
        let place = Place::new(drawn, config.rotation, Size::new(columns.into(), rows.into())).ok_or_else(|| {
            BoardError::Device {
                what: connector_name(connector),
                cause: format!("has {columns} x {rows} pixels, and {width} x {height} are drawn"),
                remedy: "choose a smaller `drawn`, or another mode",
            }
        })?;
        let crtc = connector
            .encoders()
            .iter()
            .filter_map(|encoder| card.get_encoder(*encoder).ok())
            .flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs()))
            .next()
            .ok_or_else(|| failed("no controller for the monitor")(std::io::ErrorKind::NotFound.into()))?;
        let size = (columns.into(), rows.into());
        let mut buffer = card.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32).map_err(failed("buffer"))?;
        card.map_dumb_buffer(&mut buffer).map_err(failed("memory"))?.as_mut().fill(0);
        let shown = card.add_framebuffer(&buffer, 24, 32).map_err(failed("framebuffer"))?;
        card.set_crtc(crtc, Some(shown), (0, 0), &[connector.handle()], Some(*mode)).map_err(failed("mode"))?;
        Ok(Self { card, path: path.to_owned(), buffer, shown, crtc, place })
    }
}

/// All cards in a folder, by their names.
fn cards(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let is_card =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("card"));
    let mut cards: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_card).collect();
    cards.sort();
    cards
}

/// As the kernel names it in `/sys/class/drm`, without the card.
fn connector_name(connector: &connector::Info) -> String {
    format!("{}-{}", connector.interface().as_str(), connector.interface_id())
}

/// The mode that was asked for, else the preferred one, else the first. Of several of a size the preferred, else the first.
fn choose(modes: &[([u16; 2], bool)], wanted: Option<[u16; 2]>) -> Option<usize> {
    let fits = |(size, _): &([u16; 2], bool)| wanted.is_none_or(|wanted| wanted == *size);
    let preferred = modes.iter().position(|mode| fits(mode) && mode.1);
    preferred.or_else(|| modes.iter().position(fits))
}

impl Surface for Monitor {
    fn show(&mut self, picture: &Framebuffer, changed: &[Rectangle]) -> Result<usize, BoardError> {
        let failed = |cause: std::io::Error| BoardError::Device {
            what: self.path.display().to_string(),
            cause: cause.to_string(),
            remedy: REMEDY,
        };
        let pitch = self.buffer.pitch() as usize;
        let mut memory = self.card.map_dumb_buffer(&mut self.buffer).map_err(failed)?;
        let mut clips = vec![];
        let mut sent = 0;
        for part in changed {
            let rows = self.place.rows(picture.pixels(), *part, FORMAT, ColourOrder::Rgb);
            for (at, bytes) in rows.placed(FORMAT, pitch) {
                if let Some(row) = memory.as_mut().get_mut(at..at + bytes.len()) {
                    row.copy_from_slice(bytes);
                }
            }
            let [x, y] = [rows.area.top_left.x, rows.area.top_left.y].map(|at| at as u16);
            clips.push(ClipRect::new(x, y, x + rows.area.size.width as u16, y + rows.area.size.height as u16));
            sent += rows.bytes.len();
        }
        drop(memory);
        match self.card.dirty_framebuffer(self.shown, &clips) {
            // A driver that shows the memory itself has nothing to copy, and says that it knows no such call.
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NOSYS.raw_os_error()) => Err(failed(error)),
            _ => Ok(sent),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // The console comes back. What cannot be given back goes with the file.
        let _ = self.card.set_crtc(self.crtc, None, (0, 0), &[], None);
        let _ = self.card.destroy_framebuffer(self.shown);
        let _ = self.card.destroy_dumb_buffer(self.buffer);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_the_one_told_else_the_preferred_else_the_first() {
        let modes = [([1920, 1080], false), ([800, 480], false), ([1280, 720], true), ([800, 480], true)];
        assert_eq!(choose(&modes, None), Some(2));
        assert_eq!(choose(&modes[..2], None), Some(0));
        assert_eq!(choose(&modes, Some([800, 480])), Some(3), "of two of a size the preferred");
        assert_eq!(choose(&modes[..2], Some([800, 480])), Some(1));
        assert_eq!(choose(&modes, Some([640, 480])), None);
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn cards_are_told_from_what_else_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["renderD128", "card1", "card0", "by-path"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(cards(folder.path()), ["card0", "card1"].map(|name| folder.path().join(name)));
        assert!(cards(&folder.path().join("nowhere")).is_empty());
    }

    #[test]
    fn what_is_no_card_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = Drm { card: Some(file.path().to_owned()), ..Drm::default() };
        let error = Monitor::open(&config).err().unwrap().to_string();
        assert!(error.contains("resources") && error.contains("group `video`"), "{error}");
        let config = Drm { card: Some("/nowhere/card0".into()), ..Drm::default() };
        assert!(Monitor::open(&config).err().unwrap().to_string().contains("/nowhere/card0"));
    }
}
