//! Bundles are installed, tried and taken back; and a power cut on every write, sync, rename and removal leaves the state before a
//! change or the one behind it, with all its bundles.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

// The disk of the journal's own test, and the bundle of the format's.
#[allow(dead_code)]
#[path = "../../../journal/tests/power_cut/disk.rs"]
mod disk;
#[path = "../../../../shared/tests/bundle_sample/mod.rs"]
mod sample;

use std::{cell::Cell, collections::BTreeSet, io::Read, path::Path, sync::Arc};

use disk::{Disk, Left};
use sha2::{Digest, Sha256};
use thorax_bundles::{BundleHash, Bundles, BundlesError, SiteThresholds, State, TrialLength};
use thorax_journal::{FileStore, NewEvent};
use thorax_shared::{
    bundle::{SecretKey, TrustedKeys, write},
    decision::DecisionRule,
    modality::Modality::{self, Ct, Xray},
};

const LENGTH: TrialLength = TrialLength { studies: 3, hours: 2 };

/// A bundle of its own for each version.
fn bundle(modality: Modality, version: &str) -> Vec<u8> {
    let mut manifest = sample::manifest();
    manifest.modality = modality;
    manifest.version = version.into();
    write(manifest, &sample::PARTS, &sample::key()).unwrap()
}

fn hash(bytes: &[u8]) -> BundleHash {
    BundleHash(Sha256::digest(bytes).into())
}

fn rule() -> DecisionRule {
    sample::manifest().decision
}

fn on(disk: &Disk) -> Bundles {
    Bundles::open_on(disk.store()).unwrap()
}

fn install(bundles: &mut Bundles, bytes: &[u8], now: i64) {
    bundles.install(bytes, &sample::trusted(), Some("Ada"), now, |_| Ok(1)).unwrap();
}

fn active(bundles: &Bundles, modality: Modality) -> Option<BundleHash> {
    bundles.state().slot(modality).active.as_ref().map(|active| active.sha256)
}

fn names(disk: &Disk) -> BTreeSet<String> {
    disk.names().unwrap().into_iter().collect()
}

fn kinds(bundles: &Bundles) -> Vec<&str> {
    bundles.state().untold.iter().map(|event| event.kind.as_str()).collect()
}

fn set(bundle: BundleHash, negative_at: f32, positive_at: f32) -> SiteThresholds {
    let (by, why) = ("Ada".into(), "table of 2026".into());
    SiteThresholds { bundle, negative_at, positive_at, by, why, unix_milliseconds: 5 }
}

#[test]
fn a_bundle_is_tried_and_then_stays() {
    let disk = Disk::new();
    let mut bundles = on(&disk);
    let [first, second] = ["1", "2"].map(|version| bundle(Ct, version));
    install(&mut bundles, &first, 1);
    assert_eq!(active(&bundles, Ct), Some(hash(&first)));
    assert!(active(&bundles, Xray).is_none() && bundles.state().on_trial());
    bundles.start(2).unwrap();
    // Another bundle's studies do not count.
    assert!(bundles.at_work(Some((hash(&second), 9)), 1000, LENGTH, 3).unwrap().is_empty());
    assert!(bundles.at_work(Some((hash(&first), 2)), 2000, LENGTH, 3).unwrap().is_empty());
    assert_eq!(bundles.at_work(Some((hash(&first), 1)), 3000, LENGTH, 4).unwrap(), ["thorax-ct 1"]);
    assert_eq!(bundles.at_work(Some((hash(&first), 1)), 3000, LENGTH, 4).unwrap(), [""; 0], "it is over once");

    // The next one passes by time alone, and keeps the former, which is the only other file.
    install(&mut bundles, &second, 5);
    bundles.start(6).unwrap();
    assert!(bundles.at_work(None, 10_000, LENGTH, 7).unwrap().is_empty());
    assert!(bundles.at_work(None, 10_000 + 7_199_999, LENGTH, 7).unwrap().is_empty());
    assert_eq!(bundles.at_work(None, 10_000 + 7_200_000, LENGTH, 8).unwrap(), ["thorax-ct 2"]);
    assert_eq!(kinds(&bundles), ["bundle installed", "trial passed", "bundle installed", "trial passed"]);
    let files = [hash(&first), hash(&second)].map(|hash| hash.to_string());
    assert_eq!(names(&disk), files.into_iter().chain(["state.json".into()]).collect());

    // By hand back, once: then there is only what the profile names.
    bundles.roll_back(Ct, "as we know the other", Some("Ada"), 9).unwrap();
    assert_eq!(active(&bundles, Ct), Some(hash(&first)));
    bundles.roll_back(Ct, "nor this one", Some("Ada"), 10).unwrap();
    let nothing = bundles.roll_back(Ct, "more", None, 11).unwrap_err();
    assert!(matches!(nothing, BundlesError::NothingInstalled(Ct)), "{nothing}");
    assert_eq!(names(&disk), ["state.json".to_owned()].into());
}

