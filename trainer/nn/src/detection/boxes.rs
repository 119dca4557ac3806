//! Rectangles with their sides along the axes.

/// A rectangle in pixels; its right and bottom lie behind its last column and row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundingBox {
    /// Where it begins, across.
    pub left: f32,
    /// Where it begins, down.
    pub top: f32,
    /// Where it ends, across.
    pub right: f32,
    /// Where it ends, down.
    pub bottom: f32,
}

impl BoundingBox {
    /// A box of that middle and size.
    pub fn around(centre_x: f32, centre_y: f32, width: f32, height: f32) -> Self {
        let (half_width, half_height) = (0.5 * width, 0.5 * height);
        Self {
            left: centre_x - half_width,
            top: centre_y - half_height,
            right: centre_x + half_width,
            bottom: centre_y + half_height,
        }
    }

    /// Right minus left.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Bottom minus top.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Width times height, 0 for a box that is turned inside out.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Its middle, across and down.
    pub fn centre(&self) -> (f32, f32) {
        (self.left + 0.5 * self.width(), self.top + 0.5 * self.height())
    }

    /// What of it lies in a picture of that size.
    #[must_use]
    pub fn clipped(&self, width: f32, height: f32) -> Self {
        Self {
            left: self.left.clamp(0.0, width),
            top: self.top.clamp(0.0, height),
            right: self.right.clamp(0.0, width),
            bottom: self.bottom.clamp(0.0, height),
        }
    }

    /// With all corners times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f32) -> Self {
        let Self { left, top, right, bottom } = *self;
        Self { left: left * factor, top: top * factor, right: right * factor, bottom: bottom * factor }
    }

    /// Whether it has an area, and all corners are numbers.
    pub fn has_area(&self) -> bool {
        self.width() > 0.0 && self.height() > 0.0 && self.area().is_finite()
    }

    /// The area of what both have.
    pub fn intersection(&self, other: &Self) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, 0 to 1; 0 where neither has an area.
    pub fn overlap(&self, other: &Self) -> f32 {
        let both = self.intersection(other);
        let union = self.area() + other.area() - both;
        if union > 0.0 { both / union } else { 0.0 }
    }
}

/// How a net's four numbers tell a box from its reference (Girshick et al. 2014, "Rich feature hierarchies", appendix C):
/// `w_x (x - x_r) / width_r`, `w_y (y - y_r) / height_r`, `w_w ln(width / width_r)`, `w_h ln(height / height_r)`, of the middles
/// `x` and `y`. SSD's variances (Liu et al. 2016) are the weights' reciprocals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// `w_x`, `w_y`, `w_w`, `w_h`.
    pub weights: [f32; 4],
    /// The largest logarithm of a ratio of sizes that is decoded; larger ones are taken for this.
    pub largest_log: f32,
}

impl BoxCoder {
    /// With the limit `ln(1000 / 16)`.
    pub fn new(weights: [f32; 4]) -> Self {
        Self { weights, largest_log: (1000f32 / 16.0).ln() }
    }

    /// What tells `target` from `reference`; both have an area.
    pub fn encode(&self, target: &BoundingBox, reference: &BoundingBox) -> [f32; 4] {
        let ((x, y), (x_r, y_r)) = (target.centre(), reference.centre());
        let [w_x, w_y, w_w, w_h] = self.weights;
        [
            w_x * (x - x_r) / reference.width(),
            w_y * (y - y_r) / reference.height(),
            w_w * (target.width() / reference.width()).ln(),
            w_h * (target.height() / reference.height()).ln(),
        ]
    }

    /// The box that `code` tells from `reference`.
    pub fn decode(&self, code: [f32; 4], reference: &BoundingBox) -> BoundingBox {
        let [dx, dy, dw, dh]: [f32; 4] = std::array::from_fn(|index| code[index] / self.weights[index]);
        let (x_r, y_r) = reference.centre();
        let (width, height) = (reference.width(), reference.height());
        BoundingBox::around(
            dx * width + x_r,
            dy * height + y_r,
            dw.min(self.largest_log).exp() * width,
            dh.min(self.largest_log).exp() * height,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxes() -> impl Strategy<Value = BoundingBox> {
        (0f32..90.0, 0f32..90.0, 1f32..60.0, 1f32..60.0).prop_map(|(left, top, width, height)| BoundingBox {
            left,
            top,
            right: left + width,
            bottom: top + height,
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(target in boxes(), reference in boxes()) {
            let coder = BoxCoder::new([10.0, 10.0, 5.0, 5.0]);
            let decoded = coder.decode(coder.encode(&target, &reference), &reference);
            for (got, expected) in [
                (decoded.left, target.left),
                (decoded.top, target.top),
                (decoded.right, target.right),
                (decoded.bottom, target.bottom),
            ] {
                prop_assert!((got - expected).abs() < 1e-3, "{decoded:?} {target:?}");
            }
        }

        #[test]
        fn overlap_is_symmetric_and_that_of_a_box_with_itself_is_1(a in boxes(), b in boxes()) {
            prop_assert!((a.overlap(&b) - b.overlap(&a)).abs() < 1e-6);
            prop_assert!((0.0..=1.0).contains(&a.overlap(&b)));
            prop_assert!((a.overlap(&a) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_box_without_area_overlaps_nothing_and_is_told() {
        let thin = BoundingBox { left: 3.0, top: 3.0, right: 3.0, bottom: 9.0 };
        let wide = BoundingBox { left: 0.0, top: 0.0, right: 9.0, bottom: 9.0 };
        assert_eq!((thin.overlap(&wide), thin.overlap(&thin)), (0.0, 0.0));
        assert!(!thin.has_area() && wide.has_area());
        let broken = BoundingBox { right: f32::NAN, ..wide };
        assert!(!broken.has_area());
    }
}
