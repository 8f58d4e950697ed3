//! The tasks that look after parts: each lives as long as its part is in force, and goes on where the next configuration has the same part.

use std::pin::Pin;

use tokio::sync::watch;

/// A task that ends when its receiver turns true.
type Start = Box<dyn FnOnce(watch::Receiver<bool>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A part, told apart by the place where it lies, and how it is looked after.
pub(super) struct Wanted {
    part: usize,
    start: Start,
}

impl Wanted {
    /// `part`: an address in memory that no other part has while this one lives.
    pub fn new<F>(part: usize, start: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { part, start: Box::new(move |stop| Box::pin(start(stop))) }
    }
}

/// The tasks that run.
#[derive(Default)]
pub(super) struct Tasks(Vec<(usize, watch::Sender<bool>)>);

impl Tasks {
    /// Starts what does not run yet, and ends what is wanted no more. Must be called while the parts before still live.
    pub fn follow(&mut self, wanted: Vec<Wanted>) {
        let mut before = std::mem::take(&mut self.0);
        for Wanted { part, start } in wanted {
            let runs = before.iter().position(|(running, _)| *running == part);
            let stop = match runs {
                Some(at) => before.swap_remove(at).1,
                None => {
                    let (stop, stopped) = watch::channel(false);
                    tokio::spawn(start(stopped));
                    stop
                }
            };
            self.0.push((part, stop));
        }
        for (_, stop) in before {
            stop.send_replace(true);
        }
    }

    /// Ends all.
    pub fn stop(&mut self) {
        for (_, stop) in self.0.drain(..) {
            stop.send_replace(true);
        }
    }
}
