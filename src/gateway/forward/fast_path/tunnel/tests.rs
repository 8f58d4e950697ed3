use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A tunnel between two far ends, with room for this many bytes in each connection.
fn dig(room: usize, patience: Patience) -> (DuplexStream, DuplexStream, JoinHandle<End>) {
    let ((client, mut ours), (app, mut theirs)) = (duplex(room), duplex(room));
    let end =
        tokio::spawn(async move { run((&mut ours, BytesMut::new()), (&mut theirs, BytesMut::new()), &patience).await });
    (client, app, end)
}

fn patience() -> Patience {
    Patience { idle: 100 * SECOND, client: 30 * SECOND }
}

/// What is sent until the other side takes no more.
async fn fill(side: &mut DuplexStream) -> usize {
    let mut sent = 0;
    while let Ok(taken) = tokio::time::timeout(Duration::from_millis(1), side.write(&[b'x'; 4096])).await {
        sent += taken.unwrap();
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_it_began_goes_first() {
    let ((mut client, mut ours), (mut app, mut theirs)) = (duplex(1024), duplex(1024));
    client.write_all(b" more").await.unwrap();
    app.write_all(b" more").await.unwrap();
    tokio::spawn(async move {
        run((&mut ours, BytesMut::from("sent")), (&mut theirs, BytesMut::from("said")), &patience()).await
    });
    let mut heard = [[0; 9]; 2];
    app.read_exact(&mut heard[0]).await.unwrap();
    client.read_exact(&mut heard[1]).await.unwrap();
    assert_eq!(heard, [*b"sent more", *b"said more"]);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_makes_the_other_wait_behind_one_piece_each_way() {
    let room = 1024;
    let (mut client, mut app, _end) = dig(room, patience());
    for side in [&mut client, &mut app] {
        let sent = fill(side).await;
        assert!(sent <= 2 * room + PIECE, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_direction_goes_on_while_the_other_is_stuck() {
    let (mut client, mut app, _end) = dig(1024, patience());
    fill(&mut client).await;
    app.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_side_goes_through_and_the_other_may_finish() {
    let (mut client, mut app, end) = dig(1024, patience());
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    app.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last");
    for _ in 0..5 {
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(HALF_CLOSED - SECOND).await;
        app.write_all(b"x").await.unwrap();
    }
    app.shutdown().await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!((heard.as_slice(), end.await.unwrap()), (&b"xxxxx"[..], End::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_stays_silent_behind_the_end_of_the_other_is_left() {
    let (mut client, _app, end) = dig(1024, patience());
    let began = Instant::now();
    client.shutdown().await.unwrap();
    assert_eq!((end.await.unwrap(), began.elapsed().as_secs()), (End::Idle, HALF_CLOSED.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_side_has_its_time_from_the_end_of_the_other_on_however_silent_both_were() {
    for client_ends in [true, false] {
        let (client, app, end) = dig(1024, patience());
        let (mut ends, mut speaks) = if client_ends { (client, app) } else { (app, client) };
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(6 * HALF_CLOSED).await;
        ends.shutdown().await.unwrap();
        assert_eq!(speaks.read(&mut [0]).await.unwrap(), 0);
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(HALF_CLOSED - SECOND).await;
        speaks.write_all(b"last words").await.unwrap();
        speaks.shutdown().await.unwrap();
        let mut heard = Vec::new();
        ends.read_to_end(&mut heard).await.unwrap();
        assert_eq!((heard.as_slice(), end.await.unwrap()), (&b"last words"[..], End::Closed), "{client_ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_is_gone_ends_both_directions() {
    for client_leaves in [true, false] {
        let (client, app, end) = dig(1024, patience());
        let (mut stays, leaves) = if client_leaves { (app, client) } else { (client, app) };
        drop(leaves);
        // Reading ends, and writing fails.
        stays.write_all(b"to nobody").await.unwrap();
        let mut heard = Vec::new();
        stays.read_to_end(&mut heard).await.unwrap();
        drop(stays);
        assert_eq!(end.await.unwrap(), End::Closed, "{client_leaves}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_idle_when_neither_side_sends() {
    let (mut client, mut app, end) = dig(1024, patience());
    let began = Instant::now();
    for _ in 0..3 {
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(90 * SECOND).await;
        client.write_all(b"x").await.unwrap();
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(90 * SECOND).await;
        app.write_all(b"y").await.unwrap();
    }
    assert_eq!((end.await.unwrap(), began.elapsed().as_secs()), (End::Idle, 640));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_is_left_in_its_time_and_taking_a_little_is_enough() {
    // The client has less time than the app.
    for (client_stalls, seconds) in [(true, 30), (false, 100)] {
        let (client, app, end) = dig(1024, patience());
        let (mut stalls, mut sends) = if client_stalls { (client, app) } else { (app, client) };
        let sender = tokio::spawn(async move { while sends.write_all(&[b'x'; 512]).await.is_ok() {} });
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..3 {
            // Pause: on the paused clock, where nothing waits.
            tokio::time::sleep((seconds - 1) * SECOND).await;
            stalls.read_exact(&mut [0; 1024]).await.unwrap();
        }
        let began = Instant::now();
        assert_eq!(end.await.unwrap(), End::Stalled);
        assert_eq!(began.elapsed().as_secs(), u64::from(seconds));
        sender.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_that_no_clock_reaches_the_end_of_is_no_fault() {
    let (mut client, mut app, _end) = dig(1024, Patience { idle: Duration::MAX, client: Duration::MAX });
    client.write_all(b"x").await.unwrap();
    app.read_exact(&mut [0]).await.unwrap();
}
