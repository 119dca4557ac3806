//! The threads that share the kernels' work, each on processors of its own.
//!
//! Left to themselves they end up beside each other: Linux may put a thread that slept on the processor of the one that woke it, and moves it
//! away only milliseconds later, when a small net is over. (Two threads on two processors, Linux 6.18, after a pause of 30 ms: 9.4 ms with one
//! thread, 9.4 ms with two, 5.5 ms with two that are kept apart.) So the processors are dealt out among them; with more processors than threads each
//! thread has several, so that it can get away from another program.

use rayon::ThreadPoolBuilder;

/// Has `threads` threads share the kernels' work, all graphs' together; without it there is one a processor, anywhere. The first call
/// counts, and none after a graph has run. Returns how many there are.
pub fn share_among(threads: usize) -> usize {
    // An error says that the threads are there already.
    let _ = pool(threads).build_global();
    count()
}

/// How many threads share the kernels' work.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// As [`share_among`], for a pool beside the one of the program.
pub fn pool(threads: usize) -> ThreadPoolBuilder {
    let shares = processors::dealt_among(threads);
    ThreadPoolBuilder::new().num_threads(threads).start_handler(move |index| {
        if let Some(share) = shares.get(index) {
            processors::stay_on(share);
        }
    })
}

#[cfg(target_os = "linux")]
mod processors {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// Processors for each of `threads` threads, those on which this program may run. Nothing if there is one thread, or more threads than
    /// processors.
    pub(super) fn dealt_among(threads: usize) -> Vec<Vec<usize>> {
        let Ok(allowed) = sched_getaffinity(None) else { return vec![] };
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect();
        if threads < 2 || allowed.len() < threads {
            return vec![];
        }
        deal(threads, allowed.into_iter().map(|processor| (processor, Place::of(processor))).collect())
    }

    /// Where a processor is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Place {
        /// Its speed beside the fastest's 1024, where the kernel tells it.
        capacity: u32,
        /// How many processors of the same core come before it.
        sibling: usize,
    }

    impl Place {
        fn of(processor: usize) -> Self {
            let read =
                |file: &str| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{processor}/{file}")).ok();
            let capacity = read("cpu_capacity").and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
            let siblings = read("topology/thread_siblings_list").unwrap_or_default();
            Self { capacity, sibling: siblings_before(processor, siblings.trim()) }
        }
    }

    /// How many of a list such as `0-1,4` are below `processor`.
    fn siblings_before(processor: usize, list: &str) -> usize {
        let ranges = list.split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
        ranges.map(|(first, last)| processor.min(last.saturating_add(1)).saturating_sub(first)).sum()
    }

    /// The fast processors of a big.LITTLE board alone, if they are enough; every core once before any core's second processor.
    fn deal(threads: usize, mut processors: Vec<(usize, Place)>) -> Vec<Vec<usize>> {
        let fastest = processors.iter().map(|(_, place)| place.capacity).max().unwrap_or_default();
        let fast: Vec<_> = processors.iter().copied().filter(|(_, place)| place.capacity == fastest).collect();
        if fast.len() >= threads {
            processors = fast;
        }
        processors.sort_by_key(|(_, place)| (place.sibling, std::cmp::Reverse(place.capacity)));
        let mut shares = vec![vec![]; threads];
        for (index, (processor, _)) in processors.into_iter().enumerate() {
            shares[index % threads].push(processor);
        }
        shares
    }

    pub(super) fn stay_on(processors: &[usize]) {
        let mut set = CpuSet::new();
        processors.iter().for_each(|&processor| set.set(processor));
        // A thread that may not is one that moves.
        let _ = sched_setaffinity(None, &set);
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    mod tests {
        use super::*;

        fn places(listed: &[(u32, usize)]) -> Vec<(usize, Place)> {
            listed.iter().map(|&(capacity, sibling)| Place { capacity, sibling }).enumerate().collect()
        }

        #[test]
        fn cores_come_before_their_second_processors_and_fast_ones_before_slow_ones() {
            // Two cores of two, whose processors are numbered one after the other.
            let two_cores = places(&[(1024, 0), (1024, 1), (1024, 0), (1024, 1)]);
            assert_eq!(deal(2, two_cores), [[0, 1], [2, 3]]);
            // Four slow, two fast.
            let big_little = places(&[(400, 0), (400, 0), (400, 0), (400, 0), (1024, 0), (1024, 0)]);
            assert_eq!(deal(2, big_little.clone()), [[4], [5]]);
            assert_eq!(deal(3, big_little), [[4, 1], [5, 2], [0, 3]]);
            assert_eq!(deal(2, places(&[(1024, 0); 5])), [vec![0, 2, 4], vec![1, 3]]);
            for (processor, list, before) in [(0, "0-1", 0), (1, "0-1", 1), (5, "1,5", 1), (7, "4-7", 3), (3, "", 0)] {
                assert_eq!(siblings_before(processor, list), before, "{processor} of {list}");
            }
        }

        #[test]
        fn threads_keep_apart() {
            let allowed = || {
                let set = sched_getaffinity(None).unwrap();
                (0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect::<Vec<_>>()
            };
            let mine = allowed();
            let places = |threads| super::super::pool(threads).build().unwrap().broadcast(|_| allowed());
            if mine.len() > 1 {
                let [a, b] = <[Vec<usize>; 2]>::try_from(places(2)).unwrap();
                assert!(!a.is_empty() && !b.is_empty() && a.iter().all(|processor| !b.contains(processor)));
            }
            // One thread, and more than there are processors, go where they like.
            assert!(places(1).iter().chain(&places(mine.len() + 1)).all(|place| *place == mine));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod processors {
    pub(super) fn dealt_among(_: usize) -> Vec<Vec<usize>> {
        vec![]
    }

    pub(super) fn stay_on(_: &[usize]) {}
}
