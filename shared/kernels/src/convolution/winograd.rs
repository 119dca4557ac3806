//! Minimal filtering down the columns: four output rows of a three-row kernel from six products instead of twelve.
//!
//! Winograd's F(4, 3) (Winograd 1980; Lavin and Gray 2016, section 4.1) applied to rows only. Six rows of the input become
//! six combinations of them ([`input`]), the kernel's three rows become six ([`kernel`]), the products are summed over
//! the channels, and four output rows are combinations of the six sums ([`output`]). Along the rows the kernel stays as it
//! is. Done in one direction only, every step runs along whole rows, the rounding error stays about that of one
//! transform, and the products are half as many; done in both directions they would be a quarter, but the transforms
//! would have to move single pixels.
//!
//! The gradient to the weight is the transpose of the same algorithm: [`gradient`] turns four rows of the output's
//! gradient into six, and [`kernel_gradient`] six sums into three kernel rows.

/// Output rows of a tile.
pub(crate) const TILE: usize = 4;
/// Products, and input rows of a tile.
pub(crate) const POINTS: usize = 6;

/// `G w`: the six kernels of the points, from the three rows of a kernel's column.
pub(crate) fn kernel([w0, w1, w2]: [f32; 3]) -> [f32; POINTS] {
    let even = (w0 + w2) / 6.0;
    let wide = w0 / 24.0 + w2 / 6.0;
    [w0 / 4.0, -even - w1 / 6.0, -even + w1 / 6.0, wide + w1 / 12.0, wide - w1 / 12.0, w2]
}

/// `G' m`: three rows of a kernel's gradient from the six sums.
pub(crate) fn kernel_gradient(m: [f32; POINTS]) -> [f32; 3] {
    let (near, far) = (m[1] + m[2], m[3] + m[4]);
    [m[0] / 4.0 - near / 6.0 + far / 24.0, (m[2] - m[1]) / 6.0 + (m[3] - m[4]) / 12.0, (far - near) / 6.0 + m[5]]
}

/// `B' d`: six combinations of six input rows, each `length` long.
#[inline(always)]
pub(crate) fn input(rows: [&[f32]; POINTS], out: [&mut [f32]; POINTS], length: usize) {
    let [d0, d1, d2, d3, d4, d5] = rows.map(|row| &row[..length]);
    let [o0, o1, o2, o3, o4, o5] = out;
    let (o0, o1, o2) = (&mut o0[..length], &mut o1[..length], &mut o2[..length]);
    let (o3, o4, o5) = (&mut o3[..length], &mut o4[..length], &mut o5[..length]);
    for x in 0..length {
        let (a, b, c, d, e, f) = (d0[x], d1[x], d2[x], d3[x], d4[x], d5[x]);
        let (even, odd) = (e - 4.0 * c, d - 4.0 * b);
        let (even2, odd2) = (e - c, 2.0 * (d - b));
        o0[x] = 4.0 * a - 5.0 * c + e;
        o1[x] = even + odd;
        o2[x] = even - odd;
        o3[x] = even2 + odd2;
        o4[x] = even2 - odd2;
        o5[x] = 4.0 * b - 5.0 * d + f;
    }
}

/// `A' m`: four output rows from the six sums, in place of the first four.
#[inline(always)]
pub(crate) fn output(sums: [&[f32]; POINTS], out: [&mut [f32]; TILE], length: usize) {
    let [m0, m1, m2, m3, m4, m5] = sums.map(|row| &row[..length]);
    let [o0, o1, o2, o3] = out;
    let (o0, o1, o2, o3) = (&mut o0[..length], &mut o1[..length], &mut o2[..length], &mut o3[..length]);
    for x in 0..length {
        let (sum1, difference1) = (m1[x] + m2[x], m1[x] - m2[x]);
        let (sum2, difference2) = (m3[x] + m4[x], m3[x] - m4[x]);
        o0[x] = m0[x] + sum1 + sum2;
        o1[x] = difference1 + 2.0 * difference2;
        o2[x] = sum1 + 4.0 * sum2;
        o3[x] = difference1 + 8.0 * difference2 + m5[x];
    }
}

/// `A y`: six combinations of four rows of the output's gradient.
#[inline(always)]
pub(crate) fn gradient(rows: [&[f32]; TILE], out: [&mut [f32]; POINTS], length: usize) {
    let [y0, y1, y2, y3] = rows.map(|row| &row[..length]);
    let [o0, o1, o2, o3, o4, o5] = out;
    let (o0, o1, o2) = (&mut o0[..length], &mut o1[..length], &mut o2[..length]);
    let (o3, o4, o5) = (&mut o3[..length], &mut o4[..length], &mut o5[..length]);
    for x in 0..length {
        let (even, odd) = (y0[x] + y2[x], y1[x] + y3[x]);
        let (even2, odd2) = (y0[x] + 4.0 * y2[x], 2.0 * y1[x] + 8.0 * y3[x]);
        o0[x] = y0[x];
        o1[x] = even + odd;
        o2[x] = even - odd;
        o3[x] = even2 + odd2;
        o4[x] = even2 - odd2;
        o5[x] = y3[x];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_outputs_equal_the_direct_filter_and_its_gradient() {
        let d: Vec<[f32; 1]> = (0..6).map(|i| [((i * 37) % 11) as f32 - 5.0]).collect();
        let w = [0.5f32, -1.25, 2.0];
        let mut v = [[0f32; 1]; 6];
        let [v0, v1, v2, v3, v4, v5] = &mut v;
        input([&d[0], &d[1], &d[2], &d[3], &d[4], &d[5]], [v0, v1, v2, v3, v4, v5], 1);
        let u = kernel(w);
        let m: Vec<[f32; 1]> = (0..6).map(|p| [u[p] * v[p][0]]).collect();
        let mut y = [[0f32; 1]; 4];
        let [y0, y1, y2, y3] = &mut y;
        output([&m[0], &m[1], &m[2], &m[3], &m[4], &m[5]], [y0, y1, y2, y3], 1);
        for i in 0..4 {
            let direct: f32 = (0..3).map(|r| w[r] * d[i + r][0]).sum();
            assert!((y[i][0] - direct).abs() < 1e-4, "{i}: {} {direct}", y[i][0]);
        }
        let dy = [[1f32], [-2.0], [0.5], [3.0]];
        let mut t = [[0f32; 1]; 6];
        let [t0, t1, t2, t3, t4, t5] = &mut t;
        gradient([&dy[0], &dy[1], &dy[2], &dy[3]], [t0, t1, t2, t3, t4, t5], 1);
        let dw = kernel_gradient(std::array::from_fn(|p| t[p][0] * v[p][0]));
        for r in 0..3 {
            let direct: f32 = (0..4).map(|i| dy[i][0] * d[i + r][0]).sum();
            assert!((dw[r] - direct).abs() < 1e-4, "{r}: {} {direct}", dw[r]);
        }
    }
}
