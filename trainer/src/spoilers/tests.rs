//! Planted faults of each kind are found and named, and none is invented.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{collections::BTreeSet, path::Path, sync::OnceLock, time::Instant};

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use image::{ExtendedColorType, GrayImage, ImageBuffer, ImageEncoder as _, Luma, codecs::jpeg::JpegEncoder};
use rayon::prelude::*;
use tempfile::TempDir;
use thorax_phantom::{Phantom, write_dicom};
use thorax_shared::{
    modality::Modality,
    plane::Plane,
    preprocess::{self, resize_u8},
};

use super::{
    Spoilers,
    facts::Facts,
    look,
    sketch::{SIDE, Sketch, of_small},
    twins,
};
use crate::{
    changes::Change,
    data::{
        Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT, import, mocks::bare, picture::Picture,
        recipe::preprocess_spec,
    },
};

fn record(path: &str, label: Label, split: Split, source: &str) -> Record {
    let class = if label == Label::Positive { "covid" } else { "normal" };
    Record { class: class.into(), source: source.into(), ..Record::made(path, Task::Classify, label, split) }
}

/// So many films are made once for all tests.
const FILMS: u64 = 48;
const FILM_SIDE: usize = 256;

fn film(seed: u64) -> Plane<u8> {
    static FILMS_MADE: OnceLock<Vec<Plane<u8>>> = OnceLock::new();
    FILMS_MADE.get_or_init(|| (0..FILMS).into_par_iter().map(|seed| made(seed, FILM_SIDE)).collect())[seed as usize]
        .clone()
}

/// Phantoms have less of their own than patients, so each gets some shadows of its own.
fn made(seed: u64, side: usize) -> Plane<u8> {
    let phantom = Phantom::generate(Modality::Xray, seed, side, seed.is_multiple_of(2));
    let shadows = resize_u8(&Change::Noise { sigma: 60.0, seed }.apply(&Plane::filled(14, 14, 128)), side, side);
    let grey = |x, y| phantom.picture.get(x, y) * 170.0 + f32::from(shadows.get(x, y)) / 3.0;
    Plane::from_fn(side, side, |x, y| grey(x, y) as u8)
}

fn save(path: &Path, picture: &Plane<u8>) {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    GrayImage::from_raw(width, height, picture.data().to_vec()).unwrap().save(path).unwrap();
}

/// Films of as many patients of both classes; `change` one of them, by its number and whether it is positive.
fn films(
    count: u64,
    change: impl Fn(u64, bool, Plane<u8>) -> (String, Plane<u8>, &'static str),
) -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let records = (0..count).map(|i| {
        let positive = i % 2 == 0;
        let (name, picture, source) = change(i, positive, film(i));
        save(&folder.path().join(&name), &picture);
        let split = Split::ALL[(i / 2 % 3) as usize];
        record(&name, if positive { Label::Positive } else { Label::Negative }, split, source)
    });
    let records = records.collect();
    let manifest = Manifest::new(folder.path().to_owned(), records);
    (folder, manifest)
}

#[test]
fn nothing_is_invented_where_nothing_is_wrong() {
    let (_folder, manifest) = films(40, |i, _, film| (format!("{i}.png"), film, "one"));
    let found = look(&manifest).1;
    assert_eq!(found.told(), Vec::<String>::new());
    assert_eq!(found.pictures, 40);
}

#[test]
fn copies_across_splits_and_classes_are_found() {
    let changes = [
        Change::Jpeg(60),
        Change::Resized(0.5),
        Change::Gamma(0.6),
        Change::Gamma(1.6),
        Change::Equalised { clip_limit: 2.0 },
        Change::Softened(0.5),
    ];
    // The second dozen are copies of the first, the other class under other patients.
    let (_folder, manifest) = films(24, |i, _, picture| match i.checked_sub(12) {
        None => (format!("a{i:02}.png"), picture, "one"),
        Some(of) => (format!("b{of:02}.png"), changes[of as usize % 6].apply(&film((of + 1) % 12)), "one"),
    });
    let found = look(&manifest).1;
    let pairs: BTreeSet<[String; 2]> = found.twins.iter().map(|twins| twins.files.clone()).collect();
    let planted: BTreeSet<[String; 2]> =
        (0..12).map(|of| [format!("a{:02}.png", (of + 1) % 12), format!("b{of:02}.png")]).collect();
    assert_eq!(pairs, planted);
    let told = found.told().join("\n");
    assert!(told.contains("nearly the same picture: ") && told.contains("give both one group"), "{told}");
    let page = found.page(&manifest, "planted");
    assert_eq!(page.matches("data:image/png").count(), 2 * 12 + found.lettered.len() + found.blurred.len());
}

