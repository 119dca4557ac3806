#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use thorax_shared::plane::Plane;

use super::{Change, KINDS, random};

#[derive(serde::Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    size: [usize; 2],
    changed_size: [usize; 2],
    greys: String,
}

/// The picture that `trainer/references/changes.py` draws.
fn drawn(width: usize, height: usize) -> Plane<u8> {
    Plane::from_fn(width, height, |x, y| ((x * x * 3 + y * 7 + (x * y) / 5 + 40 * ((x / 6 + y / 5) % 3)) % 256) as u8)
}

#[test]
fn changes_are_those_of_numpy_and_opencv() {
    let reference: Reference = serde_json::from_str(include_str!("../../tests/references/changes.json")).unwrap();
    for Case { name, size, changed_size, greys } in reference.cases {
        // Where OpenCV reckons in fixed point (its warp knows 32 places between two pixels), it strays a little more.
        let (change, tolerance) = match name.as_str() {
            "equalised" => (Change::Equalised { clip_limit: 2.0 }, 0),
            "gamma 0.6" => (Change::Gamma(0.6), 0),
            "gamma 1.6" => (Change::Gamma(1.6), 0),
            "range" => (Change::Range { black: 40, white: 200 }, 0),
            "window" => (Change::Window { low: 25, high: 230 }, 0),
            "softened" => (Change::Softened(0.5), 1),
            "border" => (Change::Border { share: 0.12, grey: 90 }, 0),
            "blur 1" => (Change::Blur(1.0), 1),
            "blur 2" => (Change::Blur(2.0), 1),
            "sharpened" => (Change::Sharpened { sigma: 2.0, amount: 1.0 }, 1),
            "tilted" => (Change::Tilted(5.0), 8),
            "mirrored" => (Change::Mirrored, 0),
            "negative" => (Change::Negative, 0),
            "turned 90" => (Change::Turned(1), 0),
            "turned 180" => (Change::Turned(2), 0),
            "turned 270" => (Change::Turned(3), 0),
            other => panic!("{other}: no such change here"),
        };
        let changed = change.apply(&drawn(size[0], size[1]));
        assert_eq!([changed.width(), changed.height()], changed_size, "{name} of {size:?}");
        let expected = Plane::new(changed_size[0], changed_size[1], STANDARD.decode(greys).unwrap()).unwrap();
        // At the rim of a tilted picture the border's black is mixed in by OpenCV, and not here.
        let rim = if name == "tilted" { 6 } else { 0 };
        for y in rim..changed_size[1] - rim {
            for x in rim..changed_size[0] - rim {
                let (is, should) = (changed.get(x, y), expected.get(x, y));
                assert!(is.abs_diff(should) <= tolerance, "{name} of {size:?} at ({x}, {y}): {is}, not {should}");
            }
        }
    }
}

#[test]
fn what_is_drawn_by_chance_is_alike_in_kind() {
    let grey = Plane::filled(200, 200, 128u8);
    let noisy = Change::Noise { sigma: 6.0, seed: 1 }.apply(&grey);
    let count = noisy.data().len() as f64;
    let mean = noisy.data().iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = noisy.data().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    assert!((mean - 128.0).abs() < 0.2 && (variance.sqrt() - 6.0).abs() < 0.2, "{mean} {}", variance.sqrt());
    assert_ne!(noisy, Change::Noise { sigma: 6.0, seed: 2 }.apply(&grey));

    let film = drawn(200, 160);
    let loss = |quality| {
        let stored = Change::Jpeg(quality).apply(&film);
        film.data().iter().zip(stored.data()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
    };
    assert!(loss(20) > loss(60) && loss(60) > loss(95) && loss(95) > 0.0);
    let letters = |change: Change| {
        let changed = change.apply(&grey);
        changed.data().iter().filter(|&&v| v > 200).count()
    };
    assert!((500..3000).contains(&letters(Change::Text)), "{}", letters(Change::Text));
    assert!(letters(Change::Marker) > 50);
}

/// A mask is where the picture's pixels are: a bright spot is found under its mask after every change.
#[test]
fn a_mask_moves_with_its_picture() {
    let spot = |x: usize, y: usize| (120..150).contains(&x) && (60..100).contains(&y);
    let film = Plane::from_fn(240, 200, |x, y| if spot(x, y) { 230 } else { 60 + ((x * 7 + y * 3) % 20) as u8 });
    let mask = Plane::from_fn(240, 200, |x, y| if spot(x, y) { 255 } else { 0 });
    for kind in KINDS {
        for &(strength, change) in kind.strengths {
            let (film, mask) = (change.apply(&film), change.apply_to_mask(&mask));
            assert_eq!((film.width(), film.height()), (mask.width(), mask.height()), "{} {strength}", kind.name);
            assert!(mask.data().iter().all(|&v| v == 0 || v == 255), "{} {strength}", kind.name);
            let mean = |inside: bool| {
                let at = film.data().iter().zip(mask.data()).filter(|(_, m)| (**m > 0) == inside);
                let (sum, count) = at.fold((0.0, 0.0), |(sum, count), (v, _)| (sum + f64::from(*v), count + 1.0));
                sum / f64::max(count, 1.0)
            };
            let (inside, outside) = (mean(true), mean(false));
            let brighter = if change == Change::Negative { outside - inside } else { inside - outside };
            assert!(brighter > 40.0, "{} {strength}: {inside} inside, {outside} outside", kind.name);
        }
    }
}

#[test]
fn the_tables_have_a_name_for_every_change() {
    let mut names = std::collections::BTreeSet::new();
    for kind in KINDS {
        assert!(kind.named < kind.strengths.len());
        for (strength, _) in kind.strengths {
            assert!(names.insert((kind.name, *strength)), "{} {strength} twice", kind.name);
        }
    }
    assert_eq!(KINDS[0].shown().0, "equalised");
    assert_eq!(KINDS.iter().filter(|kind| kind.harmful).count(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_change_of_any_picture_fails(width in 0usize..40, height in 0usize..40, seed in any::<u64>()) {
        let picture = drawn(width, height);
        let mut generator = StdRng::seed_from_u64(seed);
        let drawn_changes = random(&mut generator);
        let listed = KINDS.iter().flat_map(|kind| kind.strengths.iter().map(|(_, change)| *change));
        for change in drawn_changes.iter().copied().chain(listed) {
            let changed = change.apply(&picture);
            let mask = change.apply_to_mask(&picture.map(|v| if v > 128 { 255 } else { 0 }));
            prop_assert_eq!(changed.data().is_empty(), picture.data().is_empty(), "{:?}", change);
            prop_assert_eq!((changed.width(), changed.height()), (mask.width(), mask.height()), "{:?}", change);
        }
        prop_assert_eq!(random(&mut StdRng::seed_from_u64(seed)), drawn_changes);
    }
}
