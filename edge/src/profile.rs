//! A board's profile: all that a device is told about the place where it stands, in one TOML file.
//!
//! `boards/<name>/profile.toml` is read once, when the service starts, and checked as a whole before anything is opened: a limit
//! that cannot work is refused then, by file and key, and not at night by the first picture. What is not written has a value that
//! works ([`Profile::default`] is a device that nobody may send to yet). `boards/README.md` has a line for every key.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thorax_board::{BoardError, config::Tables};
use thorax_delivery::{DeliveryError, To};
use thorax_dimse::{association::is_ae_title, tls};
use thorax_intake::{Config, Folder, IntakeError};
use thorax_journal::Settings;
use thorax_page::PageError;
use thorax_shared::{reason::Reason, words::Language};

/// The profile's name in a board's folder.
const FILE: &str = "profile.toml";
/// A profile has some hundred lines.
const MOST_BYTES: u64 = 1 << 20;

/// What a device is told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Where the device stands, and what that place asks for.
    pub site: Site,
    /// Where everything is kept.
    pub data: Data,
    /// The DICOM port.
    pub intake: Config,
    /// Folders that are watched.
    pub folders: Vec<Folder>,
    /// How the journal is kept: quiet time, limits, retention, reserve of the disk.
    pub journal: Settings,
    /// How studies are read.
    pub screening: Screening,
    /// The pages for monitoring.
    pub status: Status,
    /// Where results are delivered to, and how often it is tried.
    pub delivery: thorax_delivery::Config,
    /// The modality worklist, where there is one.
    pub worklist: Option<Worklist>,
    /// The page for the tablet; there is none unless this is told.
    pub page: Option<thorax_page::Config>,
    /// Which board it is.
    pub board: Option<thorax_board::config::Board>,
    /// Where the picture is shown.
    pub panel: Option<thorax_board::config::Panel>,
    /// The three buttons.
    pub buttons: Option<thorax_board::config::Buttons>,
    /// The touch panel.
    pub touch: Option<thorax_board::config::Touch>,
    /// How hot the board may become.
    pub thermal: Option<thorax_board::config::Thermal>,
    /// By how many processors a study is read.
    pub executor: Option<thorax_board::config::Executor>,
}

/// Where the device stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// By which the device is known among its like; it stands in every DICOM object that it makes (LO).
    pub serial_number: String,
    /// Pictures of patients who are younger are not read, where the file tells the age.
    pub minimum_age_years: Option<u8>,
    /// The panel's language, until another is chosen there.
    pub language: Language,
    /// Pictures of other body parts are not read, where the file tells the part (0018,0015); all are, if there is none.
    pub body_parts: Vec<String>,
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The folder; else see [`data_folder`].
    pub folder: Option<PathBuf>,
    /// What is not to be kept any more is removed at the start, and then after as many seconds each.
    pub retention_every_seconds: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self { folder: None, retention_every_seconds: 3600 }
    }
}

/// How studies are read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Screening {
    /// Studies that are read at a time, a processor each.
    pub workers: usize,
    /// Evenly spaced slices to read of a volume, 0 for all.
    pub slices: usize,
    /// Bundles; else those that are found as `thorax-edge screen` finds them.
    pub bundles: Vec<PathBuf>,
    /// A file of further public keys to trust.
    pub trust: Option<PathBuf>,
    /// A bundle that was installed is on trial until it has read as many studies,
    pub trial_studies: u64,
    /// or until the device has run with it for as many hours.
    pub trial_hours: u64,
    /// At the end of the program a study that is being read has as many seconds left. Then it waits again.
    pub stop_seconds: u64,
}

impl Default for Screening {
    fn default() -> Self {
        Self {
            workers: 1,
            slices: 16,
            bundles: vec![],
            trust: None,
            trial_studies: 50,
            trial_hours: 72,
            stop_seconds: 20,
        }
    }
}

/// The pages for monitoring.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Status {
    /// Where `/health` and `/metrics` are: an address of this machine and no other. Port 0 takes any that is free.
    pub address: SocketAddr,
}