#[test]
fn what_brings_the_device_down_twice_is_taken_back_and_clean_stops_do_not_count() {
    let disk = Disk::new();
    let [first, second] = ["1", "2"].map(|version| bundle(Xray, version));
    let mut bundles = on(&disk);
    install(&mut bundles, &first, 1);
    bundles.start(1).unwrap();
    bundles.at_work(Some((hash(&first), 3)), 0, LENGTH, 1).unwrap();
    install(&mut bundles, &second, 2);
    for _ in 0..5 {
        // The technician switches it off as one should.
        on(&disk).start(3).unwrap();
        on(&disk).stopped().unwrap();
    }
    for went_down in [0, 1] {
        let mut bundles = on(&disk);
        bundles.start(4).unwrap();
        bundles.at_work(Some((hash(&second), 1)), 5, LENGTH, 5).unwrap();
        let trial = bundles.state().slot(Xray).trial.unwrap();
        assert_eq!((trial.went_down, active(&bundles, Xray)), (went_down, Some(hash(&second))));
    }
    let mut bundles = on(&disk);
    bundles.start(6).unwrap();
    let slot = bundles.state().slot(Xray);
    let gone = slot.rolled_back.as_ref().unwrap();
    assert_eq!((active(&bundles, Xray), &slot.trial, gone.sha256), (Some(hash(&first)), &None, hash(&second)));
    assert!(gone.cause.contains("went down 2 times") && gone.cause.contains("after 2 studies"), "{}", gone.cause);
    let told = bundles.state().untold.last().unwrap();
    assert!(told.kind == "bundle rolled back" && told.text.contains("from thorax-ct 2 to thorax-ct 1"), "{told:?}");
    assert!(!names(&disk).contains(&hash(&second).to_string()));

    // Whoever installs it again is told why it went.
    let again = bundles.install(&second, &sample::trusted(), None, 7, |_| Ok(1)).unwrap();
    assert!(again.taken_back_before.unwrap().contains("went down"));
    // One on trial is no bundle to go back to.
    let third = bundle(Xray, "3");
    let report = bundles.install(&third, &sample::trusted(), None, 8, |_| Ok(1)).unwrap();
    assert_eq!(report.former.unwrap().sha256, hash(&first));
}

