//! `valet policy`.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::{ConfigFile, End, exit, load, say};
use crate::clock::Clock;
use crate::config::{self, PolicyDirectory};

/// Where policies are where nobody says it.
const DIRECTORY: &str = "policies";

/// What is done with a directory of policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run the cases of a directory of policies. The last line says how many passed and failed; the exit code is 0, 1 where one fails, 78 where the files
    /// are wrong.
    Test {
        /// The directory; else that of the configuration, else `policies`.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// The configuration that the policies are for: a case about a plug-in or app that it does not have is a fault.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the Cedar schema that policies are checked against, for editors, with the claims that the directory's claims.toml declares.
    Schema {
        /// The directory; else `policies`.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

pub(super) fn policy(command: PolicyCommand) -> Result<(), End> {
    match command {
        PolicyCommand::Test { directory, config } => test(directory, config),
        PolicyCommand::Schema { directory } => {
            let directory = directory.unwrap_or_else(|| DIRECTORY.into());
            let schema = config::policy_schema(&directory).map_err(|faults| End::config(&faults))?;
            say(schema.trim_end());
            Ok(())
        }
    }
}

fn test(directory: Option<PathBuf>, config: Option<PathBuf>) -> Result<(), End> {
    let config = config.map(|config| load(&ConfigFile { config })).transpose()?;
    let configured =
        config.as_ref().and_then(|config| Some(config.directory.join(&config.policies.as_ref()?.directory)));
    let directory = match (directory, configured, &config) {
        (Some(directory), ..) | (None, Some(directory), _) => directory,
        (None, None, None) => DIRECTORY.into(),
        (None, None, Some(_)) => {
            return Err(End::new(
                exit::CONFIG,
                "valet: the configuration has no [policies]: name a directory by --directory",
            ));
        }
    };
    let inventory = config.as_ref().map(config::inventory);
    let read = config::policy_directory(&directory, inventory.as_ref()).map_err(|faults| End::config(&faults))?;
    let PolicyDirectory { policies, cases, warnings, .. } = read;
    for warning in warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    let now = Clock::system().now();
    let mut failed = 0;
    for (file, case) in &cases {
        if let Err(why) = case.run(&policies, inventory.as_ref(), now) {
            failed += 1;
            say(&format!("FAILED   {file}: {:?}: {why}", case.name));
        }
    }
    say(&format!("{} passed, {failed} failed", cases.len() - failed));
    if failed == 0 { Ok(()) } else { Err(End { code: exit::REFUSED, lines: Vec::new() }) }
}
