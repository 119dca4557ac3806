//! What must hold for every picture.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use proptest::prelude::*;
use thorax_shared::{
    plane::{Plane, Rect},
    preprocess::{
        Equalised, FoundLungs, Pixels, PreprocessError, PreprocessSpec, Quality, QualityLimits, around_lungs, assess,
        clahe::within_limit,
        clahe_u8, clahe_u16, find_core, map_to_source, prepare, resize_f32, resize_u8,
        spec::{Clahe, Core, Equalisation, Normalise, Window},
        window, working,
    },
};

fn sides() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![(1usize..40, 1usize..40), (Just(1usize), 1usize..200), (1usize..200, Just(1usize))]
}

fn plane<T: Copy + core::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Plane<T>> {
    sides().prop_flat_map(move |(width, height)| {
        prop::collection::vec(value.clone(), width * height)
            .prop_map(move |data| Plane::new(width, height, data).unwrap())
    })
}

fn eight() -> impl Strategy<Value = Plane<u8>> {
    prop_oneof![plane(any::<u8>()), plane(100u8..104), plane(prop_oneof![Just(0u8), Just(255u8)])]
}

fn pixels() -> impl Strategy<Value = Pixels> {
    prop_oneof![
        eight().prop_map(Pixels::Eight),
        plane(any::<u16>()).prop_map(Pixels::Sixteen),
        plane(any::<i16>()).prop_map(Pixels::Hounsfield)
    ]
}

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        (0.0f32..0.5, 0.5f32..0.999).prop_map(|(low, high)| Window::Quantiles { low, high: high + 0.001 }),
        (-2000.0f32..2000.0, 0.1f32..4000.0).prop_map(|(center, width)| Window::Hounsfield { center, width }),
    ]
}

fn clahes() -> impl Strategy<Value = Clahe> {
    (-1.0f64..50.0, 1u32..=64, 1u32..=64).prop_map(|(clip_limit, tiles_x, tiles_y)| Clahe {
        clip_limit,
        tiles_x,
        tiles_y,
    })
}

fn equalisations() -> impl Strategy<Value = Equalisation> {
    prop_oneof![
        Just(Equalisation::Never),
        clahes().prop_map(Equalisation::Always),
        (clahes(), 0.1f64..50.0, 0.0f32..=1.0).prop_map(|(clahe, clip_limit, done_from)| Equalisation::Once {
            clahe: Clahe { clip_limit, ..clahe },
            done_from
        }),
    ]
}

fn cores() -> impl Strategy<Value = Core> {
    prop_oneof![
        Just(Core::Whole),
        (0.0f32..=1.0).prop_map(|margin| Core::Body { margin }),
        (0.0f32..=1.0).prop_map(|margin| Core::Film { margin }),
        (0.0f32..=1.0).prop_map(|margin| Core::Lungs { margin }),
        (0.0f32..=1.0, 0.0f32..=1.0).prop_map(|(margin, fade)| Core::LungsAlone { margin, fade })
    ]
}

fn specs() -> impl Strategy<Value = PreprocessSpec> {
    (windows(), 1u32..80, equalisations(), cores(), 1u32..60, 1usize..=3).prop_map(
        |(window, working_side, clahe, core, input_side, channels)| PreprocessSpec {
            window,
            working_side,
            clahe,
            core,
            input_side,
            normalise: Normalise { mean: vec![0.5; channels], std: vec![0.25; channels] },
        },
    )
}