#[test]
fn what_is_not_signed_not_tested_or_not_new_changes_nothing() {
    let disk = Disk::new();
    let mut bundles = on(&disk);
    let first = bundle(Ct, "1");
    let never = |_: &Path| -> Result<usize, String> { panic!("not to be run") };
    let stranger = TrustedKeys::only(SecretKey::from_seed(&mut [8; 32]).public_key());
    let told = bundles.install(&first, &stranger, None, 1, never).unwrap_err();
    assert!(matches!(told, BundlesError::Refused(_)), "{told}");
    let mut damaged = first.clone();
    damaged[first.len() / 2] ^= 1;
    let told = bundles.install(&damaged, &sample::trusted(), None, 1, never).unwrap_err();
    assert!(matches!(told, BundlesError::Refused(_)), "{told}");
    let mut manifest = sample::manifest();
    manifest.extension.golden.clear();
    let untested = write(manifest, &sample::PARTS, &sample::key()).unwrap();
    let told = bundles.install(&untested, &sample::trusted(), None, 1, never).unwrap_err();
    assert!(told.to_string().contains("have it built anew with golden answers"), "{told}");

    // The self-test has the very bytes that are kept.
    let store = disk.store();
    let seen = Cell::new(None);
    let failing = |path: &Path| {
        let mut bytes = vec![];
        store.open(path.to_str().unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
        seen.set(Some(hash(&bytes)));
        Err("answers 0.4 in place of 0.5".to_owned())
    };
    let told = bundles.install(&first, &sample::trusted(), None, 1, failing).unwrap_err();
    assert!(
        told.to_string().contains("0.4 in place of 0.5") && told.to_string().contains("nothing was changed"),
        "{told}"
    );
    assert_eq!(seen.get(), Some(hash(&first)));
    let by = bundles.install(&first, &sample::trusted(), Some("a\nb"), 1, never).unwrap_err();
    assert!(matches!(by, BundlesError::Words(_)), "{by}");
    assert_eq!((bundles.state(), names(&disk)), (&State::default(), BTreeSet::new()));

    install(&mut bundles, &first, 2);
    let twice = bundles.install(&first, &sample::trusted(), None, 3, never).unwrap_err();
    assert!(matches!(twice, BundlesError::AlreadyActive(_)), "{twice}");
}

#[test]
fn a_site_s_thresholds_are_forgotten_with_their_bundle() {
    let disk = Disk::new();
    let mut bundles = on(&disk);
    let [first, second] = ["1", "2"].map(|version| bundle(Ct, version));
    // What the profile names has thresholds as well.
    bundles.set_thresholds(Ct, set(BundleHash([9; 32]), 0.2, 0.8), &rule()).unwrap();
    assert_eq!(bundles.thresholds_of(Ct, BundleHash([9; 32]), 6).unwrap().unwrap().positive_at, 0.8);
    install(&mut bundles, &first, 7);
    assert_eq!(bundles.thresholds_of(Ct, hash(&first), 7).unwrap(), None);
    bundles.set_thresholds(Ct, set(hash(&first), 0.1, 0.75), &rule()).unwrap();
    let told = bundles.set_thresholds(Ct, set(hash(&first), 0.3, 0.75), &rule()).unwrap_err().to_string();
    assert!(told.contains("negative_at 0.3 is not within 0.0625 to 0.2500"), "{told}");
    let nobody = SiteThresholds { by: " ".into(), ..set(hash(&first), 0.1, 0.75) };
    assert!(matches!(bundles.set_thresholds(Ct, nobody, &rule()), Err(BundlesError::Words(_))));
    assert_eq!(bundles.thresholds_of(Ct, hash(&first), 8).unwrap().unwrap().negative_at, 0.1);
    assert_eq!(bundles.thresholds_of(Ct, hash(&second), 9).unwrap(), None, "the profile names another now");
    assert_eq!(bundles.state().slot(Ct).thresholds, None);
    assert!(!bundles.clear_thresholds(Ct, Some("Ada"), "none are set", 9).unwrap());
    let forgotten = "site thresholds forgotten";
    let set = "site thresholds set";
    assert_eq!(kinds(&bundles), [set, "bundle installed", forgotten, set, forgotten]);
    let last = bundles.state().untold[3].clone();
    assert!(last.by.as_deref() == Some("Ada") && last.text.ends_with("table of 2026"), "{last:?}");
}

#[test]
fn the_journal_is_told_of_everything_and_what_it_refuses_is_told_again() {
    let disk = Disk::new();
    let mut bundles = on(&disk);
    install(&mut bundles, &bundle(Ct, "1"), 1);
    install(&mut bundles, &bundle(Xray, "1"), 1);
    let mut told: Vec<NewEvent> = vec![];
    let refused = bundles.tell(|event| {
        told.push(event);
        Err::<(), _>(BundlesError::Words("the journal"))
    });
    assert!(refused.is_err() && told.len() == 1 && on(&disk).state().untold.len() == 2);
    let count = on(&disk).tell(|event| {
        told.push(event);
        Ok::<_, BundlesError>(())
    });
    assert_eq!(count.unwrap(), 2);
    assert_eq!(told[0], told[1], "with the same key, by which the journal knows it");
    assert_ne!(told[1].key, told[2].key);
    assert!(on(&disk).state().untold.is_empty());
}

#[test]
fn one_process_at_a_time_changes_a_folder_and_anybody_may_look() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(Bundles::look(data.path()).unwrap(), State::default());
    let mut bundles = Bundles::open(data.path()).unwrap();
    let first = bundle(Ct, "1");
    let file = data.path().join("stick.thorax");
    std::fs::write(&file, &first).unwrap();
    install(&mut bundles, &Bundles::read_file(&file).unwrap(), 1);
    assert_eq!(Bundles::look(data.path()).unwrap(), *bundles.state());
    let kept = bundles.active().remove(0);
    assert_eq!((hash(&std::fs::read(&kept.path).unwrap()), kept.on_trial), (kept.sha256, true));
    let other = data.path().to_owned();
    let waiting = std::thread::spawn(move || Bundles::open(&other).unwrap().roll_back(Ct, "no", None, 2).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!waiting.is_finished());
    drop(bundles);
    assert_eq!(waiting.join().unwrap().sha256, kept.sha256);
    assert!(!kept.path.exists());
}