impl Default for Status {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 11180)) }
    }
}

/// Where it is told who is next at the cart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worklist {
    /// Host or address, colon, port.
    pub address: String,
    /// The worklist's AE title.
    pub ae_title: String,
    /// Whether it is called behind TLS, and whose certificate it has to have.
    #[serde(default)]
    pub tls: Option<tls::Client>,
    /// Ours.
    #[serde(default = "thorax")]
    pub calling_ae_title: String,
    /// AE title of the cart, where only what is scheduled for it is wanted.
    #[serde(default)]
    pub station_ae_title: Option<String>,
    /// Such as `["CR", "DX"]`; any, if there is none.
    #[serde(default)]
    pub modalities: Vec<String>,
    /// No more answers are taken.
    #[serde(default = "two_hundred")]
    pub most_answers: usize,
    /// Within as many seconds all of them have to be there.
    #[serde(default = "twenty")]
    pub seconds: u64,
}

fn thorax() -> String {
    "THORAX".into()
}

fn two_hundred() -> usize {
    200
}

fn twenty() -> u64 {
    20
}

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {reason}", file.display(), key.as_ref().map(|key| format!(", {key}")).unwrap_or_default())]
pub struct ProfileError {
    /// The file.
    pub file: PathBuf,
    /// The key, where one is to blame.
    pub key: Option<String>,
    /// Cause and remedy.
    pub reason: Reason,
}

const DOCUMENTED: &str = "correct it; boards/README.md has every key";

impl Profile {
    /// Reads and checks the profile of `board`, which is a board's folder or the file itself. Paths in it are taken from the file's
    /// folder on.
    ///
    /// # Errors
    /// [`ProfileError`], which names file and key.
    pub fn read(board: &Path) -> Result<Self, ProfileError> {
        let file = if board.is_dir() { board.join(FILE) } else { board.to_owned() };
        let error = |reason: Reason| ProfileError { file: file.clone(), key: None, reason };
        let unreadable = |cause: std::io::Error| {
            error(Reason::new(
                format!("cannot be read ({cause})"),
                "name a folder with a profile.toml, as boards/desktop",
            ))
        };
        let length = std::fs::metadata(&file).map_err(unreadable)?.len();
        if length > MOST_BYTES {
            return Err(error(Reason::new(format!("no profile has {length} bytes"), "name the right file")));
        }
        let text = std::fs::read_to_string(&file).map_err(unreadable)?;
        let folder = std::path::absolute(&file).map_err(unreadable)?;
        Self::parse(&text, folder.parent().unwrap_or(Path::new("/"))).map_err(|(key, reason)| ProfileError {
            file,
            key,
            reason,
        })
    }

