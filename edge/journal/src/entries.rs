//! What the journal keeps a record of: objects, studies, results, deliveries, what readers said of results, who saw what.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Moment,
    record::{Record, exactly},
};

/// A SHA-256, by which a kept file is named.
pub type Hash = [u8; 32];

/// One image that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The study it belongs to.
    pub study: u64,
    /// SHA-256 of its file.
    pub sha256: Hash,
    /// Length of its file.
    pub bytes: u64,
    /// When it was received.
    pub received: Moment,
    /// What the sender said of it.
    pub what: ReceivedObject,
}

/// What is known of an image when it is received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedObject {
    /// What it is.
    pub kind: Kind,
    /// Where it came from.
    pub source: Source,
}

/// What an image is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A DICOM object; one SOP Instance UID is one object, whoever sends it.
    Dicom {
        /// (0008,0016)
        sop_class_uid: String,
        /// (0008,0018)
        sop_instance_uid: String,
        /// (0020,000D)
        study_instance_uid: String,
        /// (0020,000E)
        series_instance_uid: String,
        /// (0002,0010) of its file.
        transfer_syntax_uid: String,
    },
    /// Any other file, which is known by its bytes alone and is a study of its own.
    Picture,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The DICOM network.
    Association {
        /// Who sent it.
        calling_ae_title: String,
        /// Whom it was sent to.
        called_ae_title: String,
        /// The peer's address.
        address: String,
    },
    /// A watched folder, or a medium.
    Folder {
        /// The folder, as the profile names it.
        folder: String,
        /// The file's path in it.
        file: String,
    },
}

/// What is screened together: the objects of one Study Instance UID that came before it was screened. Those that come later
/// are a study of the next [`round`](Self::round).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Study {
    /// Study Instance UID; of a picture, `picture:` and its SHA-256.
    pub key: String,
    /// 1, and more for what came when the earlier rounds had been taken.
    pub round: u32,
    /// The study of the round before.
    pub earlier: Option<u64>,
    /// When its first object came.
    pub opened: Moment,
    /// When its last object came.
    pub last_arrival: Moment,
    /// How many objects it has.
    pub objects: u64,
    /// Where it is on its way.
    pub state: StudyState,
    /// How often it was taken.
    pub taken: u32,
    /// What was said when it was last put back.
    pub note: Option<String>,
}

/// Where a study is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StudyState {
    /// More objects may come.
    Open,
    /// Complete; waits.
    Closed,
    /// In the hands of the program.
    Taken,
    /// Has a result.
    Finished {
        /// Since when.
        at: Moment,
    },
    /// Will not have one.
    Failed {
        /// Since when.
        at: Moment,
        /// Why.
        cause: String,
    },
}

impl StudyState {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Taken => "taken",
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more will become of it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. })
    }
}

/// What was found in a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyResult {
    /// What lists and tables show of it.
    pub summary: Summary,
    /// The files that were made, such as the whole outcome, masks and the panel.
    pub files: Vec<ResultFile>,
    /// When it was finished.
    pub finished: Moment,
}

/// A kept file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// What it is, such as `outcome.json`.
    pub label: String,
    /// SHA-256 of the file.
    pub sha256: Hash,
    /// Its length.
    pub bytes: u64,
}

/// A result in a line. The program fills it; the journal does not judge it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `xray` or `ct`.
    pub modality: Option<String>,
    /// Such as `positive`, `negative`, `refer`, `rejected`.
    pub verdict: String,
    /// Why, where there is something to say: cause.
    pub cause: Option<String>,
    /// And remedy.
    pub remedy: Option<String>,
    /// Of the finding, 0 to 1.
    pub probability: Option<f64>,
    /// Of the ensemble's mean, in bits.
    pub entropy_bits: Option<f64>,
    /// Infected share of the patient's left lung.
    pub left_involvement_percent: Option<f64>,
    /// Infected share of the patient's right lung.
    pub right_involvement_percent: Option<f64>,
    /// The bundle's name and version.
    pub bundle: Option<String>,
    /// SHA-256 of the bundle's file.
    pub bundle_sha256: Option<Hash>,
    /// Which thresholds gave the verdict.
    pub thresholds: Option<Thresholds>,
}

/// The thresholds of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Below this probability it is negative.
    pub negative_at: f64,
    /// From this probability on it is positive.
    pub positive_at: f64,
    /// Whether the site has set them; else they are the bundle's own.
    pub of_site: bool,
}

/// As [`StudyResult`] was in version 1, whose summary did not tell the thresholds.
#[derive(Deserialize)]
struct FirstStudyResult {
    summary: FirstSummary,
    files: Vec<ResultFile>,
    finished: Moment,
}

#[derive(Deserialize)]
struct FirstSummary {
    modality: Option<String>,
    verdict: String,
    cause: Option<String>,
    remedy: Option<String>,
    probability: Option<f64>,
    entropy_bits: Option<f64>,
    left_involvement_percent: Option<f64>,
    right_involvement_percent: Option<f64>,
    bundle: Option<String>,
    bundle_sha256: Option<Hash>,
}

