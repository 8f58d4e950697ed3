//! What each server must do before it is measured: who may in gets the own URL and the app's answer, and nobody else gets anything.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::client::{Client, Request, Target, Way, settings};
use crate::peers::Started;
use crate::site::{Site, url};

/// A case that failed, in words.
pub type Fault = String;

/// Where a server is asked in this way.
pub fn target(server: &Started, site: &Site, way: Way) -> Target {
    at(server.address(way), site, way)
}

fn at(address: SocketAddr, site: &Site, way: Way) -> Target {
    Target { address, way, tls: settings(way, &site.certificate, true) }
}

/// All cases in each way that it has.
pub async fn pass(server: &Started, site: &Site) -> Result<(), Fault> {
    for way in server.peer.ways {
        let target = target(server, site, *way);
        let in_words = |fault: Fault| format!("{}: {fault}", way.name());
        good(server, site, &target).await.map_err(in_words)?;
        if server.peer.looks {
            refused(site, &target).await.map_err(in_words)?;
        }
    }
    Ok(())
}

async fn good(server: &Started, site: &Site, target: &Target) -> Result<(), Fault> {
    for user in [1, 2] {
        let token = site.token(user, 0);
        let answer = ask(target, &Request::get("/plugins/face-scan", Some(&token))).await?;
        let wanted = url(if server.peer.looks { user } else { 0 });
        if answer.status != 302 || answer.location.as_deref() != Some(&wanted) {
            return Err(format!("user-{user} got {} and {:?}", answer.status, answer.location));
        }
        for (size, length) in [("1k", 1 << 10), ("1m", 1 << 20)] {
            let path = format!("/app/{size}");
            let got = ask(target, &Request::get(&path, Some(&token))).await?;
            // In chunks it is somewhat longer.
            if got.status != 200 || got.length < length {
                return Err(format!("GET {path} is {} with {} bytes", got.status, got.length));
            }
            let body = Bytes::from(vec![b'x'; length]);
            let took = ask(target, &Request::post(&path, Some(&token), body)).await?;
            let said = format!("{length} bytes").len();
            if took.status != 200 || took.length < said {
                return Err(format!("POST {path} is {} with {} bytes", took.status, took.length));
            }
        }
    }
    Ok(())
}

async fn refused(site: &Site, target: &Target) -> Result<(), Fault> {
    let tokens = [
        ("expired", Some(site.expired())),
        ("forged", Some(site.forged())),
        ("for others", Some(site.for_others())),
        ("none", None),
    ];
    for (name, token) in tokens {
        for request in [
            Request::get("/plugins/face-scan", token.as_deref()),
            Request::get("/app/1k", token.as_deref()),
            Request::post("/app/1k", token.as_deref(), Bytes::from_static(b"x")),
        ] {
            let answer = ask(target, &request).await?;
            if !matches!(answer.status, 401 | 403) || answer.location.is_some() {
                return Err(format!("{name} is {} with {:?}", answer.status, answer.location));
            }
        }
    }
    Ok(())
}

async fn ask(target: &Target, request: &Request) -> Result<crate::client::Answer, Fault> {
    let in_words = |fault: std::io::Error| fault.to_string();
    Client::open(target).await.map_err(in_words)?.look(request).await.map_err(in_words)
}
