//! Listeners come and go while the gateway runs.

use crate::kit::{Setup, Wire, free_address};

#[tokio::test]
async fn a_listener_comes_and_goes_and_the_others_do_not_notice() {
    let stack = Setup::new().start().await;
    let url = stack.url_of("ada").await;
    let ask = stack.get("/plugins/face-scan").as_user("ada").bytes();
    let mut first = stack.wire().await;
    first.write(&ask).await;
    first.answer().await.assert_status(302);

    let socket = stack.directory.path().join("second.sock");
    let address = format!("unix:{}", socket.display());
    let before = stack.config();
    let with = before.replacen("[[listener]]", &format!("[[listener]]\naddress = \"{address}\"\n[[listener]]"), 1);
    assert_eq!(stack.reload_with(&with).await, [format!("listener.{address}")]);
    assert_eq!(stack.gateway().addresses_now(), [address.clone(), stack.address.clone()]);
    let mut second = Wire::over(tokio::net::UnixStream::connect(&socket).await.unwrap());
    second.write(&ask).await;
    assert_eq!(second.answer().await.assert_status(302).location(), url);

    assert_eq!(stack.reload_with(&before).await, [format!("listener.{address}")]);
    // What is asked while it goes is answered, and told that nothing else will be.
    second.write(&ask).await;
    let last = second.answer().await;
    last.assert_status(302);
    assert_eq!(last.field("connection"), Some("close"));
    crate::kit::until("the socket is gone", || !socket.exists()).await;
    assert!(tokio::net::UnixStream::connect(&socket).await.is_err());
    first.write(&ask).await;
    first.answer().await.assert_status(302);
}

#[tokio::test]
async fn the_administration_address_comes_goes_and_moves() {
    let stack = Setup::new().start().await;
    let old = stack.admin.clone();
    let socket = stack.directory.path().join("admin.sock");
    let moved = format!("[admin]\naddress = \"unix:{}\"", socket.display());
    let text = stack.config().replace("[admin]\naddress = \"127.0.0.1:0\"", &moved);
    assert_eq!(stack.reload_with(&text).await, ["admin"]);
    let mut wire = Wire::over(tokio::net::UnixStream::connect(&socket).await.unwrap());
    wire.write("GET /livez HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await;
    wire.answer().await.assert_status(200);
    crate::kit::in_time("the old address is closed", async { while Wire::try_open(&old).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_configuration_that_is_refused_leaves_no_address_bound() {
    let stack = Setup::new().start().await;
    let free = free_address();
    let two =
        format!("[[listener]]\naddress = \"{free}\"\n[[listener]]\naddress = \"{}\"\n[[listener]]", stack.address);
    let good = stack.config();
    let faults = stack.refused(&good.replacen("[[listener]]", &two, 1)).await;
    assert!(faults.len() == 1 && faults[0].contains(&stack.address), "{faults:?}");
    let one = format!("[[listener]]\naddress = \"{free}\"\n[[listener]]");
    stack.refused(&good.replacen("[[listener]]", &one, 1).replace("key-0", "gone")).await;
    stack.reload_with(&good.replacen("[[listener]]", &one, 1)).await;
    Wire::open(&free).await;
}

#[tokio::test]
async fn two_listeners_of_one_address_as_written_change_each_by_itself() {
    let stack = Setup::new().tables("[[listener]]\naddress = \"127.0.0.1:0\"").start().await;
    let addresses = stack.gateway().addresses_now();
    let ask = stack.get("/plugins/face-scan").as_user("ada").bytes();
    let statuses = || async {
        let mut statuses = Vec::new();
        for address in &addresses {
            let mut wire = Wire::open(address).await;
            wire.write(&ask).await;
            statuses.push(wire.answer().await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [302, 302]);
    let plain = stack.config();
    let one = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let redirects = format!("{one}redirect = \"https\"\n");
    let first = plain.replacen(one, &redirects, 1);
    assert_eq!(stack.reload_with(&first).await, ["listener.127.0.0.1:0"]);
    assert_eq!(statuses().await, [308, 302]);
    let at = plain.rfind(one).unwrap();
    let second = format!("{}{redirects}{}", &plain[..at], &plain[at + one.len()..]);
    assert_eq!(stack.reload_with(&second).await, ["listener.127.0.0.1:0", "listener.127.0.0.1:0#2"]);
    assert_eq!(statuses().await, [302, 308]);
    assert_eq!(stack.reload_with(&plain.replacen(one, "", 1)).await, ["listener.127.0.0.1:0#2"]);
    assert_eq!(stack.gateway().addresses_now(), addresses[..1]);
}
