//! The reference boxes of a net: so many at each place of each map.

use thorax_nn::detection::BoundingBox;

/// The anchors of Faster R-CNN on a feature pyramid (Lin et al. 2017), of a picture with those sides and maps with those `[rows,
/// columns]`: at each place, for each ratio of height to width, a box of the map's size, its corners whole numbers. In the order of the
/// rows, the columns, the ratios.
pub fn pyramid(
    height: usize,
    width: usize,
    maps: &[[usize; 2]],
    sizes: &[f32],
    ratios: &[f32],
) -> Vec<Vec<BoundingBox>> {
    let level = |(&[rows, columns], &size): (&[usize; 2], &f32)| {
        let (down, across) = ((height / rows) as f32, (width / columns) as f32);
        let shape = |ratio: &f32| {
            let root = ratio.sqrt();
            let (w, h) = ((size / root / 2.0).round_ties_even(), (size * root / 2.0).round_ties_even());
            (w, h)
        };
        let shapes: Vec<(f32, f32)> = ratios.iter().map(shape).collect();
        let place = |at: usize| {
            let (x, y) = ((at % columns) as f32 * across, (at / columns) as f32 * down);
            shapes.iter().map(move |(w, h)| BoundingBox { left: x - w, top: y - h, right: x + w, bottom: y + h })
        };
        (0..rows * columns).flat_map(place).collect()
    };
    maps.iter().zip(sizes).map(level).collect()
}

/// The priors of a single-shot detector (Liu et al. 2016): around the middle of each place of each map a box of each of the map's
/// shapes `(width, height)`, all in shares of the picture's side. In pixels of a picture of `side`.
pub fn priors(side: usize, maps: &[[usize; 2]], shapes: &[Vec<(f32, f32)>]) -> Vec<BoundingBox> {
    let side = side as f32;
    let level = |(&[rows, columns], shapes): (&[usize; 2], &Vec<(f32, f32)>)| {
        let place = |at: usize| {
            let x = ((at % columns) as f32 + 0.5) / columns as f32 * side;
            let y = ((at / columns) as f32 + 0.5) / rows as f32 * side;
            shapes.iter().map(|(w, h)| BoundingBox::around(x, y, w * side, h * side)).collect::<Vec<_>>()
        };
        (0..rows * columns).flat_map(place).collect::<Vec<_>>()
    };
    maps.iter().zip(shapes).flat_map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_have_their_sizes_and_places() {
        let levels = pyramid(64, 64, &[[2, 2], [1, 1]], &[32.0, 64.0], &[0.5, 1.0, 2.0]);
        assert_eq!((levels[0].len(), levels[1].len()), (12, 3));
        // 32 / sqrt(0.5) / 2 is 22.6, and 32 sqrt(0.5) / 2 is 11.3.
        assert_eq!(levels[0][0], BoundingBox { left: -23.0, top: -11.0, right: 23.0, bottom: 11.0 });
        assert_eq!(levels[0][4].centre(), (32.0, 0.0));
    }

    #[test]
    fn priors_stand_in_the_middle_of_their_places() {
        let priors = priors(100, &[[2, 2]], &[vec![(0.5, 0.5), (0.2, 0.4)]]);
        assert_eq!(priors[0], BoundingBox { left: 0.0, top: 0.0, right: 50.0, bottom: 50.0 });
        assert_eq!(priors.len(), 8);
        let (x, y) = priors[7].centre();
        assert!((x - 75.0).abs() < 1e-4 && (y - 75.0).abs() < 1e-4);
    }
}