    /// Reads and checks a profile, whose paths are taken from `folder` on.
    ///
    /// # Errors
    /// The key, where one is to blame, and what is wrong.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, (Option<String>, Reason)> {
        let mut profile: Self = toml::from_str(text).map_err(|error| {
            let place = error.span().and_then(|span| text.get(..span.start)).map(|before| {
                let number = before.matches('\n').count() + 1;
                let line = text.lines().nth(number - 1).unwrap_or_default();
                match line.split_once('=') {
                    Some((key, _)) => format!("line {number}, {}", key.trim()),
                    None => format!("line {number}"),
                }
            });
            (place, Reason::new(error.message().to_owned(), DOCUMENTED))
        })?;
        let from_here = |path: &mut PathBuf| *path = folder.join(&*path);
        profile.data.folder.iter_mut().for_each(from_here);
        profile.folders.iter_mut().map(|watched| &mut watched.path).for_each(from_here);
        profile.screening.bundles.iter_mut().chain(&mut profile.screening.trust).for_each(from_here);
        let ports = profile.intake.tls.iter_mut().chain(&mut profile.delivery.report_tls);
        ports.flat_map(tls::Server::paths).for_each(from_here);
        let calls = profile.intake.peers.iter_mut().filter_map(|peer| peer.commitment_tls.as_mut());
        let calls = calls.chain(profile.worklist.iter_mut().filter_map(|worklist| worklist.tls.as_mut()));
        calls.flat_map(tls::Client::paths).for_each(from_here);
        profile.page.iter_mut().flat_map(thorax_page::Config::paths).for_each(from_here);
        profile.panel.iter_mut().flat_map(thorax_board::config::Panel::paths).for_each(from_here);
        for destination in &mut profile.delivery.destinations {
            match &mut destination.to {
                To::Web(web) => {
                    let files = [&mut web.password_file, &mut web.token_file, &mut web.ca_file];
                    files.into_iter().flatten().for_each(from_here);
                }
                To::Dicom(archive) => archive.tls.iter_mut().flat_map(tls::Client::paths).for_each(from_here),
            }
        }
        profile.check().map_err(|(key, cause)| (Some(key), Reason::new(cause, DOCUMENTED)))?;
        Ok(profile)
    }

    /// Gives the key that cannot work, and why.
    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, cause: String| Err((key.to_owned(), cause));
        // Tables of the board check themselves, below.
        let Self { site, data, intake, folders, journal, screening, status, delivery, worklist, page, .. } = self;

        for (key, text) in [("site.name", &site.name), ("site.serial_number", &site.serial_number)] {
            if text.chars().count() > 64 || text.chars().any(|c| c.is_control() || c == '\\') {
                return wrong(key, format!("{text:?} has more than 64 characters, or one that DICOM does not take"));
            }
        }
        if let Some(years) = site.minimum_age_years.filter(|years| *years > 120) {
            return wrong("site.minimum_age_years", format!("nobody is {years} years old"));
        }
        // PS3.5, 6.2, VR CS.
        let is_code = |text: &str| {
            (1..=16).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ' || b == b'_')
        };
        if let Some(part) = site.body_parts.iter().find(|part| !is_code(part)) {
            return wrong("site.body_parts", format!("{part:?} is no body part of DICOM, such as \"CHEST\""));
        }

        intake.check().map_err(|error| match error {
            IntakeError::Setting { setting, cause } => (format!("intake.{setting}"), cause),
            error => ("intake".into(), error.to_string()),
        })?;
        if intake.peers.is_empty() && !intake.accept_any_peer && folders.is_empty() {
            return wrong("intake.peers", "there is none, and no watched folder: nobody could send anything".into());
        }

        let mut names = BTreeSet::new();
        for watched in folders {
            if watched.name.trim().is_empty() || !names.insert(&watched.name) {
                return wrong("folders.name", format!("{:?} is empty, or the name of another", watched.name));
            }
            if !(1..=3600).contains(&watched.settle_seconds) {
                return wrong("folders.settle_seconds", "not from a second to an hour".into());
            }
            if data.folder.as_ref().is_some_and(|d| d.starts_with(&watched.path) || watched.path.starts_with(d)) {
                let cause = format!("{} and the data folder lie in each other", watched.path.display());
                return wrong("folders.path", cause);
            }
        }

        const DAY: u64 = 24 * 3600;
        for (key, value, least, most) in [
            ("data.retention_every_seconds", data.retention_every_seconds, 1, DAY),
            ("journal.quiet_seconds", journal.quiet_seconds, 1, DAY),
            ("journal.most_object_bytes", journal.most_object_bytes, 1 << 16, 8 << 30),
            ("journal.most_waiting_objects", journal.most_waiting_objects, 1, 1_000_000),
            ("journal.reserve_bytes", journal.reserve_bytes, 16 << 20, 1 << 50),
            ("journal.most_attempts", journal.most_attempts.into(), 1, 100),
            ("journal.keep_studies", journal.keep_studies, 1, 10_000_000),
            ("journal.keep_bytes", journal.keep_bytes, journal.most_object_bytes, 1 << 50),
            ("journal.keep_days", journal.keep_days, 0, 36_500),
            ("journal.keep_audit_lines", journal.keep_audit_lines, 1000, 10_000_000),
            ("intake.most_associations", intake.most_associations as u64, 1, 1000),
            ("intake.stop_seconds", intake.stop_seconds, 0, 60),
            ("screening.workers", screening.workers as u64, 1, 64),
            ("screening.slices", screening.slices as u64, 0, 10_000),
            ("screening.trial_studies", screening.trial_studies, 1, 100_000),
            ("screening.trial_hours", screening.trial_hours, 1, 8760),
            ("screening.stop_seconds", screening.stop_seconds, 0, 60),
        ] {
            if !(least..=most).contains(&value) {
                return wrong(key, format!("{value} is not from {least} to {most}"));
            }
        }

        if !status.address.ip().is_loopback() {
            let cause = format!("{} is no loopback address, and these pages know no password", status.address.ip());
            return wrong("status.address", cause);
        }

        if let Some(Worklist {
            address,
            ae_title,
            tls: _,
            calling_ae_title,
            station_ae_title,
            modalities,
            most_answers,
            seconds,
        }) = worklist
        {
            let port =
                address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                return wrong("worklist.address", format!("{address:?} is no host, colon and port"));
            }
            for (key, title) in [("ae_title", ae_title), ("calling_ae_title", calling_ae_title)]
                .into_iter()
                .chain(station_ae_title.iter().map(|title| ("station_ae_title", title)))
            {
                if !is_ae_title(title) {
                    return wrong(&format!("worklist.{key}"), format!("{title:?} is no AE title"));
                }
            }
            if let Some(modality) = modalities.iter().find(|modality| !is_code(modality)) {
                return wrong("worklist.modalities", format!("{modality:?} is no modality of DICOM, such as \"DX\""));
            }
            if !(1..=10_000).contains(most_answers) {
                return wrong("worklist.most_answers", format!("{most_answers} is not from 1 to 10000"));
            }
            if !(1..=300).contains(seconds) {
                return wrong("worklist.seconds", format!("{seconds} is not from 1 to 300"));
            }
        }

        delivery.check().map_err(|error| match error {
            DeliveryError::Setting { setting, cause } => (format!("delivery.{setting}"), cause),
            error => ("delivery".into(), error.to_string()),
        })?;
        page.as_ref().map_or(Ok(()), thorax_page::Config::check).map_err(|error| match error {
            PageError::Setting { setting, cause } => (format!("page.{setting}"), cause),
            error => ("page".into(), error.to_string()),
        })?;
        self.tables().check().map_err(|error| match error {
            BoardError::Setting { setting, cause } => (setting, cause),
            error => ("board".into(), error.to_string()),
        })
    }

    /// The tables that tell the board, for `board check` and for whoever opens panel and buttons.
    pub fn tables(&self) -> Tables {
        Tables {
            board: self.board.clone(),
            panel: self.panel.clone(),
            buttons: self.buttons.clone(),
            touch: self.touch.clone(),
            thermal: self.thermal.clone(),
            executor: self.executor,
        }
    }
}

