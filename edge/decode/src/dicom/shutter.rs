//! What a film's shutter hides (PS3.3, C.7.6.11): there is no picture outside of it, only unexposed film, which is white.

use dicom_dictionary_std::tags;

use super::dataset::DataSet;

/// The part of a film that is to be seen; rows and columns are counted from 1.
#[derive(Debug, Default)]
pub(super) struct Shutter {
    /// Left, right, upper and lower edge, which are outside themselves.
    rectangle: Option<[f64; 4]>,
    /// Row and column of the centre, and the radius.
    circle: Option<[f64; 3]>,
    /// Rows and columns of the corners.
    polygon: Vec<[f64; 2]>,
}

impl Shutter {
    /// The file's shutter, `None` where it has none that makes sense.
    pub(super) fn read(data: &DataSet<'_>) -> Option<Self> {
        let shapes: Vec<_> = data.texts(tags::SHUTTER_SHAPE).iter().map(|shape| shape.to_uppercase()).collect();
        let told = |shape: &str| shapes.iter().any(|told| told == shape);
        let edges = [
            tags::SHUTTER_LEFT_VERTICAL_EDGE,
            tags::SHUTTER_RIGHT_VERTICAL_EDGE,
            tags::SHUTTER_UPPER_HORIZONTAL_EDGE,
            tags::SHUTTER_LOWER_HORIZONTAL_EDGE,
        ]
        .map(|tag| data.hint(tag));
        let rectangle = match edges {
            [Some(left), Some(right), Some(upper), Some(lower)]
                if told("RECTANGULAR") && left < right && upper < lower =>
            {
                Some([left, right, upper, lower])
            }
            _ => None,
        };
        let numbers = |tag| data.numbers(tag).unwrap_or_default();
        let circle = match (&numbers(tags::CENTER_OF_CIRCULAR_SHUTTER)[..], data.hint(tags::RADIUS_OF_CIRCULAR_SHUTTER))
        {
            (&[row, column], Some(radius)) if told("CIRCULAR") && radius > 0.0 => Some([row, column, radius]),
            _ => None,
        };
        let corners = numbers(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER);
        let (corners, rest) = corners.as_chunks::<2>();
        let polygon =
            if told("POLYGONAL") && corners.len() >= 3 && rest.is_empty() { corners.to_vec() } else { Vec::new() };
        let shutter = Self { rectangle, circle, polygon };
        (shutter.rectangle.is_some() || shutter.circle.is_some() || !shutter.polygon.is_empty()).then_some(shutter)
    }

    /// Whether the pixel of that column and row, counted from 0, is to be seen.
    pub(super) fn shows(&self, column: usize, row: usize) -> bool {
        let (x, y) = (column as f64 + 1.0, row as f64 + 1.0);
        self.rectangle.is_none_or(|[left, right, upper, lower]| left < x && x < right && upper < y && y < lower)
            && self.circle.is_none_or(|[row, column, radius]| (y - row).hypot(x - column) <= radius)
            && (self.polygon.is_empty() || self.in_polygon(x, y))
    }

    /// By the number of edges that a ray to the right crosses.
    fn in_polygon(&self, x: f64, y: f64) -> bool {
        let next = self.polygon.iter().cycle().skip(1);
        let crossed = self.polygon.iter().zip(next).filter(|&(&[row, column], &[next_row, next_column])| {
            (row > y) != (next_row > y) && x < (next_column - column) * (y - row) / (next_row - row) + column
        });
        crossed.count() % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_show_what_lies_in_all_of_them() {
        let rectangle = Shutter { rectangle: Some([1.0, 4.0, 0.0, 3.0]), ..Shutter::default() };
        let seen = |shutter: &Shutter| {
            let row = |y| (0..4).map(|x| if shutter.shows(x, y) { '#' } else { '.' }).collect::<String>();
            (0..4).map(row).collect::<Vec<_>>().join("/")
        };
        assert_eq!(seen(&rectangle), ".##./.##./..../....");
        let circle = Shutter { circle: Some([2.0, 2.0, 1.0]), ..Shutter::default() };
        assert_eq!(seen(&circle), ".#../###./.#../....");
        let triangle = Shutter { polygon: vec![[0.5, 0.5], [0.5, 4.5], [4.5, 0.5]], ..Shutter::default() };
        assert_eq!(seen(&triangle), "###./##../#.../....");
        assert_eq!(seen(&Shutter { circle: Some([2.0, 2.0, 1.0]), ..rectangle }), ".#../.##./..../....");
    }
}