fn size<T: Copy>(plane: &Plane<T>) -> (usize, usize) {
    (plane.width(), plane.height())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_picture_can_be_prepared(pixels in pixels(), spec in specs()) {
        let prepared = prepare(&pixels, &spec).unwrap();
        let side = spec.input_side as usize;
        let (width, height) = size(&prepared.windowed);
        prop_assert_eq!(size(&prepared.input), (side, side));
        prop_assert_eq!(prepared.tensor.len(), spec.normalise.mean.len() * side * side);
        prop_assert!(prepared.tensor.iter().all(|value| (-2.0..=2.0).contains(value)));
        prop_assert_eq!(prepared.core.within(width, height), prepared.core);
        prop_assert!(prepared.core.area() > 0);
        prop_assert_eq!(&prepared, &prepare(&pixels, &spec).unwrap());
        let placed = map_to_source(&Plane::filled(side, side, 1.0), prepared.core, (width, height));
        let ones = placed.data().iter().filter(|value| (**value - 1.0).abs() < 1e-5).count();
        let zeros = placed.data().iter().filter(|value| **value == 0.0).count();
        prop_assert_eq!((ones, zeros), (prepared.core.area(), width * height - prepared.core.area()));
    }

    #[test]
    fn windows_never_swap_grey_values(values in plane(any::<i16>()), spec in windows()) {
        let windowed = window(&Pixels::Hounsfield(values.clone()), &spec);
        prop_assert_eq!(size(&windowed), size(&values));
        let mut pairs: Vec<_> = values.data().iter().zip(windowed.data()).collect();
        pairs.sort();
        prop_assert!(pairs.is_sorted_by_key(|(_, windowed)| *windowed));
    }

    /// With one tile CLAHE is a table from grey value to grey value.
    #[test]
    fn tables_never_swap_grey_values(picture in eight(), clip_limit in -1.0f64..50.0) {
        let equalised = clahe_u8(&picture, Clahe { clip_limit, tiles_x: 1, tiles_y: 1 }).unwrap();
        let mut pairs: Vec<_> = picture.data().iter().zip(equalised.data()).collect();
        pairs.sort();
        prop_assert!(pairs.is_sorted_by_key(|(_, equalised)| *equalised));
    }

    #[test]
    fn a_share_of_the_picture_lies_within_the_clip_limit(picture in eight(), clahe in clahes()) {
        let share = within_limit(&picture, clahe).unwrap();
        prop_assert!((0.0..=1.0).contains(&share), "{share}");
        let wider = within_limit(&picture, Clahe { clip_limit: 2.0 * clahe.clip_limit.max(0.1), ..clahe }).unwrap();
        prop_assert!(clahe.clip_limit <= 0.0 || wider >= share, "{wider} {share}");
    }

    /// Counted anew, tile by tile, where the tiles divide the picture.
    #[test]
    fn what_lies_within_the_limit_is_counted(
        data in prop::collection::vec(prop_oneof![0u8..20, any::<u8>()], 48 * 32),
        clip_limit in 0.1f64..50.0,
    ) {
        let picture = Plane::from_fn(48, 32, |x, y| data[y * 48 + x]);
        let limit = ((clip_limit * 64.0 / 256.0) as usize).max(1);
        let mut shares = Vec::new();
        for (top, left) in (0..32).step_by(8).flat_map(|top| (0..48).step_by(8).map(move |left| (top, left))) {
            let tile: Vec<u8> = (0..64).map(|at| data[(top + at / 8) * 48 + left + at % 8]).collect();
            let sum: u32 = tile.iter().map(|&grey| u32::from(grey)).sum();
            let squares: u32 = tile.iter().map(|&grey| u32::from(grey).pow(2)).sum();
            let kept = (0..=255).map(|level| tile.iter().filter(|&&grey| grey == level).count().min(limit)).sum::<usize>();
            if 64 * squares >= sum * sum + 16 * 64 * 64 {
                shares.push(kept as f32 / 64.0);
            }
        }
        shares.sort_by(f32::total_cmp);
        let expected = if shares.len() < 4 { 0.0 } else { shares[(shares.len() - 1) * 3 / 4] };
        prop_assert_eq!(within_limit(&picture, Clahe { clip_limit, tiles_x: 6, tiles_y: 4 }).unwrap(), expected);
    }

    #[test]
    fn clahe_keeps_the_size(picture in eight(), clahe in clahes()) {
        prop_assert_eq!(size(&clahe_u8(&picture, clahe).unwrap()), size(&picture));
    }

    #[test]
    fn the_core_is_a_quarter_of_the_picture_or_more(picture in eight(), core in cores()) {
        let (width, height) = size(&picture);
        let found = find_core(&picture, core);
        prop_assert_eq!(found.within(width, height), found);
        prop_assert!(4 * found.area() >= width * height, "{:?} of {} x {}", found, width, height);
    }

    #[test]
    fn the_core_around_lungs_is_inside_of_what_was_seen(
        (picture, lungs) in (1usize..60, 1usize..60).prop_flat_map(|(width, height)| {
            let of = move |values: Vec<u8>| Plane::new(width, height, values).unwrap();
            let values = prop::collection::vec(any::<u8>(), width * height);
            (values.clone().prop_map(of), values.prop_map(move |v| of(v).map(|v| if v > 200 { 255 } else { 0 })))
        }),
        seen in cores(),
        margin in -1.0f32..2.0,
        fade in prop::option::of(-1.0f32..2.0),
    ) {
        let spec = PreprocessSpec { working_side: 30, ..recipe() };
        let equalised = Equalised::new(&Pixels::Eight(picture.clone()), &spec).unwrap();
        let crop = equalised.crop(fade.map_or(Core::Lungs { margin }, |fade| Core::LungsAlone { margin, fade }), Some(FoundLungs { mask: &lungs, seen }));
        let seen = equalised.crop(seen, None).rect;
        prop_assert_eq!(crop.rect.within(picture.width(), picture.height()), crop.rect);
        prop_assert!(8 * crop.rect.area() >= seen.area(), "{:?} in {:?}", crop.rect, seen);
        prop_assert_eq!(equalised.input(&crop, &spec).0.data().len(), 50 * 50);
        let around = around_lungs(&lungs, seen, margin);
        prop_assert!(around.is_none_or(|around| around.common(seen) == around), "{:?}", around);
    }

    #[test]
    fn resizing_stays_between_darkest_and_brightest(picture in eight(), width in 1usize..80, height in 1usize..80) {
        let resized = resize_u8(&picture, width, height);
        prop_assert_eq!(size(&resized), (width, height));
        let (darkest, brightest) = (picture.data().iter().min().unwrap(), picture.data().iter().max().unwrap());
        prop_assert!(resized.data().iter().all(|value| (darkest..=brightest).contains(&value)));
    }

    #[test]
    fn shrinking_keeps_the_mean(map in plane(0.0f32..1.0), x in 1usize..200, y in 1usize..200) {
        let shrunk = resize_f32(&map, x.min(map.width()), y.min(map.height()));
        let mean = |map: &Plane<f32>| map.data().iter().sum::<f32>() / map.data().len() as f32;
        prop_assert!((mean(&map) - mean(&shrunk)).abs() < 1e-4);
    }

    #[test]
    fn measures_are_in_their_ranges(picture in eight(), colour in 0.0f32..1.0) {
        let limits = QualityLimits::default();
        let (quality, reason) = assess(&picture, &picture, colour, &limits);
        let Quality { sharpness, contrast, dark_share, bright_share, grey_levels, score } = quality;
        for share in [sharpness, 2.0 * contrast, dark_share, bright_share, score] {
            prop_assert!((0.0..=1.0001).contains(&share), "{:?}", quality);
        }
        prop_assert!((0.999..=256.1).contains(&grey_levels));
        prop_assert!(reason.is_some() || picture.width().min(picture.height()) >= limits.min_side as usize);
    }

    #[test]
    fn recipes_of_any_numbers_are_followed_or_refused(
        numbers in prop::array::uniform5(any::<f32>()),
        sides in prop::array::uniform4(prop_oneof![0u32..70, any::<u32>()]),
        channels in prop::array::uniform2(0usize..5),
        kind in any::<bool>(),
    ) {
        let [a, b, margin, mean, std] = numbers;
        let clahe = Clahe { clip_limit: f64::from(a) * 1e30, tiles_x: sides[1], tiles_y: sides[2] };
        let spec = PreprocessSpec {
            window: if kind { Window::Quantiles { low: a, high: b } } else { Window::Hounsfield { center: a, width: b } },
            working_side: sides[0],
            clahe: if kind { Equalisation::Always(clahe) } else { Equalisation::Once { clahe, done_from: b } },
            core: if kind { Core::Body { margin } } else { Core::Film { margin } },
            input_side: sides[3].min(5000),
            normalise: Normalise { mean: vec![mean; channels[0]], std: vec![std; channels[1]] },
        };
        let valid = spec.validate();
        let pixels = Pixels::Hounsfield(Plane::from_fn(9, 7, |x, y| (x * 300 + y) as i16));
        prop_assert_eq!(prepare(&pixels, &spec).err(), valid.err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sixteen_bits_are_equalised_in_every_size(
        picture in plane(any::<u16>()),
        clip_limit in -1.0f64..50.0,
        tiles_x in 1u32..5,
        tiles_y in 1u32..5,
    ) {
        let equalised = clahe_u16(&picture, Clahe { clip_limit, tiles_x, tiles_y }).unwrap();
        prop_assert_eq!(size(&equalised), size(&picture));
    }
}

fn recipe() -> PreprocessSpec {
    PreprocessSpec {
        window: Window::Hounsfield { center: -600.0, width: 1500.0 },
        working_side: 100,
        clahe: Equalisation::Always(Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 }),
        core: Core::Body { margin: 0.0 },
        input_side: 50,
        normalise: Normalise { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] },
    }
}

