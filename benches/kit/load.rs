//! The load: requests in turn over keep-alive connections, all on one thread.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came of a load.
pub struct Outcome {
    /// Requests answered with 302 or 200.
    pub answered: usize,
    /// How long each took.
    pub times: Vec<Duration>,
}

impl Outcome {
    /// The time that 99 in 100 answers did not take longer than, in microseconds.
    pub fn p99(mut self) -> f64 {
        self.times.sort_unstable();
        self.times[self.times.len() * 99 / 100].as_secs_f64() * 1e6
    }
}

/// A request for each token, to the plug-in.
pub fn requests(tokens: &[String]) -> Vec<Vec<u8>> {
    requests_for("/plugins/face-scan", tokens)
}

/// A request for each token.
pub fn requests_for(path: &str, tokens: &[String]) -> Vec<Vec<u8>> {
    let request = |token: &String| {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
    };
    tokens.iter().map(request).collect()
}

/// The length of a whole answer that starts here; `None`: more is to come.
fn whole(read: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).unwrap().to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    Some(head + length.map_or(0, |length| length.parse::<usize>().unwrap()))
}

/// Sends requests in turn over `connections` connections until `until` or, with `once`, until each was sent.
pub async fn load(
    address: SocketAddr,
    requests: &[Vec<u8>],
    connections: usize,
    until: Instant,
    once: bool,
) -> Outcome {
    let next = Cell::new(0usize);
    let times = RefCell::new(Vec::new());
    let one = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buffer = vec![0; 8192];
        while Instant::now() < until {
            let at = next.get();
            if once && at >= requests.len() {
                return;
            }
            next.set(at + 1);
            let sent = Instant::now();
            stream.write_all(&requests[at % requests.len()]).await.unwrap();
            let mut have = 0;
            while whole(&buffer[..have]).is_none_or(|whole| have < whole) {
                let n = stream.read(&mut buffer[have..]).await.unwrap();
                assert!(n > 0, "the server closed the connection");
                have += n;
            }
            let good = buffer.starts_with(b"HTTP/1.1 302") || buffer.starts_with(b"HTTP/1.1 200");
            assert!(good, "{}", String::from_utf8_lossy(&buffer[..have]));
            times.borrow_mut().push(sent.elapsed());
        }
    };
    let mut all: Vec<_> = (0..connections).map(|_| Some(Box::pin(one()))).collect();
    std::future::poll_fn(|cx| {
        let mut busy = false;
        for slot in &mut all {
            if let Some(task) = slot {
                match task.as_mut().poll(cx) {
                    std::task::Poll::Ready(()) => *slot = None,
                    std::task::Poll::Pending => busy = true,
                }
            }
        }
        if busy { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    drop(all);
    let times = times.into_inner();
    Outcome { answered: times.len(), times }
}
