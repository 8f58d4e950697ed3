//! A TCP relay before a server, that can be slow, silent or gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::process::{free_port, until};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
    Both,
}

impl Way {
    fn covers(self, direction: usize) -> bool {
        matches!((self, direction), (Self::Both, _) | (Self::There, 0) | (Self::Back, 1))
    }
}

#[derive(Clone, Copy, Default)]
struct Mood {
    delay: Duration,
    held: bool,
}

#[derive(Default)]
struct State {
    moods: [Mood; 2],
    refusing: bool,
    over: bool,
    sockets: Vec<TcpStream>,
    /// Counts connections, so that a test sees that somebody came back.
    taken: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Passes on what comes to its port, until told otherwise. Ends with the test.
pub struct Relay {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.state.lock().over = true;
        self.cut();
    }
}

impl Relay {
    /// Before the server at this port.
    pub fn before(server: u16) -> Self {
        // It is let go and bound again.
        let port = free_port(0);
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let to = shared.clone();
        std::thread::spawn(move || accept(Some(listener), port, server, &to));
        Self { port, shared }
    }

    /// Everything goes this much later.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.set(way, |mood| mood.delay = delay);
    }

    /// Nothing goes on; connections stand.
    pub fn hold(&self, way: Way) {
        self.set(way, |mood| mood.held = true);
    }

    /// Ends the connections that there are.
    pub fn cut(&self) {
        let mut state = self.shared.state.lock();
        for socket in state.sockets.drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    /// Ends the connections, and nobody listens any more.
    pub fn refuse(&self) {
        self.shared.state.lock().refusing = true;
        self.cut();
        until("nobody listens", || TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(()));
    }

    /// All is well again.
    pub fn resume(&self) {
        self.set(Way::Both, |mood| *mood = Mood::default());
        self.shared.state.lock().refusing = false;
        until("it listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// How many connections there have been.
    pub fn taken(&self) -> usize {
        self.shared.state.lock().taken
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn set(&self, way: Way, change: impl Fn(&mut Mood)) {
        let mut state = self.shared.state.lock();
        state.moods.iter_mut().enumerate().filter(|(number, _)| way.covers(*number)).for_each(|(_, mood)| change(mood));
        self.shared.changed.notify_all();
    }
}

/// Takes connections until the relay is gone.
fn accept(mut listener: Option<TcpListener>, port: u16, server: u16, shared: &Arc<Shared>) {
    loop {
        // Pause: between two looks for a sign.
        std::thread::sleep(Duration::from_millis(2));
        let (refusing, over) = {
            let state = shared.state.lock();
            (state.refusing, state.over)
        };
        if over {
            return;
        }
        if refusing {
            listener = None;
            continue;
        }
        // The port may be in use by who tries to connect in the very moment.
        let Some(open) = listener.take().or_else(|| TcpListener::bind(("127.0.0.1", port)).ok()) else { continue };
        open.set_nonblocking(true).expect("a socket");
        while let Ok((client, _)) = open.accept() {
            client.set_nonblocking(false).expect("a socket");
            join(client, server, shared);
        }
        listener = Some(open);
    }
}

/// Four threads for each connection: a delay delays, and makes nothing narrower.
fn join(client: TcpStream, server: u16, shared: &Arc<Shared>) {
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { return };
    let copy = |socket: &TcpStream| {
        socket.set_nodelay(true).expect("a socket");
        socket.try_clone().expect("a socket")
    };
    {
        let mut state = shared.state.lock();
        state.taken += 1;
        state.sockets.extend([copy(&client), copy(&upstream)]);
    }
    for (direction, from, to) in [(0, copy(&client), copy(&upstream)), (1, upstream, client)] {
        let (send, receive) = channel();
        let shared = shared.clone();
        std::thread::spawn(move || pass_on(&receive, to, direction, &shared));
        std::thread::spawn(move || {
            let mut from = from;
            let mut some = vec![0; 64 * 1024];
            while let Ok(read) = from.read(&mut some) {
                if read == 0 || send.send((Instant::now(), some[..read].to_vec())).is_err() {
                    return;
                }
            }
        });
    }
}

fn pass_on(receive: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, direction: usize, shared: &Shared) {
    while let Ok((came, bytes)) = receive.recv() {
        let mut state = shared.state.lock();
        loop {
            let mood = state.moods[direction];
            if state.over || (!mood.held && Instant::now() >= came + mood.delay) {
                break;
            }
            shared.changed.wait_for(&mut state, Duration::from_millis(5));
        }
        drop(state);
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
