//! Writes whole answers, skips bodies that nobody reads, and lingers before a close (RFC 9112, section 9.6).

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::http1::reader::Deadline;

/// Bytes that a closing connection still takes in, so that a client that sends on comes to read our answer before it sees a reset. One that has sent
/// more finds its connection full, and reads.
const LINGER_BYTES: u64 = 256 * 1024;

/// A connection that lingers is closed after this time, or once the client has closed it.
const LINGER: Duration = Duration::from_secs(1);

/// Writes all of it. `TimedOut` if it was not taken before the alarm rings.
pub(in crate::gateway) async fn write(stream: &mut Stream, out: &[u8], deadline: &mut Deadline<'_>) -> io::Result<()> {
    let whole = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    tokio::select! {
        biased;
        written = whole => written,
        () = deadline.expires(false) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// An idle connection keeps no more room than this for what it may send.
const IDLE_ROOM: usize = 8 * 1024;

/// An idle connection keeps no more room than this for what it was sent.
const IDLE_ANSWER: usize = 4 * 1024;

/// Makes ready for the next request: of the last answer nothing is left, and of the room that large messages took little. What was read ahead stays.
pub(in crate::gateway) fn slim(buffer: &mut BytesMut, out: &mut Vec<u8>) {
    out.clear();
    out.shrink_to(IDLE_ANSWER);
    if buffer.is_empty() && buffer.try_reclaim(IDLE_ROOM + 1) {
        *buffer = BytesMut::new();
    }
}

/// Reads a body that nobody wants, so that the next head can be found behind it.
pub(in crate::gateway) async fn skip(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    body: u64,
    deadline: &mut Deadline<'_>,
) -> bool {
    let mut left = body;
    loop {
        let here = left.min(buffer.len() as u64);
        buffer.advance(usize::try_from(here).unwrap_or(0));
        left -= here;
        if left == 0 {
            return true;
        }
        let read = tokio::select! {
            biased;
            read = stream.read_buf(buffer) => read,
            () = deadline.expires(false) => return false,
        };
        if !matches!(read, Ok(n) if n > 0) {
            return false;
        }
    }
}

/// Closes our side, and takes in what the client still sends for a moment: a reset would take our answer away from it.
pub(in crate::gateway) async fn linger(mut stream: Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut taken = 0;
        // Not in the connection's own memory, where it would lie from the first byte on.
        let mut scrap = vec![0; 4096];
        while taken < LINGER_BYTES {
            match stream.read(&mut scrap).await {
                Ok(n) if n > 0 => taken += n as u64,
                _ => return,
            }
        }
        // To close now, with bytes that nobody has read, would be the reset: the client may not have had its turn since our answer went out.
        std::future::pending().await
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_more_than_is_taken_in_has_its_time_to_read_the_answer() {
        let (mut client, far) = tokio::io::duplex(1024);
        let lingering = tokio::spawn(linger(Box::new(far)));
        client.write_all(&vec![0; usize::try_from(LINGER_BYTES).unwrap()]).await.unwrap();
        let more = tokio::time::timeout(LINGER - Duration::from_millis(1), client.write_all(&[0; 8192])).await;
        assert!(more.is_err(), "it is neither taken in nor reset");
        lingering.await.unwrap();
        let fault = client.write_all(&[0; 8192]).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_empty_buffer_keeps_little_room_and_one_with_something_in_it_all() {
        for read in [100, IDLE_ROOM, 10 * IDLE_ROOM] {
            let mut buffer = BytesMut::zeroed(read);
            buffer.advance(read - 1);
            let before = buffer.clone();
            let mut out = vec![b'x'; read];
            slim(&mut buffer, &mut out);
            assert_eq!(buffer, before);
            assert!(out.is_empty() && out.capacity() <= IDLE_ANSWER.max(100), "{read}");
            buffer.advance(1);
            slim(&mut buffer, &mut out);
            assert!(!buffer.try_reclaim(IDLE_ROOM + 1), "{read}");
            assert_eq!(buffer.try_reclaim(100), read <= IDLE_ROOM, "{read}");
        }
    }
}