#[test]
fn what_tells_the_classes_is_named_with_its_remedy() {
    let told = |change: &dyn Fn(u64, bool, Plane<u8>) -> (String, Plane<u8>, &'static str)| {
        let (_folder, manifest) = films(FILMS, change);
        look(&manifest).1.told().join("\n")
    };
    let source = told(&|i, positive, film| (format!("{i}.png"), film, if positive { "clinic" } else { "archive" }));
    for words in [
        "all 24 pictures of class `covid` come from clinic",
        "all 24 pictures of class `normal` come from archive",
        "xray: source alone tells the classes in 100 %",
        "leave-one-source-out",
    ] {
        assert!(source.contains(words), "{words}: {source}");
    }
    assert_eq!(source.lines().count(), 3, "{source}");

    let format = told(&|i, positive, film| (format!("{i}.{}", if positive { "jpg" } else { "png" }), film, "one"));
    assert!(format.contains("format alone tells the classes in 100 %") && format.contains("export both"), "{format}");

    let size = told(&|i, positive, film| {
        (format!("{i}.png"), if positive { resize_u8(&film, 200, 250) } else { film }, "one")
    });
    assert!(size.contains("longer side alone") && size.contains("width to height alone"), "{size}");

    let blur = told(&|i, positive, film| {
        (format!("{i}.png"), if positive { Change::Blur(2.0).apply(&film) } else { film }, "one")
    });
    assert!(blur.contains("sharpness alone tells") && !blur.contains("source alone"), "{blur}");
}

#[test]
fn the_least_sharp_pictures_are_shown_where_blur_is_suspected() {
    let (_folder, manifest) = films(FILMS, |i, positive, film| {
        (format!("{i:02}.png"), if positive { Change::Blur(3.0).apply(&film) } else { film }, "one")
    });
    let found = look(&manifest).1;
    let positive = |file: &String| file[..2].parse::<u64>().unwrap().is_multiple_of(2);
    assert_eq!(found.blurred.len(), 24);
    assert!(found.blurred.iter().all(positive), "{:?}", found.blurred);
    let page = found.page(&manifest, "planted");
    assert!(page.contains("Least sharp") && page.matches("data:image/png").count() >= 24);
    let sharp = look(&films(FILMS, |i, _, film| (format!("{i:02}.png"), film, "one")).1).1;
    assert_eq!(sharp.blurred, Vec::<String>::new());
}

/// Whether `fact` tells the classes clearly better than chance, and in how many percent.
fn of_fact(found: &Spoilers, fact: &str) -> (bool, u32) {
    let of = found.confounders.iter().find(|confounder| confounder.fact == fact);
    of.map_or((false, 50), |confounder| (confounder.spoils(), (100.0 * confounder.tells).round() as u32))
}

#[test]
fn view_age_and_sex_of_dicom_films_are_named_each_by_itself() {
    const TOLD: [(&str, &str); 3] = [
        ("view", "take films of one view"),
        ("age", "match the classes by age and sex"),
        ("sex", "match the classes by age and sex"),
    ];
    let phantoms: Vec<Phantom> = (0..24_u64)
        .into_par_iter()
        .map(|i| Phantom::generate(Modality::Xray, i, FILM_SIDE, i.is_multiple_of(2)))
        .collect();
    for (planted, (fact, remedy)) in TOLD.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let records = (0..).zip(&phantoms).map(|(i, phantom): (u64, &Phantom)| {
            let (name, positive) = (format!("{i}.dcm"), i % 2 == 0);
            let path = folder.path().join(&name);
            write_dicom(&path, phantom, false).unwrap();
            // What is not planted has both values in both classes alike.
            let one = |place: usize| if place == planted { positive } else { i / 2 % 2 == 0 };
            let mut object = dicom_object::open_file(&path).unwrap();
            for (tag, vr, value) in [
                (tags::VIEW_POSITION, VR::CS, if one(0) { "AP" } else { "PA" }),
                (tags::PATIENT_AGE, VR::AS, if one(1) { "071Y" } else { "034Y" }),
                (tags::PATIENT_SEX, VR::CS, if one(2) { "M" } else { "F" }),
            ] {
                object.put(DataElement::new(tag, vr, value));
            }
            object.write_to_file(&path).unwrap();
            record(&name, if positive { Label::Positive } else { Label::Negative }, Split::Train, "one")
        });
        let records = records.collect();
        let found = look(&Manifest::new(folder.path().to_owned(), records)).1;
        let told = found.told().join("\n");
        for (other, _) in TOLD {
            assert_eq!(of_fact(&found, other), if other == fact { (true, 100) } else { (false, 50) }, "{told}");
        }
        assert!(told.contains(&format!("{fact} alone tells the classes in 100 %")) && told.contains(remedy), "{told}");
    }
}

