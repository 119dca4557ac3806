//! Changes that move pixels, or shade them by where they lie.

use rand::Rng as _;
use thorax_nn::seeded;
use thorax_shared::plane::{Plane, Rect};

use super::greys;

/// How a picture is read at a place between its pixels, whose centres lie at whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Bilinear; beyond the outermost centres by half a pixel the outermost value.
    Bilinear,
    /// The pixel whose centre is nearest: for masks.
    Nearest,
}

impl Sample {
    /// The value at a place; `None` beyond the picture.
    fn at(self, picture: &Plane<u8>, x: f64, y: f64) -> Option<u8> {
        match self {
            Self::Bilinear => bilinear(picture, x, y),
            Self::Nearest => nearest(picture, x, y),
        }
    }
}

fn bilinear(picture: &Plane<u8>, x: f64, y: f64) -> Option<u8> {
    nearest(picture, x, y)?;
    let (last_x, last_y) = ((picture.width() - 1) as f64, (picture.height() - 1) as f64);
    let (x, y) = (x.clamp(0.0, last_x), y.clamp(0.0, last_y));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(picture.width() - 1), (top + 1).min(picture.height() - 1));
    let (across, down) = (x - left as f64, y - top as f64);
    let at = |x: usize, y: usize| f64::from(picture.get(x, y));
    let above = at(left, top) * (1.0 - across) + at(right, top) * across;
    let below = at(left, bottom) * (1.0 - across) + at(right, bottom) * across;
    Some((above * (1.0 - down) + below * down + 0.5) as u8)
}

fn nearest(picture: &Plane<u8>, x: f64, y: f64) -> Option<u8> {
    let (column, row) = ((x + 0.5).floor(), (y + 0.5).floor());
    let inside = column >= 0.0 && row >= 0.0 && column < picture.width() as f64 && row < picture.height() as f64;
    inside.then(|| picture.get(column as usize, row as usize))
}

/// A border of `share` of each side, rounded down.
pub(super) fn bordered(picture: &Plane<u8>, share: f64, grey: u8) -> Plane<u8> {
    let [x, y] = border(picture, share);
    let (width, height) = (picture.width(), picture.height());
    Plane::from_fn(width + 2 * x, height + 2 * y, |column, row| match (column.checked_sub(x), row.checked_sub(y)) {
        (Some(column), Some(row)) if column < width && row < height => picture.get(column, row),
        _ => grey,
    })
}

/// Without `share` of each side, rounded down; at least one pixel is left.
pub(super) fn cropped(picture: &Plane<u8>, share: f64) -> Plane<u8> {
    let [x, y] = border(picture, share.min(0.49));
    picture.cropped(Rect { x, y, width: picture.width() - 2 * x, height: picture.height() - 2 * y })
}

/// `share` of the width and of the height.
fn border(picture: &Plane<u8>, share: f64) -> [usize; 2] {
    [picture.width(), picture.height()].map(|side| (side as f64 * share.max(0.0)) as usize)
}

/// Turned by `degrees` clockwise around the middle, in the same size.
pub(super) fn tilted(picture: &Plane<u8>, degrees: f64, sample: Sample) -> Plane<u8> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (middle_x, middle_y) = ((picture.width() - 1) as f64 / 2.0, (picture.height() - 1) as f64 / 2.0);
    Plane::from_fn(picture.width(), picture.height(), |x, y| {
        let (x, y) = (x as f64 - middle_x, y as f64 - middle_y);
        sample.at(picture, cos * x + sin * y + middle_x, cos * y - sin * x + middle_y).unwrap_or(0)
    })
}

/// Tilt of a collimator's blades.
const BLADES_DEGREES: f64 = 2.0;

