//! Load at a fixed rate over HTTP/1.1 in the clear, from one thread that never sleeps: what it can hold is higher than that of a load that sleeps, and
//! it knows for how long it was away itself.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::load::percentile;

/// A run that gets no answer for so long has failed.
const SILENT: Duration = Duration::from_secs(10);

/// What is asked, how often, and for how long.
#[derive(Clone, Copy)]
pub struct Steady<'a> {
    pub address: SocketAddr,
    pub requests: &'a [Vec<u8>],
    pub connections: usize,
    pub rate: f64,
    pub length: Duration,
}

/// What came of it.
pub struct Latencies {
    /// In ascending order, each from when its request was due, whether or not it could be sent then.
    took: Vec<Duration>,
    /// The worst of each second.
    pub seconds: Vec<Duration>,
    /// The longest time in which the load itself did not run.
    pub away: Duration,
}

impl Latencies {
    /// Such a share did not take longer, in milliseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        percentile(&self.took, share)
    }

    /// p50, p99, p99.9 and the longest, in milliseconds.
    pub fn text(&self) -> String {
        [0.5, 0.99, 0.999, 1.0].map(|share| format!("{:.2}", self.percentile(share))).join(" / ")
    }
}

struct Connection {
    stream: TcpStream,
    due: Instant,
    have: Vec<u8>,
}

impl Steady<'_> {
    /// Asks at the rate, whether or not answers come.
    pub fn run(&self) -> Result<Latencies> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut all = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            all.push(Connection { stream, due: Instant::now(), have: Vec::with_capacity(4096) });
        }
        let mut idle: VecDeque<usize> = (0..self.connections).collect();
        let count = (self.rate * self.length.as_secs_f64()) as usize;
        let mut took = Vec::with_capacity(count);
        let mut seconds = vec![Duration::ZERO; self.length.as_secs_f64().ceil() as usize];
        let mut events = Vec::with_capacity(self.connections);
        let begin = Instant::now() + Duration::from_millis(10);
        let (mut sent, mut last, mut heard, mut away) = (0, Instant::now(), begin, Duration::ZERO);
        while took.len() < count {
            let now = Instant::now();
            away = away.max(now - last);
            last = now;
            while sent < count {
                let due = begin + Duration::from_secs_f64(sent as f64 / self.rate);
                let Some(free) = idle.front().copied().filter(|_| due <= now) else { break };
                idle.pop_front();
                let connection = &mut all[free];
                connection.due = due;
                // A request is small: a socket that waits for nothing takes it whole.
                connection.stream.write_all(&self.requests[sent % self.requests.len()])?;
                sent += 1;
            }
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            for event in &events {
                let number = event.data.u64() as usize;
                if all[number].read()? {
                    heard = Instant::now();
                    let (due, late) = (all[number].due, heard - all[number].due);
                    took.push(late);
                    let second = &mut seconds[(due - begin).as_secs() as usize];
                    *second = late.max(*second);
                    idle.push_back(number);
                }
            }
            if events.is_empty() {
                if now.saturating_duration_since(heard) > SILENT {
                    return Err(Error::new(ErrorKind::TimedOut, "no answer came for 10 s"));
                }
                // What else is to run on this core, such as what stands behind the servers.
                std::thread::yield_now();
            }
        }
        took.sort_unstable();
        Ok(Latencies { took, seconds, away })
    }
}

impl Connection {
    /// Whether the answer, a redirect without a body, is whole.
    fn read(&mut self) -> Result<bool> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "closed before the answer")),
            Ok(read) => self.have.extend_from_slice(&piece[..read]),
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(fault) => return Err(fault),
        }
        let whole = self.have.ends_with(b"\r\n\r\n");
        if whole {
            if !self.have.starts_with(b"HTTP/1.1 302 ") {
                return Err(Error::other("an answer has another status"));
            }
            self.have.clear();
        }
        Ok(whole)
    }
}