impl From<FirstStudyResult> for StudyResult {
    fn from(FirstStudyResult { summary: first, files, finished }: FirstStudyResult) -> Self {
        let summary = Summary {
            modality: first.modality,
            verdict: first.verdict,
            cause: first.cause,
            remedy: first.remedy,
            probability: first.probability,
            entropy_bits: first.entropy_bits,
            left_involvement_percent: first.left_involvement_percent,
            right_involvement_percent: first.right_involvement_percent,
            bundle: first.bundle,
            bundle_sha256: first.bundle_sha256,
            thresholds: None,
        };
        Self { summary, files, finished }
    }
}

impl Record for StudyResult {
    const NAME: &'static str = "result";
    const VERSION: u8 = 2;

    fn older(version: u8, fields: &[u8]) -> Option<postcard::Result<Self>> {
        (version == 1).then(|| exactly::<FirstStudyResult>(fields).map(Self::from))
    }
}

/// A result on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Whose result.
    pub study: u64,
    /// Where to, by the profile's name for it.
    pub destination: String,
    /// Since when it is wanted.
    pub created: Moment,
    /// Where it is on its way.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Not to be tried before this device time, in milliseconds.
    pub not_before_milliseconds: u64,
    /// The device went down during the last attempt, so that the peer may have the result already: the next attempt asks, or
    /// sends the very same instances.
    pub interrupted: bool,
    /// What the last attempt failed of.
    pub last_error: Option<String>,
    /// Files of the result that the destination has said it has; they are not sent again.
    pub arrived: Vec<Hash>,
}

/// As [`Delivery`] was in version 1, which knew of no parts.
#[derive(Deserialize)]
struct FirstDelivery {
    study: u64,
    destination: String,
    created: Moment,
    state: DeliveryState,
    attempts: u32,
    not_before_milliseconds: u64,
    interrupted: bool,
    last_error: Option<String>,
}

impl From<FirstDelivery> for Delivery {
    fn from(first: FirstDelivery) -> Self {
        let FirstDelivery { study, destination, created, state, attempts, .. } = first;
        let FirstDelivery { not_before_milliseconds, interrupted, last_error, .. } = first;
        Self {
            study,
            destination,
            created,
            state,
            attempts,
            not_before_milliseconds,
            interrupted,
            last_error,
            arrived: vec![],
        }
    }
}

impl Record for Delivery {
    const NAME: &'static str = "delivery";
    const VERSION: u8 = 2;

    fn older(version: u8, fields: &[u8]) -> Option<postcard::Result<Self>> {
        (version == 1).then(|| exactly::<FirstDelivery>(fields).map(Self::from))
    }
}

/// Where a delivery is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// For its turn, or for the end of a pause.
    Waiting,
    /// Being sent.
    Sending,
    /// Arrived.
    Delivered {
        /// When.
        at: Moment,
    },
    /// Refused for good.
    GivenUp {
        /// When.
        at: Moment,
        /// Why.
        cause: String,
    },
}

impl DeliveryState {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Delivered { .. } => "delivered",
            Self::GivenUp { .. } => "given up",
        }
    }

    /// Whether nothing more will become of it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::GivenUp { .. })
    }
}

/// What a reader said of a result. A reader may say more than once; the last word counts, and none is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Of which study; it may have been removed since.
    pub study: u64,
    /// The reader's account.
    pub reader: String,
    /// When.
    pub at: Moment,
    /// Whether the reader agrees.
    pub opinion: Opinion,
    /// In the reader's words; empty where there are none. Goes when the study is removed, since it may tell of a patient.
    pub note: String,
    /// The verdict that it is about.
    pub verdict: String,
    /// The bundle that gave it, by name and version.
    pub bundle: Option<String>,
    /// SHA-256 of the bundle's file.
    pub bundle_sha256: Option<Hash>,
}

/// Whether a reader agrees with a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opinion {
    /// Yes.
    Agree,
    /// No.
    Disagree,
    /// There is a note alone.
    Note,
}

impl Opinion {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Disagree => "disagree",
            Self::Note => "note",
        }
    }
}

/// Who did what on the page. It has no name of a patient's, only the study's number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    pub at: Moment,
    /// The account; of a login that failed, only where there is such an account: a password typed at the wrong place is no name.
    pub account: Option<String>,
    /// The address that it came from.
    pub address: String,
    /// What.
    pub event: AuditEvent,
    /// With which study.
    pub study: Option<u64>,
}

/// What is done on the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditEvent {
    /// Somebody came in.
    Login,
    /// Somebody tried to, with a wrong name or password.
    LoginFailed,
    /// Somebody left.
    Logout,
    /// The list of studies was shown.
    ListSeen,
    /// A study was shown.
    StudySeen,
    /// A reader said something of a result.
    Feedback,
    /// A file of a result was handed out.
    Download {
        /// The file's label.
        label: String,
    },
}

impl AuditEvent {
    /// One word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginFailed => "login failed",
            Self::Logout => "logout",
            Self::ListSeen => "list seen",
            Self::StudySeen => "study seen",
            Self::Feedback => "feedback",
            Self::Download { .. } => "download",
        }
    }
}

