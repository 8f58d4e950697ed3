//! A one-shot shutdown signal that every connection watches for as long as it lives.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;

/// The wait of one connection. It stays registered from its first poll on, so that each next one costs a look at a number.
pub(in crate::gateway) struct ShutdownSignal<'c> {
    watch: watch::Receiver<bool>,
    wait: Pin<&'c mut (dyn Future<Output = ()> + Send)>,
    begun: bool,
    given: bool,
}

impl<'c> ShutdownSignal<'c> {
    /// `wait` waits for `watch`, and may wait for more behind it. Polled by one task alone: the one that is woken.
    pub fn new(watch: &watch::Receiver<bool>, wait: Pin<&'c mut (dyn Future<Output = ()> + Send)>) -> Self {
        Self { watch: watch.clone(), wait, begun: false, given: false }
    }

    /// Whether it was given.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What was sent since stays unseen by this receiver: from then on each poll is one of the wait.
        if self.begun && !self.given && matches!(self.watch.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        self.begun = true;
        self.given = self.given || self.wait.as_mut().poll(cx).is_ready();
        if self.given { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends when it is given.
    pub async fn received(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_waited_for_across_polls_and_stays_given() {
        let (sender, watch) = watch::channel(false);
        let mut there = watch.clone();
        let wait = std::pin::pin!(async move {
            let _ = there.wait_for(|given| *given).await;
        });
        let mut sign = ShutdownSignal::new(&watch, wait);
        for _ in 0..3 {
            tokio::select! {
                biased;
                () = sign.received() => panic!("nobody gave it"),
                () = tokio::task::yield_now() => {}
            }
        }
        // Another word before it takes the registration away, and it comes back.
        sender.send_replace(false);
        tokio::select! {
            biased;
            () = sign.received() => panic!("nobody gave it"),
            () = tokio::task::yield_now() => {}
        }
        let give = async {
            tokio::task::yield_now().await;
            sender.send_replace(true);
        };
        tokio::join!(sign.received(), give);
        sign.received().await;
    }
}
