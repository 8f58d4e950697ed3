//! Work on a thread that ends with it, so that its memory can be given back.
//!
//! What a thread allocates stands in pages of its own. What another thread frees there is seen when the owner allocates again, and a thread that rests,
//! such as the one on which the process began, does not. The pages of a thread that has ended belong to nobody, and are free with the last block of
//! theirs. So a configuration, which lives as a whole and goes as a whole, is read, built, put in force and given back on threads of their own.
//!
//! They give way to the threads on which requests wait: on one core that is half busy a thread of the same rank would take what the others need.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

/// The rank of such a thread, [setpriority(2)](https://man7.org/linux/man-pages/man2/setpriority.2.html): beside one of 0 it gets a tenth of a core.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Does it on such a thread, within the caller's runtime if there is one, and waits for it. A panic of it goes on here.
///
/// # Errors
/// The system has no thread for it: it was not done.
pub fn apart<T: Send>(act: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    let runtime = Handle::try_current().ok();
    let within = || {
        let _runtime = runtime.as_ref().map(Handle::enter);
        // Linux means the calling thread. Where it may not, the work is as urgent as that of the others.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICE);
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

    #[test]
    #[cfg(target_os = "linux")]
    fn it_gives_way_to_others_and_its_caller_does_not() {
        let rank = || rustix::process::getpriority_process(None).unwrap();
        let before = rank();
        assert_eq!((apart(rank).unwrap(), rank()), (before.max(NICE), before));
    }

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
