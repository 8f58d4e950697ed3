//! The load: as fast as answers come, or at a fixed rate, in which each latency counts from when its request was due.

use std::cell::{Cell, RefCell};
use std::io::Result;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, LocalSet};

use crate::client::{Client, Request, Target, Way};

/// Streams at once on a connection of HTTP/2.
pub const STREAMS: usize = 16;

/// What is asked, by how many at once.
#[derive(Clone)]
pub struct Load {
    pub target: Target,
    pub requests: Rc<[Request]>,
    pub status: u16,
    pub connections: usize,
    pub streams: usize,
}

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Instant),
    /// Each request was sent once.
    Once,
}

/// Opens the connections of a load: what that costs is no request's.
pub async fn open(load: &Load) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        clients.push(Client::open(&load.target).await?);
    }
    Ok(clients)
}

/// Asks as fast as answers come; how many did. With HTTP/1.1 each connection takes the next request. A connection of HTTP/2 is one user's, as
/// a browser's is, with so many streams at once.
pub async fn closed(load: &Load, clients: Vec<Client>, until: Until) -> Result<usize> {
    let (next, answered) = (Rc::new(Cell::new(0usize)), Rc::new(Cell::new(0usize)));
    let set = LocalSet::new();
    let mut all: Vec<JoinHandle<Result<()>>> = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let (load, next, answered) = (load.clone(), next.clone(), answered.clone());
        all.push(set.spawn_local(async move {
            loop {
                if matches!(until, Until::Time(end) if Instant::now() >= end) {
                    return Ok(());
                }
                if let Client::Http2(connection) = &mut client {
                    let request = &load.requests[number % load.requests.len()];
                    expect(connection.ask_many(request, load.streams, load.status).await?)?;
                    answered.set(answered.get() + load.streams);
                    continue;
                }
                let at = next.get();
                if matches!(until, Until::Once) && at >= load.requests.len() {
                    return Ok(());
                }
                next.set(at + 1);
                let status = client.ask(&load.requests[at % load.requests.len()]).await?;
                expect(status == load.status)?;
                answered.set(answered.get() + 1);
            }
        }));
    }
    set.await;
    for task in all {
        task.await.map_err(std::io::Error::other)??;
    }
    Ok(answered.get())
}

/// Opens the connections and sends each request once.
pub async fn once(load: &Load) -> Result<()> {
    closed(load, open(load).await?, Until::Once).await.map(drop)
}

fn expect(good: bool) -> Result<()> {
    if good { Ok(()) } else { Err(std::io::Error::other("an answer has another status")) }
}

/// Asks at a rate, whether or not answers come, and gives how long each took from when it was due. A thread that sleeps until then says so;
/// what it and the load are late by counts too.
pub async fn paced(load: &Load, rate: f64, length: Duration) -> Result<Vec<Duration>> {
    let (due, requests) = mpsc::unbounded_channel();
    let requests = Rc::new(Mutex::new(requests));
    let took = Rc::new(RefCell::new(Vec::new()));
    let set = LocalSet::new();
    let mut all = Vec::new();
    for number in 0..load.connections {
        let client = Client::open(&load.target).await?;
        let shares = if load.target.way == Way::Http2 { load.streams } else { 1 };
        let mut clients = vec![client];
        while let (true, Client::Http2(connection)) = (clients.len() < shares, &clients[0]) {
            clients.push(Client::Http2(connection.clone()));
        }
        for mut client in clients {
            let (load, requests, took) = (load.clone(), requests.clone(), took.clone());
            all.push(set.spawn_local(async move {
                loop {
                    let next: Option<(usize, Instant)> = requests.lock().await.recv().await;
                    let Some((at, due)) = next else { return Ok::<_, std::io::Error>(()) };
                    let at = if load.target.way == Way::Http2 { number } else { at };
                    let status = client.ask(&load.requests[at % load.requests.len()]).await?;
                    expect(status == load.status)?;
                    took.borrow_mut().push(due.elapsed());
                }
            }));
        }
    }
    let pacer = std::thread::spawn(move || {
        let begin = Instant::now() + Duration::from_millis(10);
        for at in 0.. {
            let wanted = begin + Duration::from_secs_f64(at as f64 / rate);
            if wanted > begin + length || due.is_closed() {
                return;
            }
            std::thread::sleep(wanted.saturating_duration_since(Instant::now()));
            let _ = due.send((at, wanted));
        }
    });
    set.await;
    let _ = pacer.join();
    for task in all {
        task.await.map_err(std::io::Error::other)??;
    }
    Ok(Rc::try_unwrap(took).map(RefCell::into_inner).unwrap_or_default())
}

/// The time that such a share of the answers did not take longer than, in milliseconds.
pub fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[at].as_secs_f64() * 1e3
}