#[test]
fn bits_and_compression_of_one_class_are_named() {
    let look_at = |ending: &str, write: &dyn Fn(&Path, bool, &Plane<u8>)| {
        let folder = tempfile::tempdir().unwrap();
        let records = (0..FILMS).map(|i| {
            let (name, positive) = (format!("{i}.{ending}"), i % 2 == 0);
            write(&folder.path().join(&name), positive, &film(i));
            record(&name, if positive { Label::Positive } else { Label::Negative }, Split::Train, "one")
        });
        let records = records.collect();
        look(&Manifest::new(folder.path().to_owned(), records)).1
    };
    let found = look_at("png", &|path, positive, film| {
        if !positive {
            return save(path, film);
        }
        let grey: Vec<u16> = film.data().iter().map(|&grey| u16::from(grey) * 257).collect();
        let (width, height) = (film.width() as u32, film.height() as u32);
        ImageBuffer::<Luma<u16>, _>::from_raw(width, height, grey).unwrap().save(path).unwrap();
    });
    let told = found.told().join("\n");
    assert_eq!([of_fact(&found, "bits"), of_fact(&found, "format")], [(true, 100), (false, 50)], "{told}");
    assert!(told.contains("bits alone tells the classes in 100 %") && told.contains("from the originals"), "{told}");

    let found = look_at("jpg", &|path, positive, film| {
        let file = std::fs::File::create(path).unwrap();
        let encoder = JpegEncoder::new_with_quality(file, if positive { 95 } else { 40 });
        let (width, height) = (film.width() as u32, film.height() as u32);
        encoder.write_image(film.data(), width, height, ExtendedColorType::L8).unwrap();
    });
    let told = found.told().join("\n");
    let facts = ["bytes a pixel", "format", "bits"].map(|fact| of_fact(&found, fact));
    assert_eq!(facts, [(true, 100), (false, 50), (false, 50)], "{told}");
    assert!(told.contains("bytes a pixel alone tells the classes in 100 %"), "{told}");
}

#[test]
fn text_on_one_class_is_named() {
    // A slice of nobody has no letters, unless they are burned in.
    let folder = tempfile::tempdir().unwrap();
    let records = (0..24_u64).map(|i| {
        let phantom = Phantom::generate(Modality::Ct, i, 512, i % 2 == 0);
        let slice = phantom.hounsfield.unwrap().map(|hu| ((hu + 1350.0) / 1500.0 * 255.0).clamp(0.0, 255.0) as u8);
        let name = format!("{i}.png");
        save(&folder.path().join(&name), &if i % 2 == 0 { Change::Text.apply(&slice) } else { slice });
        let label = if i % 2 == 0 { Label::Positive } else { Label::Negative };
        Record { modality: Modality::Ct, ..record(&name, label, Split::Train, "one") }
    });
    let records = records.collect();
    let found = look(&Manifest::new(folder.path().to_owned(), records)).1;
    let told = found.told().join("\n");
    assert!(
        told.contains("ct: burned-in text alone tells the classes in 100 %") && told.contains("crop to the lungs"),
        "{told}"
    );
    assert_eq!(found.lettered.len(), 12);
}

/// What `docs/data.md` says of our own collection: nothing is wrong with it, no near-duplicates stand on two sides, and one fact tells
/// the classes of films.
#[test]
fn of_the_shared_collection_the_source_alone_is_suspected() {
    let Some(dir) = thorax_wanted::shared("data") else { return };
    let manifest = import(&bare(&dir)).unwrap().manifest;
    let (findings, found) = look(&manifest);
    assert_eq!(findings.problems, vec![]);
    assert_eq!((&found.twins[..], &found.one_source[..]), (&[][..], &[][..]));
    let told = found.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("xray: source alone tells the classes in "), "{told:?}");
}

