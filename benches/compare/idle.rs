//! Connections that have asked once and now do nothing: what each holds.

use std::io::{Error, Result};
use std::rc::Rc;

use rustix::process::{Resource, getrlimit};
use tokio::task::LocalSet;

use crate::cases::target;
use crate::client::{Client, Request, Way};
use crate::peers::Started;
use crate::report::Table;
use crate::run::setting;
use crate::stage::{Stage, warm};

/// Connections that are opened at once.
const AT_ONCE: usize = 64;

/// The table of all servers.
pub fn table(stage: &Stage, servers: &[&Started]) -> Table {
    // A server that keeps a descriptor for an app beside each client's lets in clients for half of them.
    let descriptors = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| most as usize);
    let count = setting("IDLE", 10_000.min(descriptors / 5 * 2));
    let mut table = Table::new(
        "Idle connections",
        &format!(
            "{count} connections that have asked for one redirect each: memory of the server's processes, KiB a connection. What the kernel holds for them is not in it."
        ),
        &["", "HTTP/1.1", "TLS", "HTTP/2"],
    );
    for server in servers {
        let cells = Way::ALL.map(|way| {
            if !server.peer.ways.contains(&way) {
                return "–".to_owned();
            }
            // Another one for each way: what the way before has freed would be used again.
            let fresh = match server.peer.start(&stage.site, stage.origin.address, None) {
                Ok(fresh) => fresh,
                Err(why) => return format!("failed: {why}"),
            };
            let opened = warm(stage, &fresh, &stage.site).and_then(|()| {
                let before = fresh.running.memory();
                let all = stage.runtime.block_on(open(stage, &fresh, way, count))?;
                Ok((fresh.running.memory() - before) / all.len() as f64 / 1024.0)
            });
            opened.map_or_else(|fault| format!("failed: {fault}"), |each| format!("{each:.1}"))
        });
        table.row(server.peer.name, &cells);
    }
    table
}

async fn open(stage: &Stage, server: &Started, way: Way, count: usize) -> Result<Vec<Client>> {
    let target = Rc::new(target(server, &stage.site, way));
    let request = Rc::new(Request::get("/plugins/face-scan", Some(&stage.site.token(1, 0))));
    let set = LocalSet::new();
    let share = move |number: usize| count / AT_ONCE + usize::from(number < count % AT_ONCE);
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let (target, request) = (target.clone(), request.clone());
            set.spawn_local(async move {
                let mut opened = Vec::new();
                for _ in 0..share(number) {
                    let mut client = Client::open(&target).await?;
                    if client.ask(&request).await? != 302 {
                        return Err(Error::other("not the redirect"));
                    }
                    opened.push(client);
                }
                Ok(opened)
            })
        })
        .collect();
    set.await;
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.map_err(Error::other)??);
    }
    Ok(all)
}
