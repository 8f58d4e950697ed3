//! `valet simulate provider|idp`: the simulators from the command line.

mod idp;
mod provider;

use std::io::Write;
use std::net::SocketAddr;

use tokio::sync::watch;

pub use self::idp::{IdpArgs, run_idp, run_idp_until};
pub use self::provider::{ProviderArgs, run_provider, run_provider_until};
use super::serve::SimFault;

/// Which simulator.
#[derive(Clone, clap::Subcommand)]
pub enum Simulate {
    /// A simulated vendor, for tests. Not for production
    #[command(long_about = provider::ABOUT)]
    Provider(ProviderArgs),
    /// A simulated identity provider, for tests. Not for production
    #[command(long_about = idp::ABOUT)]
    Idp(IdpArgs),
}

impl Simulate {
    /// Serves until SIGINT or SIGTERM. Dropped: it stops.
    ///
    /// # Errors
    /// The simulator can't be started.
    pub async fn run(self, out: &mut dyn Write) -> Result<(), SimFault> {
        match self {
            Self::Provider(args) => run_provider(args, out).await,
            Self::Idp(args) => run_idp(args, out).await,
        }
    }
}

/// Only machines that were meant to may reach a simulator.
fn allowed(address: SocketAddr, allow_remote: bool) -> Result<(), SimFault> {
    if allow_remote || address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(SimFault::NotLoopback(address)) }
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), SimFault> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|fault| SimFault::Output(fault.kind()))
}

/// A receiver that says `true` at the first SIGINT or SIGTERM; a second one ends the process as usual only if nobody listens, so it does nothing.
fn until_signal() -> Result<watch::Receiver<bool>, SimFault> {
    use tokio::signal::unix::{SignalKind, signal};
    let set = |kind| signal(kind).map_err(|fault| SimFault::Signals(fault.kind()));
    let (mut interrupt, mut terminate) = (set(SignalKind::interrupt())?, set(SignalKind::terminate())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}

#[cfg(test)]
mod tests;
