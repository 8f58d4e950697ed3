//! Bodies, piece by piece.

use std::future::poll_fn;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

/// What is left of `sent` behind the body, and the data of the body; read in pieces of what `fits` at once.
fn read(mut incoming: Incoming, sent: &[u8], fits: usize) -> Result<(Vec<u8>, Vec<u8>), ()> {
    let (mut client, mut ours) = tokio::io::duplex(fits);
    let (mut ahead, mut all) = (BytesMut::new(), BytesMut::new());
    let mut left = sent;
    loop {
        let now = left.len().min(fits);
        if client.write_all(&left[..now]).now_or_never().is_some() {
            left = &left[now..];
        }
        let mut data = BytesMut::new();
        let mut source = Http1Source { stream: Some(&mut ours), ahead: &mut ahead };
        let done = poll_fn(|cx| source.poll_body(&mut incoming, &mut data, cx)).now_or_never();
        all.extend_from_slice(&data);
        match done {
            Some(Ok(true)) => {
                let mut behind = ahead.to_vec();
                drop(client);
                ours.read_to_end(&mut behind).now_or_never().expect("closed").expect("read");
                behind.extend_from_slice(left);
                return Ok((all.to_vec(), behind));
            }
            Some(Ok(false)) => {}
            Some(Err(_)) => return Err(()),
            None if left.is_empty() => return Err(()),
            None => {}
        }
    }
}

#[test]
fn a_body_ends_where_its_framing_says_and_what_follows_is_left() {
    for fits in [1, 2, 3, 7, 4096] {
        let lengthy = read(Incoming::Length(5), b"12345GET /", fits);
        assert_eq!(lengthy, Ok((b"12345".to_vec(), b"GET /".to_vec())), "{fits}");
        let chunks = b"3;a=b\r\n123\r\n2\r\n45\r\n0\r\nx: y\r\n\r\nGET /";
        assert_eq!(
            read(Incoming::Chunks(ChunkJudge::new()), chunks, fits),
            Ok((b"12345".to_vec(), b"GET /".to_vec())),
            "{fits}"
        );
        for wrong in [&b"3\r\n1234\r\n"[..], b"\r\n", b"0\r\nx\r\n\r\n"] {
            assert_eq!(read(Incoming::Chunks(ChunkJudge::new()), wrong, fits), Err(()), "{fits}");
        }
    }
}

#[test]
fn data_is_one_chunk_and_the_end_follows_it() {
    assert_eq!(&chunk(b"abc", false)[..], b"3\r\nabc\r\n");
    assert_eq!(&chunk(&[b'x'; 16], true)[..], b"10\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
    assert_eq!(&chunk(b"", true)[..], b"0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_ends_before_its_body_has_left() {
    let (client, mut ours): (DuplexStream, _) = tokio::io::duplex(64);
    drop(client);
    let mut ahead = BytesMut::from(&b"12"[..]);
    let mut source = Http1Source { stream: Some(&mut ours), ahead: &mut ahead };
    let (mut incoming, mut data) = (Incoming::Length(5), BytesMut::new());
    assert!(matches!(poll_fn(|cx| source.poll_body(&mut incoming, &mut data, cx)).await, Ok(false)));
    assert!(matches!(poll_fn(|cx| source.poll_body(&mut incoming, &mut data, cx)).await, Err(Stop::Client)));
    assert_eq!(&data[..], b"12");
}
