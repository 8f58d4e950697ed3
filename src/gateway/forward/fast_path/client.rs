//! The client's side of the fast path: a connection of HTTP/1.1.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::gateway::forward::fast_path::{Downstream, Framing, Stop};
use crate::gateway::http1::reader::Deadline;
use crate::gateway::http1::wire;

/// Of what a client sends before it has its answer, this much is taken in: the largest head.
const MAX_AHEAD: usize = 32 * 1024;

/// Pieces up to this size share one write with what stands before them; larger ones are not copied.
const SHARED_WRITE: usize = 16 * 1024;

/// The connection of a client, lent for one request.
pub(in crate::gateway) struct Client<'c, 'a> {
    pub stream: &'c mut Stream,
    /// What it has sent behind the request.
    pub ahead: &'c mut BytesMut,
    pub deadline: &'c mut Deadline<'a>,
    /// What it gets next; empty before.
    pub out: &'c mut Vec<u8>,
    /// The answer has begun to go out.
    pub answered: bool,
    /// It takes a piece of the answer in this time.
    pub write: Duration,
}

impl Downstream for Client<'_, '_> {
    async fn left(&mut self) {
        gone(self.stream, self.ahead).await;
    }

    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()> {
        self.deadline.set(span);
        wire::write(app, head, self.deadline).await
    }
}

impl Client<'_, '_> {
    pub(super) async fn send(&mut self) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.answered = true;
        self.deadline.set(self.write);
        let taken = wire::write(self.stream, self.out, self.deadline).await;
        self.out.clear();
        taken.map_err(|_| Stop::Client)
    }

    /// A piece of the body, behind what is to go out already.
    pub(super) async fn give(&mut self, piece: &[u8], framing: Framing) -> Result<(), Stop> {
        if framing == Framing::Chunked {
            // A vector takes all that is written.
            let _ = write!(self.out, "{:x}\r\n", piece.len());
        }
        if self.out.len() + piece.len() <= SHARED_WRITE {
            self.out.extend_from_slice(piece);
        } else {
            self.send().await?;
            self.deadline.set(self.write);
            wire::write(self.stream, piece, self.deadline).await.map_err(|_| Stop::Client)?;
        }
        if framing == Framing::Chunked {
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }
}

/// Ends when the client has left. What it sends before that is kept; beyond a bound it must wait, and is not missed until it has its answer.
async fn gone(stream: &mut (impl AsyncRead + Unpin), ahead: &mut BytesMut) {
    while ahead.len() < MAX_AHEAD {
        match stream.read_buf(ahead).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_client_that_sends_ahead_is_kept_waiting_at_a_bound_and_missed_when_it_leaves() {
        let (mut client, mut ours) = tokio::io::duplex(1 << 20);
        let mut ahead = BytesMut::new();
        client.write_all(&[b'x'; 3 * MAX_AHEAD]).await.unwrap();
        assert!(gone(&mut ours, &mut ahead).now_or_never().is_none());
        assert!((MAX_AHEAD..2 * MAX_AHEAD).contains(&ahead.len()), "{}", ahead.len());
        let (client, mut ours) = tokio::io::duplex(64);
        ahead.clear();
        assert!(gone(&mut ours, &mut ahead).now_or_never().is_none());
        drop(client);
        gone(&mut ours, &mut ahead).await;
    }
}
