//! `valet simulate provider|idp`.

use super::{End, exit, runtime};
use crate::demo::cli::Simulate;

pub(super) fn simulate(which: Simulate) -> Result<(), End> {
    runtime(0)?
        .block_on(which.run(&mut std::io::stdout()))
        .map_err(|fault| End::new(exit::SOFTWARE, format!("valet: {fault}")))
}
