//! What has run once asks for no memory any more.
#![allow(clippy::unwrap_used, unsafe_code)]

mod written_out;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use thorax_kernels::{
    channels_last::{
        Factors, Layer, PackedConvolution, PackedUpConvolution, Pool, PoolKind, channels_inside, concatenate,
        global_average, scale,
    },
    convolution::{Activation, Convolution, Padding},
};
use written_out::{dense, values};

/// The system's memory, and how often it was asked for.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator, whose promises these are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `run` asks for memory when it runs for the second time.
fn asked(name: &str, mut run: impl FnMut()) {
    run();
    let before = ASKED.load(Ordering::Relaxed);
    run();
    assert_eq!(ASKED.load(Ordering::Relaxed) - before, 0, "{name}");
}

/// The only test of this program: the counter is everybody's.
#[test]
fn a_second_run_asks_for_no_memory() {
    // The count itself counts.
    let before = ASKED.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(ASKED.load(Ordering::Relaxed) - before, 1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let apart = |channels, kernel, stride| Convolution {
            groups: channels,
            stride,
            padding: Padding::same(28, kernel, stride),
            ..dense(1, [channels; 2], [28, 28], kernel)
        };
        for g in [dense(1, [24, 40], [28, 28], 1), dense(1, [16, 16], [28, 28], 3), apart(40, 5, 2), apart(24, 3, 1)] {
            let (x, weight, add) =
                (values(g.input_length(), 1), values(g.weight_length(), 2), values(g.output_length(), 3));
            let mut out = vec![0.0; add.len()];
            let layer = Layer { geometry: g, weight: &weight, bias: None, activation: Activation::Swish };
            let packed = PackedConvolution::new(&layer).unwrap();
            asked(&format!("{g:?}"), || packed.run(1, &x, Some(&add), &mut out).unwrap());
        }
        let (first, second) = (dense(1, [8, 48], [28, 28], 1), apart(48, 3, 2));
        let weights = [values(first.weight_length(), 1), values(second.weight_length(), 2)];
        let layer = |geometry, weight| Layer { geometry, weight, bias: None, activation: Activation::Relu6 };
        let both = PackedConvolution::expanded(&layer(first, &weights[0]), &layer(second, &weights[1])).unwrap();
        let (x, mut out) = (values(first.input_length(), 3), vec![0.0; second.output_length()]);
        asked("expanded", || both.run(1, &x, None, &mut out).unwrap());

        let up = PackedUpConvolution::new([16, 8], &values(16 * 8 * 4, 1), None).unwrap();
        let (x, mut out) = (values(16 * 64, 2), vec![0.0; 8 * 256]);
        asked("transposed", || up.run(8, 8, &x, &mut out).unwrap());
        let geometry = Convolution { stride: 2, padding: Padding::all(0), ..dense(1, [16, 16], [8, 8], 2) };
        let largest = Pool { geometry, kind: PoolKind::Largest };
        asked("pool", || largest.run(1, &x, &mut out[..256]).unwrap());
        asked("mean", || global_average(64, 16, &x, &mut out[..16]).unwrap());
        let factors = values(16, 4);
        asked("scale", || scale(Factors::Channels, [64, 16], &x, &factors, &mut out[..1024]).unwrap());
        asked("turn", || channels_inside([16, 64], &x, &mut out[..1024]).unwrap());
        asked("join", || concatenate(&[(8, &x[..512]), (4, &x[512..768])], &mut out[..768]).unwrap());
    });
}