/// Outside of a tilted rectangle a twentieth of the light is left, with a penumbra of a hundredth of the longer side.
pub(super) fn collimated(picture: &Plane<u8>, share: f64) -> Plane<u8> {
    let (sin, cos) = BLADES_DEGREES.to_radians().sin_cos();
    let (width, height) = (picture.width() as f64, picture.height() as f64);
    let penumbra = (width.max(height) / 100.0).max(1.0);
    Plane::from_fn(picture.width(), picture.height(), |column, row| {
        let (x, y) = (column as f64 + 0.5 - width / 2.0, row as f64 + 0.5 - height / 2.0);
        let (u, v) = (cos * x + sin * y, cos * y - sin * x);
        let inside = (width * (0.5 - share) - u.abs()).min(height * (0.5 - share) - v.abs());
        let light = 0.05 + 0.95 * (0.5 + inside / penumbra).clamp(0.0, 1.0);
        (f64::from(picture.get(column, row)) * light + 0.5) as u8
    })
}

/// How a camera was held: where the corners of the film (0 and 1 across and down) lie in the photograph.
struct Camera {
    /// Of the homography from the photograph to the film, row by row; the last is 1.
    matrix: [f64; 8],
    /// Middle of the reflection, across and down, and its radius, all in sides.
    reflection: [f64; 3],
}

impl Camera {
    fn held(seed: u64) -> Self {
        let mut random = seeded::generator(seed, 1);
        let mut within = |low: f64, high: f64| low + (high - low) * random.random::<f64>();
        // Corners of the photograph, and which points of the film's plane they show: some of the light box is always seen.
        let tilt = within(-6.0, 6.0).to_radians();
        let (sin, cos) = tilt.sin_cos();
        let zoom = within(1.1, 1.25);
        let (pitch, yaw) = (within(-0.18, 0.18), within(-0.18, 0.18));
        let matrix = [
            zoom * cos,
            zoom * sin,
            0.5 - 0.5 * zoom * (cos + sin),
            -zoom * sin,
            zoom * cos,
            0.5 - 0.5 * zoom * (cos - sin),
            yaw,
            pitch,
        ];
        Self { matrix, reflection: [within(0.2, 0.8), within(0.2, 0.8), within(0.15, 0.3)] }
    }

    /// The place on the film, 0 to 1, that is seen at a place of the photograph, 0 to 1.
    fn film(&self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, e, f, g, h] = self.matrix;
        // Divided around the middle, so that the film stays in the middle of the photograph.
        let depth = 1.0 + g * (x - 0.5) + h * (y - 0.5);
        let (u, v) = (a * x + b * y + c - 0.5, d * x + e * y + f - 0.5);
        (0.5 + u / depth, 0.5 + v / depth)
    }

    fn seen(&self, film: &Plane<u8>, sample: Sample) -> Plane<Option<u8>> {
        let (width, height) = (film.width() as f64, film.height() as f64);
        Plane::from_fn(film.width(), film.height(), |x, y| {
            let (u, v) = self.film((x as f64 + 0.5) / width, (y as f64 + 0.5) / height);
            sample.at(film, u * width - 0.5, v * height - 0.5)
        })
    }
}

/// See [`super::Change::Photograph`].
pub(super) fn photographed(film: &Plane<u8>, seed: u64) -> Plane<u8> {
    let camera = Camera::held(seed);
    let seen = camera.seen(film, Sample::Bilinear);
    let (width, height) = (film.width() as f64, film.height() as f64);
    let [spot_x, spot_y, radius] = camera.reflection;
    let lit = Plane::from_fn(film.width(), film.height(), |column, row| {
        let (x, y) = ((column as f64 + 0.5) / width, (row as f64 + 0.5) / height);
        // The light box shines beside the film, and through its dark parts less than through its bright ones.
        let light = seen.get(column, row).map_or(0.95, |grey| 0.12 + 0.75 * f64::from(grey) / 255.0);
        let corners = 1.0 - 0.5 * ((x - 0.5).powi(2) + (y - 0.5).powi(2));
        let reflection = 0.3 * (-((x - spot_x).powi(2) + (y - spot_y).powi(2)) / (radius * radius)).exp();
        (255.0 * (light * corners + reflection) + 0.5) as u8
    });
    greys::jpeg(&greys::noisy(&lit, 3.0, seed), 70)
}

/// The film's mask in the photograph.
pub(super) fn photographed_mask(mask: &Plane<u8>, seed: u64) -> Plane<u8> {
    Camera::held(seed).seen(mask, Sample::Nearest).map(|value| value.unwrap_or(0))
}