#[test]
fn the_core_is_told_in_pixels_of_the_source() {
    // A body of 280 x 200 pixels in a slice of 400 x 300, shrunk to a quarter for the search.
    let slice = Plane::from_fn(400, 300, |x, y| {
        if (40..320).contains(&x) && (60..260).contains(&y) { 40 + (x % 7) as i16 } else { -1000 }
    });
    let prepared = prepare(&Pixels::Hounsfield(slice.clone()), &recipe()).unwrap();
    assert_eq!(prepared.core, Rect { x: 40, y: 60, width: 280, height: 200 });
    assert_eq!((prepared.windowed.width(), prepared.windowed.height()), (400, 300));
    let small = working(&prepared.windowed, &recipe());
    assert_eq!((small.width(), small.height()), (100, 75));
    // The network drew its left half: that is the body's left half.
    let drawn = Plane::from_fn(50, 50, |x, _| if x < 25 { 1.0 } else { 0.0 });
    let placed = map_to_source(&drawn, prepared.core, (400, 300));
    assert_eq!((placed.get(39, 150), placed.get(40, 150), placed.get(170, 259)), (0.0, 1.0, 1.0));
    assert_eq!((placed.get(190, 150), placed.get(170, 260), placed.get(330, 150)), (0.0, 0.0, 0.0));
}

