//! Our Pingora application: one task for each connection, one head after the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::Gateway;
use crate::gateway::drain::{Drain, Present};
use crate::gateway::handle::{After, Arrival};
use crate::gateway::reader::{self, Alarm, HeadLimits, Read};
use crate::problem::Refusal;

/// Bytes that a closing connection still takes in, so that the client reads our answer before it sees a reset.
const LINGER_BYTES: u64 = 256 * 1024;

/// And for how long.
const LINGER: Duration = Duration::from_secs(1);

/// A connection that was taken while we stop has this long to send something.
const GRACE: Duration = Duration::from_secs(1);

/// Deadlines and sizes of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection that has had a request and has no other is closed after this long.
    pub idle: Duration,
    /// A connection's first byte is due in this time; a head must be whole this long after its first byte; a body this long after its head; an answer must be taken in this time.
    pub head: Duration,
    /// The largest head, in bytes.
    pub max_head: usize,
    /// The longest request line, in bytes.
    pub max_line: usize,
    /// Connections at once; one more is closed unread.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Longer than the idle time-outs of common balancers (60 s), so that they close first and never meet a closed connection.
            idle: Duration::from_secs(75),
            head: Duration::from_secs(10),
            // The longest token (8 KiB by default) in two sources, and room for an app's cookies.
            max_head: 32 * 1024,
            max_line: 8 * 1024,
            // The command line lowers it to what the file descriptors allow.
            max_connections: 1 << 20,
        }
    }
}

/// The data plane on Pingora's listeners.
pub struct Front {
    gateway: Arc<Gateway>,
    drain: Arc<Drain>,
    limits: Limits,
}

impl Front {
    /// Answers connections with `gateway`.
    pub fn new(gateway: Arc<Gateway>, drain: Arc<Drain>, limits: Limits) -> Self {
        Self { gateway, drain, limits }
    }

    /// Counts a connection that is about to be served.
    pub fn enter(&self) -> Present {
        self.drain.enter()
    }

    /// Serves one connection until it ends. `stop`: true when idle connections are to be closed; a new one gets a moment all the same.
    pub async fn serve(&self, mut stream: Stream, present: Present, stop: &ShutdownWatch) {
        // Counted until the last byte, the lingering included.
        let _present = present;
        if self.drain.connected() > self.limits.max_connections {
            self.gateway.count_turned_away();
            return;
        }
        let peer = peer(&stream);
        let mut cut = self.drain.cut();
        let mut stop = stop.clone();
        let grace = tokio::time::Instant::now() + GRACE;
        let stop = std::pin::pin!(async move {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep_until(grace).await;
        });
        let sleep = std::pin::pin!(tokio::time::sleep(self.limits.idle));
        let mut alarm = Alarm::new(sleep, stop);
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        let Limits { idle, head, max_head, max_line, .. } = self.limits;
        // A client that connects has something to say: its first head is due at once.
        let mut limits = HeadLimits { idle: head, head, max_head, max_line };
        loop {
            let read = reader::head(&mut stream, &mut buffer, &mut alarm, &limits).await;
            out.clear();
            let after = match read {
                Read::Gone => return,
                Read::Head(end) => {
                    limits.idle = idle;
                    // Boxed: an idle connection does not hold the room for a request.
                    let after = Box::pin(self.request(&buffer[..end], &peer, &mut cut, &mut out)).await;
                    buffer.advance(end);
                    after
                }
                Read::Malformed => self.gateway.turn_away(&Refusal::BadRequest, &peer, &mut out),
                Read::LongTarget => self.gateway.turn_away(&Refusal::UriTooLong, &peer, &mut out),
                Read::TooLarge => self.gateway.turn_away(&Refusal::HeaderTooLarge, &peer, &mut out),
                Read::TooSlow => self.gateway.turn_away(&Refusal::TooSlow, &peer, &mut out),
            };
            alarm.set(head);
            if !write(&mut stream, &out, &mut alarm).await {
                return;
            }
            match after {
                After::KeepAlive { body: 0 } => {}
                After::KeepAlive { body } => {
                    if !skip(&mut stream, &mut buffer, body, &mut alarm).await {
                        return;
                    }
                }
                After::Close => return linger(stream).await,
            }
        }
    }

    async fn request(&self, raw: &[u8], peer: &str, cut: &mut ShutdownWatch, out: &mut Vec<u8>) -> After {
        let cut = async {
            let _ = cut.wait_for(|cut| *cut).await;
        };
        self.gateway.handle(Arrival { raw, peer, drain: &self.drain }, out, cut).await
    }
}

/// Whether the whole answer was taken in time.
async fn write(stream: &mut Stream, out: &[u8], alarm: &mut Alarm<'_>) -> bool {
    let whole = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    tokio::select! {
        biased;
        written = whole => written.is_ok(),
        () = alarm.rings(false) => false,
    }
}

/// Reads a body that nobody wants, so that the next head can be found behind it.
async fn skip(stream: &mut Stream, buffer: &mut BytesMut, body: u64, alarm: &mut Alarm<'_>) -> bool {
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
            () = alarm.rings(false) => return false,
        };
        if !matches!(read, Ok(n) if n > 0) {
            return false;
        }
    }
}

/// Closes our side, and takes in what the client still sends for a moment: a reset would take our answer away from it.
async fn linger(mut stream: Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut taken = 0;
        let mut scrap = [0; 4096];
        while taken < LINGER_BYTES {
            match stream.read(&mut scrap).await {
                Ok(n) if n > 0 => taken += n as u64,
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// The client's address without its port; `-` on a Unix socket.
fn peer(stream: &Stream) -> String {
    let digest = stream.get_socket_digest();
    let address = digest.as_ref().and_then(|digest| digest.peer_addr());
    address.and_then(|address| address.as_inet()).map_or("-".into(), |address| address.ip().to_canonical().to_string())
}
