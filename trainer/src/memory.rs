//! How much memory this program has taken, and how much there is.

use anyhow::Context;

/// The most resident memory this process has had.
pub fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("memory is measured on Linux only")?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("/proc/self/status has no VmHWM")?;
    Ok(row.trim().trim_end_matches(" kB").parse()?)
}

/// Memory that the system could still give; `None` where it does not say.
pub fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(row.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_grows_with_what_is_touched() {
        let before = peak_kib().unwrap();
        let touched = std::hint::black_box(vec![1u8; 256 << 20]);
        assert!(peak_kib().unwrap() >= before.max(touched.len() as u64 >> 10));
    }
}
