//! Bounds under attack: what clients that do harm can take, and whether others are served meanwhile.

use std::io::Result;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::cases::target;
use crate::client::{Client, Http2, Pending, Request, Target, Way, handshake};
use crate::peers::{PEERS, Peer, Started, VALET};
use crate::report::Table;
use crate::stage::{Stage, takes_part};

/// Descriptors that a server may have.
const DESCRIPTORS: usize = 4096;

/// The servers that are attacked. Those that look at tokens have an app that anybody may ask.
fn attacked() -> impl Iterator<Item = &'static Peer> {
    PEERS.iter().filter(|peer| {
        [VALET, "HAProxy, looks at nothing", "nginx, looks at nothing"].contains(&peer.name) && takes_part(peer)
    })
}

/// Streams whose bodies do not come.
pub fn uploads(stage: &Stage) -> Table {
    let mut table = Table::new(
        "Bounds under attack: uploads that do not come",
        &format!(
            "60 connections of TLS and HTTP/2 with 100 heads of a POST each, without a body, to an open app; the server may have {DESCRIPTORS} descriptors. Three seconds later, new clients ask; Valet's `/livez` is asked at its administration address."
        ),
        &[
            "",
            "streams begun",
            "descriptors in use",
            "`/livez`",
            "a new client's redirect",
            "a new client's GET to an app",
        ],
    );
    for peer in attacked() {
        let cells = peer.start(&stage.site, stage.origin.address, Some(DESCRIPTORS)).map(|server| {
            let cells = stage.runtime.block_on(upload(stage, &server));
            cells.unwrap_or_else(|fault| vec![format!("failed: {fault}")])
        });
        table.row(peer.name, &cells.unwrap_or_else(|why| vec![why]));
    }
    table
}

async fn upload(stage: &Stage, server: &Started) -> Result<Vec<String>> {
    let target = target(server, &stage.site, Way::Http2);
    let token = stage.site.token(1, 0);
    // It has been served before the attack.
    Client::open(&target).await?.ask(&Request::get("/plugins/face-scan", Some(&token))).await?;
    let request = Request::post("/open/1k", None, Bytes::new());
    let mut held = Vec::new();
    for _ in 0..60 {
        // Who is turned away is no fault of the tool.
        let Ok(mut connection) = connect(&target, 65_535).await else { continue };
        let mut streams = Vec::new();
        while streams.len() < 100 {
            let mut endless = request.clone();
            endless.http2.headers_mut().remove("content-length");
            let begun = tokio::time::timeout(Duration::from_millis(200), connection.begin(&endless, true)).await;
            let Ok(Ok(stream)) = begun else { break };
            streams.push(stream);
        }
        held.push((connection, streams));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun: usize = held.iter().map(|(_, streams): &(Http2, Vec<Pending>)| streams.len()).sum();
    let descriptors = server.running.descriptors();
    let alive = if server.peer.name == VALET { health(stage, server.admin).await } else { "–".to_owned() };
    let redirect = new_client(&target, &Request::get("/plugins/face-scan", Some(&token))).await;
    let app = new_client(&target, &Request::get("/app/1k", Some(&token))).await;
    Ok(vec![begun.to_string(), descriptors.to_string(), alive, redirect, app])
}

async fn health(stage: &Stage, admin: SocketAddr) -> String {
    let target = Target {
        address: admin,
        way: Way::Http1,
        tls: crate::client::settings(Way::Http1, &stage.site.certificate, false),
    };
    new_client(&target, &Request::get("/livez", None)).await
}

/// What a new client gets, and when.
async fn new_client(target: &Target, request: &Request) -> String {
    let began = Instant::now();
    let asked = async { Client::open(target).await?.ask(request).await };
    match tokio::time::timeout(Duration::from_secs(5), asked).await {
        Ok(Ok(status)) => format!("{status} after {:.0} ms", began.elapsed().as_secs_f64() * 1e3),
        Ok(Err(_)) => "closed".to_owned(),
        Err(_) => "nothing in 5 s".to_owned(),
    }
}

async fn connect(target: &Target, window: u32) -> Result<Http2> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    Http2::over(handshake(target, stream).await?, window).await
}

/// Streams whose answers are not taken.
pub fn readers(stage: &Stage) -> Table {
    const CONNECTIONS: usize = 4;
    const EACH: usize = 100;
    let mut table = Table::new(
        "Bounds under attack: answers that are not taken",
        &format!(
            "{CONNECTIONS} connections of TLS and HTTP/2 with a window of nothing, and {EACH} GETs of 2 MiB on each: the most memory of the server's processes in the next ten seconds, and what that is for a stream."
        ),
        &["", "streams", "MiB before", "MiB at most", "KiB a stream"],
    );
    for peer in attacked() {
        let cells = peer.start(&stage.site, stage.origin.address, None).map(|server| {
            let cells = stage.runtime.block_on(read(stage, &server, CONNECTIONS, EACH));
            cells.unwrap_or_else(|fault| vec![format!("failed: {fault}")])
        });
        table.row(peer.name, &cells.unwrap_or_else(|why| vec![why]));
    }
    table
}

async fn read(stage: &Stage, server: &Started, connections: usize, each: usize) -> Result<Vec<String>> {
    let target = target(server, &stage.site, Way::Http2);
    let mut client = Client::open(&target).await?;
    for _ in 0..100 {
        client.ask(&Request::get("/open/1k", None)).await?;
    }
    let before = server.running.memory();
    let request = Request::get("/open/2m", None);
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut connection = connect(&target, 0).await?;
        let mut streams = Vec::new();
        for _ in 0..each {
            streams.push(connection.begin(&request, false).await?);
        }
        held.push((connection, streams));
    }
    let (mut most, end) = (before, Instant::now() + Duration::from_secs(10));
    while Instant::now() < end {
        most = server.running.memory().max(most);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mebibytes = |bytes: f64| format!("{:.1}", bytes / 1048576.0);
    let streams: usize = held.iter().map(|(_, streams): &(Http2, Vec<Pending>)| streams.len()).sum();
    let of_stream = format!("{:.1}", (most - before) / streams as f64 / 1024.0);
    Ok(vec![streams.to_string(), mebibytes(before), mebibytes(most), of_stream])
}