#[test]
fn pictures_without_pixels_are_refused() {
    for empty in [Plane::filled(0, 0, 0u8), Plane::filled(7, 0, 0), Plane::filled(0, 7, 0)] {
        assert_eq!(prepare(&Pixels::Eight(empty.clone()), &recipe()), Err(PreprocessError::Empty));
        assert_eq!(clahe_u8(&empty, Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 }), Err(PreprocessError::Empty));
    }
    let picture = Plane::filled(9, 9, 0u8);
    for (tiles_x, tiles_y) in [(0, 8), (8, 0), (65, 8)] {
        let refused = clahe_u8(&picture, Clahe { clip_limit: 2.0, tiles_x, tiles_y });
        assert_eq!(refused, Err(PreprocessError::Tiles { x: tiles_x, y: tiles_y }));
    }
}

#[test]
fn a_map_beside_the_picture_is_not_drawn() {
    let core = Rect { x: 8, y: 2, width: 6, height: 6 };
    let placed = map_to_source(&Plane::filled(4, 4, 1.0), core, (10, 5));
    assert_eq!(placed.data().iter().filter(|value| **value > 0.5).count(), 2 * 3);
    let outside = map_to_source(&Plane::filled(4, 4, 1.0), Rect { x: 20, ..core }, (10, 5));
    assert!(outside.data().iter().all(|value| *value == 0.0));
}