/// The folder of data: `named` (the command line's), the profile's, that which systemd gives to a service (`STATE_DIRECTORY`), or
/// `thorax` in the user's folder of states (`XDG_STATE_HOME`, else `~/.local/state`). `variable` reads the environment.
pub fn data_folder(
    named: Option<&Path>,
    profile: &Profile,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> Option<PathBuf> {
    // What is no absolute path is to be passed over, as the XDG Base Directory Specification has it; systemd may name several.
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    let of_systemd = || {
        let all = absolute("STATE_DIRECTORY")?;
        Some(all.to_str().and_then(|all| all.split(':').next()).map_or(all.clone(), PathBuf::from))
    };
    let of_user = || {
        let states = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        states.map(|states| states.join("thorax"))
    };
    named.map(Path::to_owned).or_else(|| profile.data.folder.clone()).or_else(of_systemd).or_else(of_user)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DESKTOP: &str = include_str!("../../boards/desktop/profile.toml");

    fn refused(text: &str) -> String {
        let (key, reason) = Profile::parse(text, Path::new("/boards/x")).unwrap_err();
        ProfileError { file: "profile.toml".into(), key, reason }.to_string()
    }

    #[test]
    fn the_desktop_s_profile_works_and_says_what_is_the_default_of_most_keys() {
        let desktop = Profile::parse(DESKTOP, Path::new("/boards/desktop")).unwrap();
        assert!(desktop.intake.address.ip().is_loopback() && desktop.status.address.ip().is_loopback());
        assert_eq!(desktop.data, Data::default());
        assert_eq!(desktop.journal, Settings { most_attempts: 2, ..Settings::default() });
        assert!(!desktop.intake.peers.is_empty() && !desktop.intake.accept_any_peer);
    }

    #[test]
    fn every_board_s_profile_is_taken() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
        let folders =
            std::fs::read_dir(boards).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let profiles: Vec<Profile> = folders.map(|folder| Profile::read(&folder).unwrap()).collect();
        assert!(profiles.len() >= 5 && profiles.iter().all(|profile| profile.tables().board.is_some()));
    }

    #[test]
    fn every_key_of_the_documentation_is_one_and_the_other_way_round() {
        let documented = include_str!("../../boards/README.md");
        // The desktop's profile has the keys that are set, and behind `#` those that are not.
        let keys = DESKTOP.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
        for (key, _) in keys.filter(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
            assert!(documented.contains(&format!("`{key}`")), "{key} is not documented");
        }
        let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let rows: Vec<&str> = rows.map(|(key, _)| key).collect();
        assert!(rows.len() > 40, "{rows:?}");
        for key in rows {
            let tables = "site data intake intake.tls journal screening status delivery page worklist worklist.tls board panel.spi panel.drm \
                          panel.framebuffer panel.png panel.window buttons buttons.up touch thermal executor";
            let wrong = tables.split_whitespace().map(|table| {
                Profile::parse(&format!("[{table}]\n{key} = {{}}"), Path::new("/")).unwrap_err().1.to_string()
            });
            let lists = ["folders", "delivery.destinations", "intake.peers", "thermal.zones"].map(|table| {
                Profile::parse(&format!("[[{table}]]\n{key} = {{}}"), Path::new("/")).unwrap_err().1.to_string()
            });
            let ways = ["dicom", "web"].map(|way| {
                let way = format!("[[delivery.destinations]]\nname = \"x\"\nto.{way} = {{ {key} = {{}} }}");
                Profile::parse(&way, Path::new("/")).unwrap_err().1.to_string()
            });
            assert!(wrong.chain(lists).chain(ways).any(|told| !told.contains("unknown field")), "{key} is no key");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_key_with_a_remedy() {
        let peers = "[intake]\naccept_any_peer = true\n";
        for (text, words) in [
            ("[intake]\nport = 104", vec!["profile.toml, line 2, port", "unknown field"]),
            ("[journal]\nquiet_seconds = \"soon\"", vec!["line 2, quiet_seconds", "invalid type"]),
            ("[journal\n", vec!["line 1"]),
            ("", vec!["intake.peers", "nobody could send"]),
            ("[intake]\nae_title = \"A TITLE THAT IS TOO LONG\"", vec!["intake.ae_title"]),
            (&format!("{peers}[journal]\nreserve_bytes = 1"), vec!["journal.reserve_bytes", "1 is not from"]),
            (&format!("{peers}[journal]\nkeep_bytes = 70000"), vec!["journal.keep_bytes"]),
            (&format!("{peers}[screening]\nworkers = 0"), vec!["screening.workers", "from 1 to 64"]),
            (&format!("{peers}[panel.spi]\nclock = 1"), vec!["line 4, clock", "unknown field"]),
            (&format!("{peers}[panel.png]\nfile = \"\""), vec!["panel.png.file", "empty"]),
            (&format!("{peers}[executor]\nthreads = 0"), vec!["executor.threads", "from 1 to 64"]),
            (
                &format!("{peers}[buttons]\ndebounce_milliseconds = 5"),
                vec!["buttons", "neither contacts nor a keyboard"],
            ),
            (&format!("{peers}[status]\naddress = \"0.0.0.0:80\""), vec!["status.address", "loopback"]),
            (&format!("{peers}[page]\naddress = \"0.0.0.0:443\"\nusers = \"a\""), vec!["page.certificate", "loopback"]),
            (&format!("{peers}[page]"), vec!["page.users", "nobody could log in"]),
            (&format!("{peers}[page]\nlanguage = \"xx\""), vec!["line 4, language", "unknown variant"]),
            (&format!("{peers}[site]\nbody_parts = [\"chest\"]"), vec!["site.body_parts", "CHEST"]),
            (&format!("{peers}[site]\nminimum_age_years = 200"), vec!["site.minimum_age_years"]),
            (&format!("{peers}[[delivery.destinations]]\nname = \"pacs\""), vec!["line 3", "missing field `to`"]),
            (
                &format!("{peers}[worklist]\naddress = \"ris\"\nae_title = \"RIS\""),
                vec!["worklist.address", "colon and port"],
            ),
            (
                &format!("{peers}[worklist]\naddress = \"ris:104\"\nae_title = \"RIS\"\nmodalities = [\"dx\"]"),
                vec!["worklist.modalities"],
            ),
            (
                &format!("{peers}[[delivery.destinations]]\nname = \"web\"\nto.web = {{ url = \"ftp://x\" }}"),
                vec!["delivery.destinations.url"],
            ),
            (
                &format!(
                    "{peers}[[delivery.destinations]]\nname = \"a\"\nto.dicom = {{ ae_title = \"A\", address = \":104\" }}"
                ),
                vec!["delivery.destinations.address"],
            ),
            (
                &format!("{peers}[data]\nfolder = \"d\"\n[[folders]]\nname = \"in\"\npath = \"d/in\""),
                vec!["folders.path", "lie in each other"],
            ),
        ] {
            let told = refused(text);
            assert!(
                words.iter().all(|word| told.contains(word)) && told.contains("boards/README.md"),
                "{text}: {told}"
            );
        }
    }

    #[test]
    fn paths_are_taken_from_the_profile_s_folder() {
        let text = "[data]\nfolder = \"data\"\n[[folders]]\nname = \"in\"\npath = \"/media/in\"\n[screening]\ntrust = \"a.keys\"";
        let profile = Profile::parse(text, Path::new("/boards/x")).unwrap();
        assert_eq!(profile.data.folder, Some("/boards/x/data".into()));
        assert_eq!(
            (profile.folders[0].path.clone(), profile.screening.trust),
            ("/media/in".into(), Some("/boards/x/a.keys".into()))
        );
    }

    #[test]
    fn the_data_folder_is_the_first_that_is_told() {
        let environment = |name: &str| match name {
            "STATE_DIRECTORY" => Some("/var/lib/thorax:/var/lib/other".into()),
            "XDG_STATE_HOME" => Some("relative".into()),
            "HOME" => Some("/home/nurse".into()),
            _ => None,
        };
        let profile = Profile::default();
        let with = Profile { data: Data { folder: Some("/data".into()), ..Data::default() }, ..Profile::default() };
        assert_eq!(data_folder(Some(Path::new("x")), &with, environment), Some("x".into()));
        assert_eq!(data_folder(None, &with, environment), Some("/data".into()));
        assert_eq!(data_folder(None, &profile, environment), Some("/var/lib/thorax".into()));
        let user = |name: &str| environment(name).filter(|_| name != "STATE_DIRECTORY");
        assert_eq!(data_folder(None, &profile, user), Some("/home/nurse/.local/state/thorax".into()));
        assert_eq!(data_folder(None, &profile, |_| None), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_profile_or_refused(text in ".{0,200}") {
            let _ = Profile::parse(&text, Path::new("/"));
        }

        #[test]
        fn any_values_are_taken_or_refused(key in "[a-z_]{1,12}", value in "[-0-9a-z\"\\[\\]{}= .:/]{0,40}") {
            let _ = Profile::parse(&format!("[intake]\naccept_any_peer = true\n[journal]\n{key} = {value}"), Path::new("/"));
        }
    }
}
