//! A concurrency limit for connections, by client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Connections by address. Exact: no two addresses share a count.
pub struct ConnectionLimiter {
    /// `usize::MAX`: any number.
    most: AtomicUsize,
    /// Only addresses that are connected: at most as many entries as connections. One lock, held for one look-up at each end of a connection.
    here: Mutex<HashMap<IpAddr, usize>>,
}

impl ConnectionLimiter {
    /// `most` for each address; `None`: any number.
    pub fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most.unwrap_or(usize::MAX)), here: Mutex::default() })
    }

    /// From now on so many for each address; connections that are open stay. Those that came while there was no bound are not counted.
    pub fn set_most(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Counts one more connection for as long as the permit lives; `None`: the address has as many as it may. A peer without an address (on a
    /// Unix socket) is not counted.
    pub fn acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Option<ConnectionPermit> {
        let most = Some(self.most.load(Ordering::Relaxed)).filter(|most| *most < usize::MAX);
        let (Some(most), Some(address)) = (most, address) else { return Some(ConnectionPermit(None)) };
        let key = prefix(address);
        let mut here = self.here.lock();
        let count = here.entry(key).or_default();
        if *count >= most {
            // Never the first: an entry that is there has at least one.
            return None;
        }
        *count += 1;
        Some(ConnectionPermit(Some((self.clone(), key))))
    }
}

/// What counts as one client: an IPv4 address, or the network of an IPv6 address, whose last 64 bits its holder chooses
/// ([RFC 6177](https://www.rfc-editor.org/rfc/rfc6177)).
pub fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// A connection that is counted.
pub struct ConnectionPermit(Option<(Arc<ConnectionLimiter>, IpAddr)>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some((limiter, key)) = &self.0 else { return };
        let mut here = limiter.here.lock();
        if let Some(count) = here.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                here.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn one_more_than_the_bound_is_turned_away_and_a_permit_that_is_dropped_is_free() {
        let limiter = ConnectionLimiter::new(Some(2));
        let first = limiter.acquire(ip("192.0.2.1")).unwrap();
        let _second = limiter.acquire(ip("192.0.2.1")).unwrap();
        assert!(limiter.acquire(ip("192.0.2.1")).is_none());
        assert!(limiter.acquire(ip("192.0.2.2")).is_some());
        drop(first);
        let _third = limiter.acquire(ip("192.0.2.1")).unwrap();
        assert!(limiter.acquire(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn another_bound_counts_from_the_next_connection_on() {
        let limiter = ConnectionLimiter::new(Some(1));
        let _first = limiter.acquire(ip("192.0.2.1")).unwrap();
        assert!(limiter.acquire(ip("192.0.2.1")).is_none());
        limiter.set_most(Some(2));
        let _second = limiter.acquire(ip("192.0.2.1")).unwrap();
        limiter.set_most(Some(1));
        assert!(limiter.acquire(ip("192.0.2.1")).is_none());
        limiter.set_most(None);
        assert!(limiter.acquire(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let limiter = ConnectionLimiter::new(Some(1));
        for n in 0..=255 {
            drop(limiter.acquire(ip(&format!("192.0.2.{n}"))).unwrap());
        }
        assert!(limiter.here.lock().is_empty());
    }

    #[test]
    fn an_ipv6_site_counts_as_one() {
        let limiter = ConnectionLimiter::new(Some(1));
        let _seat = limiter.acquire(ip("2001:db8:0:1::1")).unwrap();
        assert!(limiter.acquire(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(limiter.acquire(ip("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn without_a_bound_or_an_address_nobody_is_counted() {
        let (open, bound) = (ConnectionLimiter::new(None), ConnectionLimiter::new(Some(1)));
        let seats: Vec<ConnectionPermit> =
            (0..3).flat_map(|_| [open.acquire(ip("192.0.2.1")), bound.acquire(None)]).flatten().collect();
        assert_eq!(seats.len(), 6);
        assert!(open.here.lock().is_empty() && bound.here.lock().is_empty());
    }
}
