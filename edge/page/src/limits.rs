//! How often somebody may try to log in: so many attempts at once, then one from time to time.
//!
//! Every attempt takes from two buckets, that of the address and that of the name, whether there is such a name or not; one that
//! succeeds puts back what it took. The buckets fill up again by themselves. Whoever is out of them is answered at once and
//! without a look at the password. An attacker can so keep one person from logging in, but not from going on.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// As many buckets of a kind are kept.
const MOST_BUCKETS: usize = 2048;

/// Attempts at once, and the time until there is another.
struct Rate {
    most: u32,
    every: Duration,
}

const OF_ADDRESS: Rate = Rate { most: 20, every: Duration::from_secs(10) };
const OF_NAME: Rate = Rate { most: 5, every: Duration::from_secs(30) };

/// When a bucket will be full again; that it is so now is the same as that there is none.
type Buckets<K> = HashMap<K, Instant>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    buckets: Mutex<(Buckets<IpAddr>, Buckets<String>)>,
}

impl Attempts {
    /// Takes an attempt; tells whether there was one.
    pub(crate) fn take(&self, address: IpAddr, name: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (addresses, names) = &mut *buckets;
        // An address that is out of its own takes nothing from the names'.
        take(addresses, network(address), &OF_ADDRESS, now) && take(names, name.to_owned(), &OF_NAME, now)
    }

    /// Puts back what a successful attempt took.
    pub(crate) fn put_back(&self, address: IpAddr, name: &str) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = buckets.0.get_mut(&network(address)) {
            *full -= OF_ADDRESS.every;
        }
        if let Some(full) = buckets.1.get_mut(name) {
            *full -= OF_NAME.every;
        }
    }
}

fn take<K: Eq + Hash + Clone>(buckets: &mut Buckets<K>, key: K, rate: &Rate, now: Instant) -> bool {
    if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(&key) {
        buckets.retain(|_, full| *full > now);
        if buckets.len() >= MOST_BUCKETS
            && let Some(nearest) = buckets.iter().min_by_key(|(_, full)| **full).map(|(key, _)| key.clone())
        {
            buckets.remove(&nearest);
        }
    }
    let full = buckets.entry(key).or_insert(now);
    let taken = (*full).max(now) + rate.every;
    let there = taken <= now + rate.every * rate.most;
    if there {
        *full = taken;
    }
    there
}

/// Who has an IPv6 address has a whole network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
        four => four,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_name_is_tried_five_times_and_then_twice_a_minute_from_wherever() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        assert!((0..5).all(|i| attempts.take(address(i), "ada", start)));
        assert!(!attempts.take(address(9), "ada", start));
        assert!(attempts.take(address(9), "bea", start), "others are not kept out");
        let later = start + Duration::from_secs(30);
        assert!(attempts.take(address(9), "ada", later) && !attempts.take(address(9), "ada", later));
        assert!((0..5).all(|i| attempts.take(address(i), "ada", start + Duration::from_secs(3600))));
    }

    #[test]
    fn an_address_tries_twenty_names_and_leaves_the_next_alone() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        assert!((0..20).all(|i| attempts.take(address(1), &format!("name{i}"), start)));
        assert!((0..9).all(|_| !attempts.take(address(1), "ada", start)));
        assert!((0..5).all(|_| attempts.take(address(2), "ada", start)));
        let six = |last: u16| IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, last].into());
        assert!((0..20).all(|i| attempts.take(six(i), &format!("other{i}"), start)));
        assert!(!attempts.take(six(99), "carl", start), "one network");
    }

    #[test]
    fn who_succeeds_may_do_so_again() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..100 {
            assert!(attempts.take(address(1), "ada", start));
            attempts.put_back(address(1), "ada");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for i in 0..4 * MOST_BUCKETS as u32 {
            attempts.take(IpAddr::V4(i.into()), &i.to_string(), start);
        }
        let buckets = attempts.buckets.lock().unwrap();
        assert!(buckets.0.len() <= MOST_BUCKETS && buckets.1.len() <= MOST_BUCKETS);
    }
}
