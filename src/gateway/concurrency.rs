//! How many requests are under way to apps and how many callers wait for a mint at once, and who is refused first as that becomes scarce.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::accept::connection::ListenerConnection;

/// So many a connection may hold whatever others do, as long as there is one.
const FLOOR: usize = 16;

/// `server.max_requests`, shared by all connections.
///
/// A connection that holds more than 16 may hold no more than what is left: one alone gets half of all, two get a third each, sixty get a
/// sixty-first each, and as much is always left for who comes new. Packet switches share their memory so: A. K. Choudhury, E. L. Hahne, "Dynamic
/// queue length thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6 (2), 1998. A connection of HTTP/1 has one
/// request at a time, and is never refused by it.
#[derive(Debug)]
pub struct ConcurrencyLimit(Arc<Semaphore>);

/// One of them; free again with its drop.
#[derive(Debug)]
pub(in crate::gateway) struct ConcurrencyPermit {
    _permit: OwnedSemaphorePermit,
    connection: Option<Arc<ListenerConnection>>,
}

impl ConcurrencyLimit {
    /// So many at once.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))))
    }

    /// `connection`: the one that it is for; `None`: the connection is a trusted proxy's and has the requests of many clients, so that it has no
    /// share. `None` comes back where there is none free, or where this connection has had its share.
    pub(in crate::gateway) fn acquire(
        &self,
        connection: Option<&Arc<ListenerConnection>>,
    ) -> Option<ConcurrencyPermit> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        if let Some(share) = connection.map(|connection| &connection.under_way) {
            // Two that ask at the same time may both find what is left for one: the bound itself is the semaphore's.
            let held = share.fetch_add(1, Ordering::Relaxed);
            if held >= FLOOR && held > self.0.available_permits() {
                share.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
        }
        Some(ConcurrencyPermit { _permit: permit, connection: connection.cloned() })
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(
        limit: &ConcurrencyLimit,
        connection: Option<&Arc<ListenerConnection>>,
        most: usize,
    ) -> Vec<ConcurrencyPermit> {
        (0..most).map_while(|_| limit.acquire(connection)).collect()
    }

    fn connection() -> Arc<ListenerConnection> {
        Arc::default()
    }

    #[test]
    fn greedy_connections_leave_as_much_as_each_of_them_has() {
        for (greedy, each) in [(1, 500), (2, 333), (9, 100), (59, 16)] {
            let limit = ConcurrencyLimit::new(1000);
            let connections: Vec<_> = (0..greedy).map(|_| connection()).collect();
            let mut held: Vec<Vec<_>> = connections.iter().map(|_| Vec::new()).collect();
            for _ in 0..1000 {
                for (connection, held) in connections.iter().zip(&mut held) {
                    held.extend(limit.acquire(Some(connection)));
                }
            }
            let sizes: Vec<_> = held.iter().map(Vec::len).collect();
            assert!(sizes.iter().all(|size| size.abs_diff(each) <= 1), "{greedy}: {sizes:?}");
            let left = 1000 - sizes.iter().sum::<usize>();
            assert!(left.abs_diff(each) <= greedy, "{greedy}: {left}");
            // Who comes new is served, one request each, down to the last one.
            let new: Vec<_> =
                (0..left).map(|_| limit.acquire(Some(&connection())).expect("one that is left")).collect();
            assert!(limit.acquire(Some(&connection())).is_none());
            drop(new);
            drop(held);
            assert_eq!(take(&limit, None, 1001).len(), 1000, "all are free again");
        }
    }

    #[test]
    fn sixteen_are_anybodys_and_a_trusted_proxy_may_hold_all() {
        for most in [1, 16] {
            assert_eq!(take(&ConcurrencyLimit::new(most), Some(&connection()), 17).len(), most);
        }
        assert_eq!(take(&ConcurrencyLimit::new(1000), None, 1001).len(), 1000);
        let (limit, alone) = (ConcurrencyLimit::new(40), connection());
        let held = take(&limit, Some(&alone), 41);
        assert_eq!(held.len(), 20);
        drop(held);
        assert_eq!(take(&limit, Some(&alone), 41).len(), 20, "what was given back, or refused, is not counted");
    }
}