/// What the journal counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The next number; all kinds of records share them, so that they tell the order of everything.
    pub(crate) next: u64,
    /// Milliseconds that the journal has been open, up to the last commit.
    pub(crate) device_milliseconds: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { next: 1, device_milliseconds: 0 }
    }
}

macro_rules! first_version {
    ($($record:ty: $name:literal),*) => { $(
        impl Record for $record {
            const NAME: &'static str = $name;
            const VERSION: u8 = 1;
        }
    )* };
}

first_version!(
    Object: "received object",
    Study: "study",
    Feedback: "reader's word",
    Audit: "line of the audit",
    Counters: "set of counters"
);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hexadecimal(record: &impl Record) -> String {
        thorax_files::hexadecimal(&record.encode().unwrap())
    }

    /// Whoever changes a record's fields without counting its version up breaks every journal out there, and this test.
    #[test]
    fn the_bytes_of_each_version() {
        let moment = Moment { unix_milliseconds: -2, device_milliseconds: 300 };
        let object = Object {
            study: 7,
            sha256: [0xab; 32],
            bytes: 1000,
            received: moment,
            what: ReceivedObject {
                kind: Kind::Dicom {
                    sop_class_uid: "1.2".into(),
                    sop_instance_uid: "1.3".into(),
                    study_instance_uid: "1.4".into(),
                    series_instance_uid: "1.5".into(),
                    transfer_syntax_uid: "1.6".into(),
                },
                source: Source::Association {
                    calling_ae_title: "CART".into(),
                    called_ae_title: "THORAX".into(),
                    address: "::1".into(),
                },
            },
        };
        let study = Study {
            key: "1.4".into(),
            round: 2,
            earlier: Some(3),
            opened: moment,
            last_arrival: moment,
            objects: 4,
            state: StudyState::Failed { at: moment, cause: "no".into() },
            taken: 1,
            note: None,
        };
        let result = StudyResult {
            summary: Summary { verdict: "refer".into(), probability: Some(0.5), ..Summary::default() },
            files: vec![ResultFile { label: "a".into(), sha256: [1; 32], bytes: 5 }],
            finished: moment,
        };
        let delivery = Delivery {
            study: 7,
            destination: "pacs".into(),
            created: moment,
            state: DeliveryState::Waiting,
            attempts: 1,
            not_before_milliseconds: 10,
            interrupted: true,
            last_error: Some("x".into()),
            arrived: vec![],
        };
        assert_eq!(
            hexadecimal(&object),
            format!(
                "0107{}e80703ac020003312e3203312e3303312e3403312e3503312e3600044341525406{}033a3a31",
                "ab".repeat(32),
                { "54484f524158" }
            )
        );
        assert_eq!(hexadecimal(&study), "0103312e3402010303ac0203ac02040403ac02026e6f0100");
        assert_eq!(
            hexadecimal(&result),
            format!("0200057265666572000001000000000000e03f000000000000010161{}0503ac02", "01".repeat(32))
        );
        assert_eq!(hexadecimal(&delivery), "0207047061637303ac0200010a0101017800");
        let mut first = result.encode().unwrap();
        // As version 1 wrote it: no thresholds in front of the list of one file.
        first[0] = 1;
        first.remove(24);
        assert_eq!(
            thorax_files::hexadecimal(&first),
            format!("0100057265666572000001000000000000e03f0000000000010161{}0503ac02", "01".repeat(32))
        );
        assert_eq!(StudyResult::decode(&first).unwrap(), result);
        let first = [&[1][..], &delivery.encode().unwrap()[1..delivery.encode().unwrap().len() - 1]].concat();
        assert_eq!(thorax_files::hexadecimal(&first), "0107047061637303ac0200010a01010178", "as version 1 wrote it");
        assert_eq!(Delivery::decode(&first).unwrap(), delivery);
        let parts = Delivery { arrived: vec![[5; 32]], ..delivery };
        assert_eq!(hexadecimal(&parts), format!("0207047061637303ac0200010a0101017801{}", "05".repeat(32)));
        let feedback = Feedback {
            study: 7,
            reader: "ada".into(),
            at: moment,
            opinion: Opinion::Disagree,
            note: "n".into(),
            verdict: "refer".into(),
            bundle: Some("b".into()),
            bundle_sha256: Some([2; 32]),
        };
        let fields = "010703616461 03ac02 01 016e 057265666572 010162 01".replace(' ', "");
        assert_eq!(hexadecimal(&feedback), format!("{fields}{}", "02".repeat(32)));
        let audit = Audit {
            at: moment,
            account: Some("ada".into()),
            address: "::1".into(),
            event: AuditEvent::Download { label: "a".into() },
            study: Some(7),
        };
        assert_eq!(hexadecimal(&audit), "01 03ac02 0103616461 033a3a31 06 0161 0107".replace(' ', ""));
        assert_eq!(hexadecimal(&Counters::default()), "010100");
    }
}
