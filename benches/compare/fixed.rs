//! The least server: a fixed redirect of the length of Valet's for whatever comes, by nothing but system calls. What a load is late by here, it is late by
//! itself.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::site::url;

/// Serves where the environment says, until it is killed.
pub fn serve() {
    let listener = TcpListener::bind(format!("127.0.0.1:{}", std::env::var("PLAIN").unwrap())).unwrap();
    listener.set_nonblocking(true).unwrap();
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Length: 0\r\n\r\n",
        url(0)
    );
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
    let (mut connections, mut next) = (HashMap::<u64, TcpStream>::new(), 0);
    let mut events = Vec::with_capacity(256);
    let mut request = vec![0; 8192];
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None).unwrap();
        for event in &events {
            let number = event.data.u64();
            if number == 0 {
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(true).unwrap();
                stream.set_nodelay(true).unwrap();
                next += 1;
                epoll::add(&epoll, &stream, epoll::EventData::new_u64(next), epoll::EventFlags::IN).unwrap();
                connections.insert(next, stream);
                continue;
            }
            let Some(stream) = connections.get_mut(&number) else { continue };
            // A request of the load is one write, and comes as one piece.
            let answered = match stream.read(&mut request) {
                Ok(0) => false,
                Ok(read) if request[..read].ends_with(b"\r\n\r\n") => stream.write_all(answer.as_bytes()).is_ok(),
                Ok(_) => false,
                Err(fault) => fault.kind() == ErrorKind::WouldBlock,
            };
            if !answered {
                connections.remove(&number);
            }
        }
    }
}
