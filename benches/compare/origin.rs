//! What stands behind the servers, in a process of its own on the load's core: the app, with WebSockets that echo, the vendor, and an
//! identity provider's keys.

use std::io::Write;
use std::sync::Mutex;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use http::{StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::site::url_of;
use crate::wire::accept_key;

/// Serves on a free port, and says where, until it is killed.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let sized = get(give).post(take);
        let router = Router::new()
            .route("/app/ws", get(echo))
            .route("/app/{size}", sized.clone())
            .route("/open/{size}", sized)
            .route("/mint/{subject}", get(mint))
            .route("/keys", get(keys).put(rotate));
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, router).await.unwrap();
    });
}

/// `1k`, `1m` or `2m` of text.
async fn give(Path(size): Path<String>) -> Response {
    static TEXT: [u8; 2 << 20] = [b'x'; 2 << 20];
    let length = match &*size {
        "1k" => 1 << 10,
        "1m" => 1 << 20,
        "2m" => 2 << 20,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    Bytes::from_static(&TEXT[..length]).into_response()
}

/// Says how much came. A body that does not come to its end is an attack's.
async fn take(body: Body) -> Result<String, StatusCode> {
    let whole = to_bytes(body, 8 << 20).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(format!("{} bytes", whole.len()))
}

/// The vendor: the URL of the user.
async fn mint(Path(subject): Path<String>) -> String {
    url_of(&subject)
}

/// The identity provider's keys, as they were last put there.
static KEYS: Mutex<String> = Mutex::new(String::new());

async fn keys() -> String {
    KEYS.lock().unwrap().clone()
}

/// It has other keys from now on.
async fn rotate(set: String) {
    *KEYS.lock().unwrap() = set;
}

/// A WebSocket that sends back what came (RFC 6455), for messages of at most 125 bytes.
async fn echo(mut request: Request) -> Response {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut wire = TokioIo::new(upgrade.await.unwrap());
        // Who leaves ends it.
        let _ = send_back(&mut wire).await;
    });
    let fields = [
        (header::CONNECTION, "upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept_key(key.as_bytes())),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, fields).into_response()
}

async fn send_back(wire: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> std::io::Result<()> {
    loop {
        let mut head = [0; 6];
        wire.read_exact(&mut head).await?;
        let length = usize::from(head[1] & 0x7f);
        let mut frame = vec![0; 2 + length];
        wire.read_exact(&mut frame[2..]).await?;
        for (at, byte) in frame[2..].iter_mut().enumerate() {
            *byte ^= head[2 + at % 4];
        }
        (frame[0], frame[1]) = (head[0], head[1] & 0x7f);
        wire.write_all(&frame).await?;
    }
}
