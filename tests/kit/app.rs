//! An app behind the gateway that writes down what it got, byte for byte.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its head, with the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    /// `GET /path`.
    pub fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap_or_default()
    }

    /// The values of all fields of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The only one.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "several {name} in:\n{}", self.head);
        all.first().copied()
    }
}

/// The app. Dropped: it stops.
pub struct App {
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    go: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
    serving: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
    /// Where its socket is.
    folder: Option<tempfile::TempDir>,
}

/// What it is connected to by.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl App {
    /// Answers `200 hello`, but for the paths that [`answer`] knows.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let listener = Arc::new(listener);
        let accept = move || {
            let listener = Arc::clone(&listener);
            async move { listener.accept().await.ok().map(|(stream, _)| stream) }
        };
        Self::new(address, None, accept)
    }

    /// The same on a Unix socket.
    pub async fn on_socket() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.sock");
        let listener = Arc::new(UnixListener::bind(&path).expect("a socket"));
        let accept = move || {
            let listener = Arc::clone(&listener);
            async move { listener.accept().await.ok().map(|(stream, _)| stream) }
        };
        Self::new(format!("unix:{}", path.display()), Some(folder), accept)
    }

    fn new<S: Wire + 'static, F: Future<Output = Option<S>> + Send + 'static>(
        address: String,
        folder: Option<tempfile::TempDir>,
        accept: impl Fn() -> F + Send + 'static,
    ) -> Self {
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (into, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let go = Arc::new(Notify::new());
        let gone = Arc::clone(&go);
        let serving = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::clone(&serving);
        let task = tokio::spawn(async move {
            while let Some(stream) = accept().await {
                *count.lock().expect("no test panicked with it") += 1;
                let one = tokio::spawn(serve(stream, Arc::clone(&into), Arc::clone(&gone)));
                served.lock().expect("no test panicked with it").push(one.abort_handle());
            }
        });
        Self { address, seen, connections, go, task, serving, folder }
    }

    /// Nobody is at its socket any more.
    pub fn leave(&mut self) {
        self.task.abort();
        self.serving.lock().expect("no test panicked with it").iter().for_each(tokio::task::AbortHandle::abort);
        drop(self.folder.take());
    }

    /// Lets it answer what waits at `/later`.
    pub fn go_on(&self) {
        self.go.notify_one();
    }

    /// All that it got so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panicked with it").clone()
    }

    /// The last of them.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the app got a request")
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("no test panicked with it")
    }
}

async fn serve(mut stream: impl Wire, seen: Arc<Mutex<Vec<Seen>>>, go: Arc<Notify>) {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = read_until(&mut stream, &mut buffer, b"\r\n\r\n").await else { return };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let at = {
            let mut seen = seen.lock().expect("no test panicked with it");
            seen.push(Seen { head, body: Vec::new() });
            seen.len() - 1
        };
        let request = seen.lock().expect("no test panicked with it")[at].clone();
        if request.field("expect").is_some() {
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        let Some(body) = read_body(&mut stream, &mut buffer, &request).await else { return };
        seen.lock().expect("no test panicked with it")[at].body = body;
        if request.line().ends_with("/later") {
            go.notified().await;
        }
        if !answer(&mut stream, &mut buffer, &request).await {
            return;
        }
    }
}

/// Where the app says these bytes and nothing else: at `/say`, or at `/say-and-close` where it closes behind them.
pub fn says(path: &str, bytes: &str) -> String {
    format!("{path}?{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// `/drip` waits for this between two parts of its answer.
pub const DRIP: Duration = Duration::from_secs(1);

/// The body of `/large-sized` and of `/large-chunks`: more than any buffer on the way holds, and no two parts alike.
pub fn large() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// In chunks of sizes that fall together with no buffer's.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let (mut rest, mut size) = (body, 1);
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        out.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        (rest, size) = (behind, size * 3 + 1);
    }
    out.extend(b"0\r\n\r\n");
    out
}

/// `false`: the connection is closed.
async fn answer(stream: &mut impl Wire, buffer: &mut Vec<u8>, request: &Seen) -> bool {
    let path = request.line().split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    if let Some((_, said)) = request.line().split_once("/say").and_then(|(_, rest)| rest.split_once('?')) {
        let said = URL_SAFE_NO_PAD.decode(said).expect("base64url");
        let _ = stream.write_all(&said).await;
        return !path.ends_with("-and-close");
    }
    if path.ends_with("/drip") {
        for part in ["HTTP/1.1 200 OK\r\n", "content-length: 2\r\n", "x: y\r\n", "\r\nok"] {
            let _ = stream.write_all(part.as_bytes()).await;
            // Pause: the app is a slow one.
            tokio::time::sleep(DRIP).await;
        }
        return true;
    }
    if let Some((_, kind)) = path.split_once("/large-") {
        let body = large();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let out = if kind == "sized" { [head.as_bytes(), &body].concat() } else { chunked(&body) };
        return stream.write_all(&out).await.is_ok();
    }
    let out: &[u8] = match path.rsplit('/').next().unwrap_or_default() {
        "hang" => std::future::pending().await,
        "gone" => return false,
        "half" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal").await;
            return false;
        }
        "nonsense" => {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await;
            return false;
        }
        "switch" => b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "socket" => {
            let _ = stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await;
            let mut piece = std::mem::take(buffer);
            loop {
                if stream.write_all(&piece).await.is_err() {
                    return false;
                }
                piece.resize(4096, 0);
                match stream.read(&mut piece).await {
                    Ok(n @ 1..) => piece.truncate(n),
                    _ => return false,
                }
            }
        }
        "pieces" => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head).await;
            // The next piece comes when the client has shown that it has the one before: it opens a connection of its own.
            let _ = stream.write_all(b"5\r\nfirst\r\n").await;
            let mut more = [0; 1];
            let _ = stream.read(&mut more).await;
            return false;
        }
        "private" => {
            b"HTTP/1.1 200 OK\r\nconnection: x-internal\r\nx-internal: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 5\r\n\r\nhello"
        }
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    };
    let out = if request.line().starts_with("HEAD ") { &out[..out.len() - 5] } else { out };
    stream.write_all(out).await.is_ok()
}

async fn read_until(stream: &mut impl Wire, buffer: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Some(at + end.len());
        }
        read_more(stream, buffer).await?;
    }
}

async fn read_more(stream: &mut impl Wire, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16 * 1024];
    let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&piece[..read]);
    Some(())
}

async fn read_body(stream: &mut impl Wire, buffer: &mut Vec<u8>, request: &Seen) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if request.field("transfer-encoding").is_some() {
        loop {
            let line = read_until(stream, buffer, b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&buffer[..line - 2]).ok()?, 16).ok()?;
            buffer.drain(..line);
            while buffer.len() < size + 2 {
                read_more(stream, buffer).await?;
            }
            body.extend(buffer.drain(..size));
            buffer.drain(..2);
            if size == 0 {
                return Some(body);
            }
        }
    }
    let length: usize = request.field("content-length").map_or(Some(0), |text| text.parse().ok())?;
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    body.extend(buffer.drain(..length));
    Some(body)
}
