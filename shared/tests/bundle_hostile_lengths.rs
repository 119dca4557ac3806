//! Lengths that lie do not make the reader allocate. In a test binary of its own, since it looks at the memory of
//! the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bundle_sample;

use bundle_sample::{fields, frame, trusted};
use thorax_shared::bundle::{Bundle, Limits};

/// Most address space this process ever had, in KiB; `None` where there is no /proc.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?.split_whitespace().next()?.parse().ok()
}

#[test]
fn every_length_in_the_manifest_may_lie() {
    let trusted = trusted();
    let fields = fields();
    let lengths: Vec<usize> = (0..fields.len())
        .filter(|&i| [": length", ": count", ".length"].iter().any(|end| fields[i].0.ends_with(end)))
        .collect();
    assert!(lengths.len() > 20);
    let before = peak_kib();
    for at in lengths {
        for lie in [u64::MAX, u64::from(u32::MAX), 1 << 40, 100_000] {
            for padding in [0, 60_000] {
                let mut manifest = Vec::new();
                for (i, (_, bytes)) in fields.iter().enumerate() {
                    if i == at {
                        manifest.extend(postcard::to_allocvec(&lie).unwrap());
                    } else {
                        manifest.extend(bytes);
                    }
                }
                manifest.extend(std::iter::repeat_n(1u8, padding));
                let file = frame(&manifest, b"graph 1graph 2graph 3# Card\n");
                assert!(Bundle::read(&file, &trusted, &Limits::default()).is_err(), "{} {lie}", fields[at].0);
            }
        }
    }
    let peaks = before.zip(peak_kib()).ok_or("no /proc/self/status, so memory was not looked at");
    if let Some((before, after)) = thorax_wanted::found(thorax_wanted::Kind::Proc, peaks) {
        assert!(after - before < 16 << 10, "{} KiB more", after - before);
    }
}
