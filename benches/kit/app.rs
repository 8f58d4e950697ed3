//! What stands behind the gateway in a bench: an app, and a collector of spans.

use std::io::Write;
use std::sync::LazyLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// An app that answers each request with 1 KiB, when it has read it and the body that its `Content-Length` names.
pub fn serve() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n";
    answer(format!("{head}{}", "x".repeat(1024)));
}

/// A collector that takes whatever comes. After the line `hang` on its standard input it answers nothing, until the line `answer`.
pub fn serve_collector() {
    std::thread::spawn(|| {
        for line in std::io::stdin().lines() {
            let hangs = line.unwrap() == "hang";
            HANGS.send_replace(hangs);
            println!("{}", if hangs { "hangs" } else { "answers" });
        }
    });
    answer("HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n".to_owned());
}

static HANGS: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

fn answer(answer: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("address {}\nready", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let answer: &'static [u8] = answer.leak().as_bytes();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut buffer, mut hangs) = (Vec::new(), HANGS.subscribe());
                while let Ok(1..) = stream.read_buf(&mut buffer).await {
                    while let Some(end) = whole(&buffer) {
                        buffer.drain(..end);
                        let _ = hangs.wait_for(|hangs| !*hangs).await;
                        // Whoever asked may have gone meanwhile.
                        let _ = stream.write_all(answer).await;
                    }
                }
            });
        }
    });
}

/// The length of a whole request that starts here.
fn whole(read: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let length = read[..head].split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then(|| std::str::from_utf8(value).unwrap())?;
        value.trim().parse::<usize>().ok()
    });
    let end = head + length.unwrap_or(0);
    (read.len() >= end).then_some(end)
}