/// Every change that there is, one after the other; the state behind each, and how many calls of the disk there had been by then.
fn life(disk: &Disk) -> Vec<(usize, State)> {
    let mut bundles = on(disk);
    let mut states = vec![(0, bundles.state().clone())];
    let versions: Vec<Vec<u8>> = ["1", "2", "3", "4"].iter().map(|version| bundle(Ct, version)).collect();
    let film = bundle(Xray, "1");
    let mut change = |bundles: &mut Bundles, what: &mut dyn FnMut(&mut Bundles)| {
        what(bundles);
        states.push((disk.calls(), bundles.state().clone()));
    };
    change(&mut bundles, &mut |b| install(b, &versions[0], 1));
    change(&mut bundles, &mut |b| b.start(2).unwrap());
    change(&mut bundles, &mut |b| drop(b.at_work(Some((hash(&versions[0]), 3)), 0, LENGTH, 2).unwrap()));
    change(&mut bundles, &mut |b| install(b, &film, 3));
    change(&mut bundles, &mut |b| b.set_thresholds(Ct, set(hash(&versions[0]), 0.2, 0.8), &rule()).unwrap());
    change(&mut bundles, &mut |b| install(b, &versions[1], 4));
    change(&mut bundles, &mut |b| {
        b.install(&versions[3], &sample::trusted(), None, 4, |_| Err("no".into())).unwrap_err();
    });
    change(&mut bundles, &mut |b| b.start(5).unwrap());
    change(&mut bundles, &mut |b| assert_eq!(b.tell(|_| Ok::<_, BundlesError>(())).unwrap(), 6));
    change(&mut bundles, &mut |b| install(b, &versions[2], 6));
    change(&mut bundles, &mut |b| b.start(7).unwrap());
    change(&mut bundles, &mut |b| b.start(8).unwrap());
    // The second time that it went down with both of those on trial.
    change(&mut bundles, &mut |b| b.start(9).unwrap());
    assert_eq!((active(&bundles, Ct), active(&bundles, Xray)), (Some(hash(&versions[0])), None));
    change(&mut bundles, &mut |b| install(b, &versions[3], 10));
    change(&mut bundles, &mut |b| b.stopped().unwrap());
    change(&mut bundles, &mut |b| drop(b.roll_back(Ct, "no", Some("Ada"), 11).unwrap()));
    states
}

