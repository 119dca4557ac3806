//! The threads that share the kernels' work, each on a processor of its own.
//!
//! Left to themselves they end up beside each other: Linux may put a thread that slept on the processor of the one that woke it, and moves it
//! away only milliseconds later, when a small net is over. (Two threads on two processors, Linux 6.18, after a pause of 30 ms: 9.4 ms with one
//! thread, 9.4 ms with two, 5.5 ms with two that stay where they are.)

use rayon::ThreadPoolBuilder;

/// Has `threads` threads share the kernels' work, all graphs' together; without it there is one a processor, anywhere. The first call
/// counts, and none after a graph has run. Returns how many there are.
pub fn share_among(threads: usize) -> usize {
    // An error says that the threads are there already.
    let _ = pool(threads).build_global();
    threads_at_work()
}

/// How many threads share the kernels' work.
pub fn threads_at_work() -> usize {
    rayon::current_num_threads()
}

/// As [`share_among`], for a pool beside the one of the program.
pub fn pool(threads: usize) -> ThreadPoolBuilder {
    let processors = if threads > 1 { processors::fastest_first() } else { vec![] };
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    if processors.len() < threads {
        return builder;
    }
    builder.start_handler(move |index| {
        if let Some(&processor) = processors.get(index) {
            processors::stay_on(processor);
        }
    })
}

#[cfg(target_os = "linux")]
mod processors {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The processors on which this program may run, those of a big.LITTLE board that are fast before the others.
    pub(super) fn fastest_first() -> Vec<usize> {
        let Ok(allowed) = sched_getaffinity(None) else { return vec![] };
        let mut processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect();
        processors.sort_by_key(|&processor| std::cmp::Reverse(capacity(processor)));
        processors
    }

    /// Its speed beside the fastest's 1024, where the kernel tells it.
    fn capacity(processor: usize) -> u32 {
        let path = format!("/sys/devices/system/cpu/cpu{processor}/cpu_capacity");
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
    }

    pub(super) fn stay_on(processor: usize) {
        let mut set = CpuSet::new();
        set.set(processor);
        // A thread that may not is one that moves.
        let _ = sched_setaffinity(None, &set);
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_thread_has_a_processor_of_its_own() {
            let processors = fastest_first();
            assert!(!processors.is_empty());
            let threads = processors.len();
            let pool = super::super::pool(threads).build();
            let places = pool.map(|pool| {
                pool.broadcast(|_| {
                    let allowed = sched_getaffinity(None).unwrap_or_default();
                    (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect::<Vec<_>>()
                })
            });
            let Ok(mut places) = places else { panic!("no pool") };
            places.sort();
            let mut expected: Vec<Vec<usize>> = processors.iter().map(|&processor| vec![processor]).collect();
            expected.sort();
            // One thread has nobody to get away from.
            assert_eq!(places, if threads == 1 { vec![processors.clone()] } else { expected });
            // More threads than processors go where they like.
            let more = super::super::pool(threads + 1).build();
            let Ok(more) = more else { panic!("no pool") };
            assert!(
                more.broadcast(|_| sched_getaffinity(None).unwrap_or_default().count() as usize)
                    .iter()
                    .all(|&count| count == threads)
            );
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod processors {
    pub(super) fn fastest_first() -> Vec<usize> {
        vec![]
    }

    pub(super) fn stay_on(_: usize) {}
}