/// Real pictures, and changed copies of some of them under other names: how many are found, how many are wrong. Those that the
/// collection itself has are printed, to be looked at.
#[test]
fn copies_of_real_pictures_are_found_and_others_are_not() {
    let Some(dir) = thorax_wanted::shared("data") else { return };
    let table = std::fs::read(dir.join("manifest.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(&table[..]);
    let rows: Vec<std::collections::BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    for (modality, folder) in [(Modality::Xray, "xray/"), (Modality::Xray, "xray_siim/"), (Modality::Ct, "ct/")] {
        let rows: Vec<_> = rows.iter().filter(|row| row["path"].starts_with(folder)).collect();
        let step = rows.len().div_ceil(800);
        let pictures: Vec<(String, Plane<u8>)> = rows
            .iter()
            .step_by(step)
            .map(|row| {
                let picture = Picture::read(&dir.join(&row["path"]), false).unwrap();
                let window = preprocess_spec(modality, 64, super::sketch::no_normalisation()).window;
                let group =
                    if row["patient_id"] == UNKNOWN_PATIENT { row["path"].clone() } else { row["group"].clone() };
                (group, preprocess::window(&picture.frame.pixels, &window))
            })
            .collect();
        let changes: [&[Change]; 8] = [
            &[Change::Jpeg(40)],
            &[Change::Resized(0.5)],
            &[Change::Gamma(0.6)],
            &[Change::Gamma(1.6)],
            &[Change::Equalised { clip_limit: 2.0 }],
            &[Change::Softened(0.5), Change::Jpeg(60)],
            &[Change::Equalised { clip_limit: 4.0 }, Change::Jpeg(60)],
            &[Change::Gamma(1.6), Change::Resized(0.5), Change::Jpeg(60)],
        ];
        let sketch = |picture: &Plane<u8>| {
            let (hash, detail) = of_small(&resize_u8(picture, SIDE, SIDE));
            let norm = detail.iter().map(|&v| f32::from(v).powi(2)).sum::<f32>().sqrt();
            Sketch { hash, detail, norm, facts: Facts::default() }
        };
        let count = pictures.len();
        let mut sketches: Vec<Sketch> = pictures.iter().map(|(_, picture)| sketch(picture)).collect();
        let planted: Vec<usize> = (0..count).step_by(2).collect();
        for (number, &of) in planted.iter().enumerate() {
            let changed =
                changes[number % changes.len()].iter().fold(pictures[of].1.clone(), |p, change| change.apply(&p));
            sketches.push(sketch(&changed));
        }
        let group = |i: usize| &pictures[if i < count { i } else { planted[i - count] }].0;
        let start = Instant::now();
        let pairs = twins::pairs(&sketches, |_, _| true);
        let took = start.elapsed();
        let true_pair = |pair: &twins::Pair| pair.a < count && pair.b >= count && planted[pair.b - count] == pair.a;
        let found: BTreeSet<usize> = pairs.iter().filter(|pair| true_pair(pair)).map(|pair| pair.b).collect();
        let wrong: Vec<_> = pairs.iter().filter(|pair| !true_pair(pair) && group(pair.a) != group(pair.b)).collect();
        let recall = found.len() as f64 / planted.len() as f64;
        let precision = found.len() as f64 / (found.len() + wrong.len()).max(1) as f64;
        eprintln!(
            "{folder}: {count} pictures, {} copies: recall {recall:.4}, precision {precision:.4}, {} other pairs, {took:.2?}",
            planted.len(),
            wrong.len()
        );
        for (number, _) in changes.iter().enumerate() {
            let of: Vec<usize> = (0..planted.len()).filter(|i| i % changes.len() == number).collect();
            let missed = of.iter().filter(|&&i| !found.contains(&(count + i))).count();
            let correlations: Vec<f32> =
                of.iter().map(|&i| twins::correlation(&sketches[planted[i]], &sketches[count + i])).collect();
            let bits: Vec<u32> =
                of.iter().map(|&i| twins::differing(&sketches[planted[i]].hash, &sketches[count + i].hash)).collect();
            eprintln!(
                "  {:?}: {missed} of {} missed, least correlation {:.3}, most bits {}",
                changes[number],
                of.len(),
                correlations.iter().copied().fold(1.0, f32::min),
                bits.iter().max().unwrap()
            );
        }
        assert!(recall >= 0.99 && precision >= 0.99, "{folder}: recall {recall}, precision {precision}");
        let mut others: Vec<(f32, u32)> = vec![];
        for a in 0..count {
            for b in a + 1..count {
                if group(a) != group(b) {
                    others.push((
                        twins::correlation(&sketches[a], &sketches[b]),
                        twins::differing(&sketches[a].hash, &sketches[b].hash),
                    ));
                }
            }
        }
        others.sort_by(|x, y| y.0.total_cmp(&x.0));
        eprintln!("  most alike of two patients: {:?}", &others[..12]);
        for pair in wrong.iter().take(12) {
            eprintln!("  {:.3} {} {}", pair.correlation, group(pair.a), group(pair.b));
        }
    }
}
