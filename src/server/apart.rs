//! Work on a thread that ends with it, so that its memory can be given back.
//!
//! What a thread allocates stands in pages of its own. What another thread frees there is seen when the owner allocates again, and a thread that rests,
//! such as the one on which the process began, does not. The pages of a thread that has ended belong to nobody, and are free with the last block of
//! theirs. So a configuration, which lives as a whole and goes as a whole, is read, built, put in force and given back on threads of their own.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

/// Does it on such a thread, within the caller's runtime if there is one, and waits for it. A panic of it goes on here.
///
/// # Errors
/// The system has no thread for it: it was not done.
pub fn apart<T: Send>(act: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    let runtime = Handle::try_current().ok();
    let within = || {
        let _runtime = runtime.as_ref().map(Handle::enter);
        act()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("configuration".into()).spawn_scoped(scope, within)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Twice the time for which the allocator keeps a free page for the next who wants one: mimalloc's `purge_delay`.
const KEPT: Duration = Duration::from_secs(2);

/// Gives pages that have just become free back to the system. The allocator does so when a page becomes free after its delay, and without this
/// one that could be the next reload.
///
/// Dropped: that next page gives them back.
pub async fn give_back_pages() {
    tokio::time::sleep(KEPT).await;
    // Without a thread for it nothing is lost but the memory.
    let _ = tokio::task::spawn_blocking(|| apart(|| drop(black_box(Vec::<u8>::with_capacity(1 << 20))))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_done_on_another_thread_of_the_same_runtime() {
        let here = (thread::current().id(), Handle::current().id());
        let there = apart(|| (thread::current().id(), Handle::current().id())).unwrap();
        assert!(there.0 != here.0 && there.1 == here.1, "{there:?} {here:?}");
    }

    #[test]
    fn without_a_runtime_it_is_done_too_and_a_panic_comes_out() {
        assert!(apart(|| Handle::try_current().is_err()).unwrap());
        assert!(std::panic::catch_unwind(|| apart(|| panic!("a fault of ours"))).is_err());
    }
}
