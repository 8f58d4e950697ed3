//! Messages of WebSockets to an app that sends each one back.

use std::cell::Cell;
use std::io::{Error, Result};
use std::rc::Rc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::peers::Started;
use crate::report::Table;
use crate::run::{median, seconds, setting};
use crate::site::Site;
use crate::stage::Stage;
use crate::wire::Wire;

/// The table of all servers.
pub fn table(stage: &Stage, servers: &[&Started]) -> Table {
    let mut table = Table::new(
        "WebSockets",
        "64 of them in the clear, through to an app that sends each message of 64 bytes back: what one of these exchanges costs. What looks at tokens has refused a tunnel without one before.",
        &["", "CPU µs", "a second"],
    );
    let able: Vec<&&Started> = servers.iter().filter(|server| server.peer.websockets).collect();
    let mut figures: Vec<std::result::Result<_, String>> =
        able.iter().map(|server| tried(stage, server).map(|()| (Vec::new(), Vec::new()))).collect();
    for round in 0..setting("ROUNDS", 5) {
        for turn in 0..able.len() {
            let at = (round + turn) % able.len();
            let Ok((cpu, rate)) = &mut figures[at] else { continue };
            match stage.runtime.block_on(messages(&stage.site, able[at])) {
                Ok((made, ran, took)) => {
                    cpu.push(ran / made as f64);
                    rate.push(made as f64 / took);
                }
                Err(fault) => figures[at] = Err(format!("failed: {fault}")),
            }
        }
    }
    for (server, rounds) in able.iter().zip(figures) {
        let cells = match rounds {
            Ok((cpu, rate)) => [format!("{:.1}", median(cpu).0), format!("{:.0}", median(rate).0)],
            Err(why) => [why, String::new()],
        };
        table.row(server.peer.name, &cells);
    }
    table
}

fn upgrade(token: Option<&str>) -> String {
    let credential = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "GET /app/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{credential}\r\n"
    )
}

/// One message comes back; and who has no session gets no tunnel.
fn tried(stage: &Stage, server: &Started) -> std::result::Result<(), String> {
    stage.runtime.block_on(async {
        let in_words = |fault: Error| fault.to_string();
        let mut wire = open(&stage.site, server).await.map_err(in_words)?;
        wire.echo().await.map_err(in_words)?;
        let stream = TcpStream::connect(server.plain).await.map_err(in_words)?;
        // A closed connection is a refusal too.
        let status = Wire::new(stream).upgrade(upgrade(None).as_bytes()).await.unwrap_or(0);
        if server.peer.looks && status == 101 { Err("a tunnel without a session".to_owned()) } else { Ok(()) }
    })
}

async fn open(site: &Site, server: &Started) -> Result<Wire<TcpStream>> {
    let stream = TcpStream::connect(server.plain).await?;
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream);
    match wire.upgrade(upgrade(Some(&site.token(1, 0))).as_bytes()).await? {
        101 => Ok(wire),
        other => Err(Error::other(format!("{other} to the upgrade"))),
    }
}

/// How many came back, what CPU that took in microseconds, and how long in seconds: of sockets that are open.
async fn messages(site: &Site, server: &Started) -> Result<(usize, f64, f64)> {
    let mut wires = Vec::new();
    for _ in 0..setting("CONNECTIONS", 64) {
        wires.push(open(site, server).await?);
    }
    let (before, began) = (server.running.cpu(), Instant::now());
    let end = began + seconds("SECONDS", 1.0);
    let made = Rc::new(Cell::new(0));
    let set = LocalSet::new();
    let mut all = Vec::new();
    for mut wire in wires {
        let made = made.clone();
        all.push(set.spawn_local(async move {
            while Instant::now() < end {
                wire.echo().await?;
                made.set(made.get() + 1);
            }
            Ok::<_, Error>(())
        }));
    }
    set.await;
    for task in all {
        task.await.map_err(Error::other)??;
    }
    Ok((made.get(), server.running.cpu() - before, began.elapsed().as_secs_f64()))
}
