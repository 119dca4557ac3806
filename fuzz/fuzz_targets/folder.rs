//! A stick that somebody puts in: names of files and folders, and what is in them.
//!
//! The input is a recipe: a byte of flags, a length, and a name of so many bytes, each of which the file system takes. Every file is
//! taken or refused and put away, none twice, and nothing is ever made outside of the folder.
#![no_main]

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use redb::backends::InMemoryBackend;
use thorax_fuzz::Memory;
use thorax_intake::{Config, Folder, FolderWatch, Tally};
use thorax_journal::{Journal, Settings, SystemClock};

/// Files a stick.
const MOST: usize = 6;

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { files_below(&entry.path()) } else { 1 })
        .sum()
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let outside = tempfile::tempdir_in("/dev/shm").unwrap();
    let stick = outside.path().join("stick");
    fs::create_dir(&stick).unwrap();
    let (mut recipe, mut made) = (data, 0_u64);
    let mut read_only = false;
    while let [flags, length, rest @ ..] = recipe {
        let (name, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        recipe = rest;
        read_only = flags & 1 != 0;
        let name = Path::new(OsStr::from_bytes(name));
        // What no stick can hold: a file system knows no such names.
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || name.as_os_str().is_empty() || name.as_os_str().as_bytes().contains(&0) || made as usize == MOST {
            continue;
        }
        let path = stick.join(name);
        let content: &[u8] = match flags >> 5 {
            0 => b"",
            1 => b"\x89PNG\r\n\x1a\nand so on",
            2 => b"no picture at all",
            3 => &[&[0; 128][..], b"DICM"].concat(),
            _ => &[flags >> 5; 40],
        };
        if !path.exists()
            && path.parent().is_some_and(|parent| fs::create_dir_all(parent).is_ok())
            && fs::write(&path, content).is_ok()
        {
            made += 1;
        }
    }
    if made == 0 {
        return;
    }
    let journal = Arc::new(
        Journal::open_on(
            InMemoryBackend::new(),
            Arc::new(Memory::default()),
            Arc::new(SystemClock::default()),
            Settings::default(),
        )
        .unwrap(),
    );
    let folder = Folder { name: "stick".into(), path: stick.clone(), read_only, settle_seconds: 0 };
    let tally = Arc::new(Tally::default());
    let watch = FolderWatch::start(folder, Config { accept_any_peer: true, ..Config::default() }, journal.clone(), tally.clone()).unwrap();
    let all = || {
        let figures = tally.figures();
        figures.accepted + figures.duplicates + figures.other_content + figures.refused
    };
    // Hidden names and the folders for what is done with are passed over, so not all of them need be counted; a look is over soon.
    let until = Instant::now() + Duration::from_millis(20);
    while all() < made && Instant::now() < until {
        thread::sleep(Duration::from_micros(200));
    }
    watch.stop();
    assert!(all() <= made, "a file was taken twice");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "something was made outside of the folder");
    // Each file is still somewhere, and beside a refused one lies the reason.
    let refused = if read_only { 0 } else { tally.figures().refused };
    let found = files_below(&stick) as u64;
    assert!(found >= made && found <= made + refused, "{made} files, {refused} refused, {found} found");
    assert_eq!(journal.verify().unwrap().problems, []);
});
