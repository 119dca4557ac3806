//! How long CLAHE takes: `clahe_time WIDTH HEIGHT BITS RUNS` prints the median in milliseconds, one thread.
//!
//! The picture is the one that `references/synthetic.py` makes, so that `references/clahe_ratio.py` can give OpenCV
//! the same.

#[path = "../tests/references/preprocess/synthetic.rs"]
mod synthetic;

use std::{env, hint::black_box, process::ExitCode, time::Instant};
use thorax_shared::preprocess::{clahe_u8, clahe_u16, spec::Clahe};

fn main() -> ExitCode {
    let words: Vec<usize> = env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let &[width, height, bits @ (8 | 16), runs @ 1..=usize::MAX] = words.as_slice() else {
        eprintln!("usage: clahe_time WIDTH HEIGHT 8|16 RUNS");
        return ExitCode::FAILURE;
    };
    let clahe = Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 };
    let picture = synthetic::picture("film", 1, width, height, bits as u32);
    let median = if bits == 8 {
        let picture = picture.map(|value| value as u8);
        median_ms(runs, || clahe_u8(black_box(&picture), clahe).is_ok())
    } else {
        median_ms(runs, || clahe_u16(black_box(&picture), clahe).is_ok())
    };
    println!("{median:.4}");
    ExitCode::SUCCESS
}

fn median_ms(runs: usize, mut work: impl FnMut() -> bool) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            assert!(black_box(work()), "the picture was refused");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}
