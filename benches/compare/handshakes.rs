//! What a new connection costs over TLS: a handshake and one redirect, with and without a ticket of the connection before.

use std::cell::Cell;
use std::io::{Error, Result};
use std::rc::Rc;
use std::time::Instant;

use rustls::HandshakeKind;
use tokio::task::LocalSet;

use crate::cases::target;
use crate::client::{Client, Request, Target, Way, settings};
use crate::peers::Started;
use crate::report::Table;
use crate::run::{median, seconds, setting};
use crate::stage::Stage;

/// Connections at once.
const AT_ONCE: usize = 4;

/// The table of all servers.
pub fn table(stage: &Stage, servers: &[&Started]) -> Table {
    let mut table = Table::new(
        "New connections over TLS",
        "A handshake of TLS 1.3 (X25519, a certificate of P-256) and one redirect over HTTP/1.1; then the client closes. A resumed one has the ticket of the connection before.",
        &["", "whole: CPU µs", "whole: a second", "resumed: CPU µs", "resumed: a second"],
    );
    let mut figures = vec![[Ok((Vec::new(), Vec::new())), Ok((Vec::new(), Vec::new()))]; servers.len()];
    for round in 0..setting("ROUNDS", 5) {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            for (resumed, rounds) in figures[at].iter_mut().enumerate() {
                one(stage, servers[at], resumed == 1, rounds);
            }
        }
    }
    for (server, [whole, resumed]) in servers.iter().zip(figures) {
        let cells = [whole, resumed].map(|rounds: Rounds| match rounds {
            Ok((cpu, rate)) => [format!("{:.0}", median(cpu).0), format!("{:.0}", median(rate).0)],
            Err(why) => [why, String::new()],
        });
        table.row(server.peer.name, &cells.concat());
    }
    table
}

type Rounds = std::result::Result<(Vec<f64>, Vec<f64>), String>;

fn one(stage: &Stage, server: &Started, resumed: bool, rounds: &mut Rounds) {
    let Ok((cpu, rate)) = rounds else { return };
    let request = Request::get("/plugins/face-scan", Some(&stage.site.token(1, 0)));
    let (before, began) = (server.running.cpu(), Instant::now());
    let end = began + seconds("SECONDS", 1.0);
    match stage.runtime.block_on(connections(stage, server, resumed, &request, end)) {
        Ok(made) => {
            cpu.push((server.running.cpu() - before) / made as f64);
            rate.push(made as f64 / began.elapsed().as_secs_f64());
        }
        Err(fault) => *rounds = Err(format!("failed: {fault}")),
    }
}

async fn connections(stage: &Stage, server: &Started, resumed: bool, request: &Request, end: Instant) -> Result<usize> {
    let made = Rc::new(Cell::new(0));
    let set = LocalSet::new();
    let mut all = Vec::new();
    for _ in 0..AT_ONCE {
        let (made, request) = (made.clone(), request.clone());
        // Tickets of its own.
        let target = Target {
            tls: settings(Way::Tls, &stage.site.certificate, resumed),
            ..target(server, &stage.site, Way::Tls)
        };
        all.push(set.spawn_local(async move {
            let mut is_first = true;
            while Instant::now() < end {
                let mut client = Client::open(&target).await?;
                let answered = client.ask(&request).await? == 302;
                let Client::Tls(wire) = &client else { return Err(Error::other("not over TLS")) };
                let is_resumed = wire.stream().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                if !answered || is_resumed != (resumed && !is_first) {
                    return Err(Error::other(if is_resumed { "was resumed" } else { "was not resumed" }));
                }
                is_first = false;
                made.set(made.get() + 1);
            }
            Ok(())
        }));
    }
    set.await;
    for task in all {
        task.await.map_err(Error::other)??;
    }
    Ok(made.get())
}