/// What a cut left is one of these states, with all its bundles, and goes on.
fn check(left: &Disk, allowed: &[State], at: &str) {
    let mut bundles = Bundles::open_on(left.store()).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert!(allowed.contains(bundles.state()), "{at}: {:#?}\nis none of {allowed:#?}", bundles.state());
    let needed: Vec<BundleHash> = [Xray, Ct]
        .iter()
        .flat_map(|modality| {
            let slot = bundles.state().slot(*modality);
            slot.active.iter().chain(&slot.former).map(|installed| installed.sha256)
        })
        .collect();
    for sha256 in &needed {
        let mut bytes = vec![];
        let file = left.open(&sha256.to_string());
        file.unwrap_or_else(|error| panic!("{at}: {sha256}: {error}")).read_to_end(&mut bytes).unwrap();
        assert_eq!(hash(&bytes), *sha256, "{at}");
    }
    let others: Vec<String> = names(left).into_iter().filter(|name| name != "state.json").collect();
    assert_eq!(others.len(), needed.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), "{at}: {others:?}");
    let new = bundle(Ct, "9");
    install(&mut bundles, &new, 99);
    assert_eq!(active(&on(left), Ct), Some(hash(&new)), "{at}");
}

#[test]
fn a_cut_on_every_call_leaves_the_state_before_or_behind() {
    let disk = Disk::new();
    let states = life(&disk);
    let mut cuts = disk.cuts(&Disk::new());
    let (mut points, mut disks, mut nested) = (0, 0, 0);
    while let Some(call) = cuts.at() {
        points += 1;
        let done = states.iter().rposition(|(calls, _)| *calls <= call).unwrap();
        let allowed: Vec<State> = states[done..].iter().take(2).map(|(_, state)| state.clone()).collect();
        for left in [Left::Synced, Left::Everything]
            .into_iter()
            .chain((0..8).map(|seed| Left::Parts(seed ^ (call as u64) << 8)))
        {
            disks += 1;
            let at = format!("cut on call {call}, {left:?}");
            let found = cuts.disk(left);
            let began = found.copy();
            // Opened, and cut again while it is put right.
            drop(Bundles::open_on(found.store()).unwrap_or_else(|error| panic!("{at}: {error}")));
            let mut again = found.cuts(&began);
            while let Some(inner) = again.at() {
                nested += 1;
                check(&again.disk(Left::Parts(inner as u64)), &allowed, &format!("{at}, and on {inner} of opening it"));
                again.step();
            }
            check(&found, &allowed, &at);
        }
        cuts.step();
    }
    println!(
        "{} changes: {points} cut points, {disks} disks left by them, {nested} cuts while opening",
        states.len() - 1
    );
    assert!(points > 100 && nested > 50);
}

/// A disk on which the system refuses a call leaves what was there.
#[derive(Debug)]
struct Failing {
    disk: Disk,
    left: std::sync::atomic::AtomicI64,
}

impl Failing {
    fn ask(&self) -> std::io::Result<()> {
        match self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            ..=0 => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl FileStore for Failing {
    fn create(&self, name: &str) -> std::io::Result<Box<dyn thorax_journal::StoreFile>> {
        self.ask()?;
        self.disk.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.ask()?;
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_names(&self) -> std::io::Result<()> {
        self.disk.sync_names()
    }
    fn open(&self, name: &str) -> std::io::Result<Box<dyn Read + Send>> {
        self.disk.open(name)
    }
    fn names(&self) -> std::io::Result<Vec<String>> {
        self.disk.names()
    }
    fn free_bytes(&self) -> std::io::Result<u64> {
        Ok(0)
    }
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.disk.path(name)
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let [first, second] = ["1", "2"].map(|version| bundle(Ct, version));
    for room in 0..4 {
        let disk = Disk::new();
        install(&mut on(&disk), &first, 1);
        let before = (on(&disk).state().clone(), names(&disk));
        let failing = Failing { disk: disk.clone(), left: room.into() };
        let mut bundles = Bundles::open_on(Arc::new(failing)).unwrap();
        let told = bundles.install(&second, &sample::trusted(), None, 2, |_| Ok(1)).unwrap_err();
        assert!(matches!(told, BundlesError::Io { .. }), "{told}");
        assert_eq!((bundles.state().clone(), on(&disk).state().clone()), (before.0.clone(), before.0), "room {room}");
        assert_eq!(names(&disk), before.1, "room {room}");
    }
}
