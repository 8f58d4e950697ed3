//! A kit for tests from outside: a vendor, identity providers and a gateway on ephemeral ports in this process, and a client that sends exact bytes.

// Each test binary uses its part of the kit.
#![allow(dead_code)]
// A request is said in words: `get(path).as_user("ada")`.
#![allow(clippy::wrong_self_convention)]

pub mod answer;
pub mod app;
pub mod ask;
pub mod collector;
pub mod envoy;
pub mod lines;
pub mod reload;
pub mod setup;
pub mod stack;
pub mod tls;
pub mod wire;

use std::future::Future;
use std::time::Duration;

#[allow(unused_imports)] // As above.
pub use answer::Answer;
#[allow(unused_imports)] // As above.
pub use app::App;
pub use setup::Setup;
pub use stack::Stack;
pub use wire::Wire;

/// The path of the plug-in that every stack has.
pub const FACE_SCAN: &str = "/plugins/face-scan";

/// The host under which browsers know the gateway.
pub const HOST: &str = "app.example.com";

/// Nobody listens there. The system gives out no such port, as it may one that was bound and let go: to another test, beside this one.
pub const NOBODY: &str = "127.0.0.1:9";

/// The administrator's, where a stack is administered.
pub const ADMIN_TOKEN: &str = "an-administrators-token-9x4q";

/// Longer than anything here takes on a busy machine: who waits so long waits for ever.
const HANG: Duration = Duration::from_secs(30);

/// A loopback address that nobody has, for who binds it later. Below the ports that the system gives out, so that no other test gets it
/// meanwhile.
pub fn free_address() -> String {
    let address = || format!("127.0.0.1:{}", fastrand::u16(12_000..30_000));
    let free = |address: &String| std::net::TcpListener::bind(address).is_ok();
    std::iter::repeat_with(address).find(free).expect("a free port")
}

/// The outcome of `future`, which must not hang.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Returns when `condition` holds. Lets the other tasks run meanwhile.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    in_time(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
