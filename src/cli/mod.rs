//! The command line: start-up as a story.

mod check;
#[cfg(feature = "simulators")]
mod demo;
mod diff;
mod doctor;
mod explain;
mod explain_request;
mod fortify;
mod notify;
mod open;
mod policy;
mod recipe;
mod run;
#[cfg(feature = "simulators")]
mod simulate;
mod successor;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Fault};
#[cfg(feature = "simulators")]
use crate::demo::cli::Simulate;
use crate::gateway::Asked;

/// The exit codes of sysexits.h that we use.
mod exit {
    /// The token that is to be explained opens no session, or a case of the policies fails.
    pub const REFUSED: u8 = 1;
    /// A service that is needed can't be had.
    pub const UNAVAILABLE: u8 = 69;
    /// It can't serve: an address in use, no runtime.
    pub const SOFTWARE: u8 = 70;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// The name of the hidden command.
#[cfg(feature = "simulators")]
const MINTER: &str = "demo-minter";

/// Version and revision.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("VALET_REVISION"), ")");

/// A session gateway: checks each session's JWT, holds one vendor plug-in URL per user, and redirects the browser to a fresh one.
#[derive(Parser)]
#[command(name = "valet", version = VERSION, arg_required_else_help = true)]
#[cfg_attr(
    not(feature = "simulators"),
    command(after_help = "Built without `valet demo` and `valet simulate`: the feature `simulators`.")
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGQUIT, which drain; SIGHUP reads configuration, policies, keys and secrets again; SIGUSR2 starts the program that is on
    /// disk now, which takes over.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Take over from the process that listens at server.upgrade_socket: its listeners, leases and revocations. It goes on until this one can
        /// serve, and also if this one fails; then it drains and ends. Without such a process: a warning, and a start as usual.
        #[arg(long)]
        upgrade: bool,
    },
    /// Read configuration, keys and secrets, and print every fault. Touches no network without --live.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Also fetch the issuers' keys and mint once per plug-in or mint for a canary subject, or at an edge ask its minters; prints the remaining life, never the URL.
        #[arg(long)]
        live: bool,
    },
    /// Tell what a second configuration says otherwise than a first: routes, issuers, plug-ins, vendors, and what needs a new process.
    Diff {
        /// The configuration that is in force.
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The one that is to be.
        #[arg(value_name = "NEW")]
        new: PathBuf,
    },
    /// Mint once and print the URL, for a first try. Needs a terminal: the URL is a secret.
    Open(OpenArguments),
    /// Tell each step's verdict on a token: path, issuer, key, claims. Reads the token from stdin and prints neither it nor a secret. With
    /// `--request`: what a running gateway remembers of one of its last refusals and mints.
    Explain {
        #[command(flatten)]
        config: ConfigFile,
        /// The path of the request, such as /plugins/face-scan; or the whole address, where the plug-in has a host of its own.
        #[arg(required_unless_present = "request")]
        path: Option<String>,
        /// The id of a request that was refused, or that began a mint, as `x-request-id` has it: told by the process at admin.address.
        #[arg(long, value_name = "ID", conflicts_with_all = ["path", "address"])]
        request: Option<String>,
        /// The request's method, for the policies.
        #[arg(long, default_value = "GET")]
        method: String,
        /// The address that the request comes from, for policies that ask for it.
        #[arg(long, value_name = "IP")]
        address: Option<std::net::IpAddr>,
    },
    /// Ask the gateway through the proxy before it, and say what is lost on the way: host, scheme, cookies, addresses.
    Doctor(DoctorArguments),
    /// Recipes: try one against the vendor.
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    /// Policies: run their cases, print their schema.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    #[cfg(feature = "simulators")]
    /// The gateway, an app behind it, a vendor and an identity provider on loopback, in one process or in two (--split). Prints the
    /// address of a page to look at, and opens it where a desktop is.
    Demo {
        /// The gateway's port on 127.0.0.1, which the browser opens; app, plug-in, identity provider and vendor take the four behind
        /// it. 0: any free ones.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Don't open a browser.
        #[arg(long)]
        no_open: bool,
        /// In two processes: the one that the browser talks to (the edge, with the app and the identity provider) has no API key and
        /// asks the other, the minter, over HTTP/2 with mutual TLS. The vendor is in the minter's process, for it knows the key too.
        #[arg(long)]
        split: bool,
    },
    #[cfg(feature = "simulators")]
    /// The second process of `valet demo --split`, which starts it.
    #[command(name = MINTER, hide = true)]
    DemoMinter,
    #[cfg(feature = "simulators")]
    /// The vendor or the identity provider alone, for your own tests. Not for production.
    #[command(subcommand)]
    Simulate(Simulate),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file (TOML); `-` is standard input, whose relative paths start in the working directory.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    /// The address by which clients reach the proxy, such as `https://app.example.com`.
    #[arg(long, value_name = "URL")]
    from: String,
    /// A file with the authorities (PEM) that the proxy's certificate is signed by, in place of the machine's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct OpenArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The plug-in's name.
    #[arg(long, value_name = "NAME")]
    plugin: String,
    /// The name under which the vendor knows the user: what `external_id` gives.
    #[arg(long, value_name = "ID")]
    subject: String,
    /// One of the plug-in's languages.
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    /// A claim that the recipe asks for, as NAME=VALUE.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// One of the plug-in's parameters, as NAME=VALUE.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
}

/// Does what the command line says.
pub fn run(arguments: Arguments) -> ExitCode {
    // Before any library picks another one: there is one crypto library in this process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match arguments.command {
        Command::Run { config, upgrade } => run::run(&config, upgrade),
        Command::Check { config, live } => check::check(&config, live),
        Command::Diff { old, new } => diff::diff(&old, &new),
        Command::Open(arguments) => open::open(&arguments),
        Command::Explain { config, request: Some(id), .. } => explain_request::explain(&config, &id),
        Command::Explain { config, path, method, address, request: None } => {
            explain::explain(&config, path.as_deref().unwrap_or_default(), &Asked { method, address })
        }
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Recipe(command) => recipe::recipe(&command),
        Command::Policy(command) => policy::policy(command),
        #[cfg(feature = "simulators")]
        Command::Demo { port, no_open, split } => demo::demo(port, !no_open, split),
        #[cfg(feature = "simulators")]
        Command::DemoMinter => demo::minter(),
        #[cfg(feature = "simulators")]
        Command::Simulate(which) => simulate::simulate(which),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(End { code, lines }) => {
            let mut stderr = std::io::stderr().lock();
            for line in lines {
                // If stderr is gone there is nobody to tell.
                let _ = writeln!(stderr, "{line}");
            }
            ExitCode::from(code)
        }
    }
}

/// An end that is no success: an exit code, and lines for the operator.
struct End {
    code: u8,
    lines: Vec<String>,
}

impl End {
    fn new(code: u8, line: impl Into<String>) -> Self {
        Self { code, lines: vec![line.into()] }
    }

    fn config(faults: &[Fault]) -> Self {
        Self { code: exit::CONFIG, lines: faults.iter().map(ToString::to_string).collect() }
    }
}

fn load(file: &ConfigFile) -> Result<Config, End> {
    let config = config::load(&file.config).map_err(|faults| End::config(&faults))?;
    for warning in &config.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(config)
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, End> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().map_err(|fault| End::new(exit::SOFTWARE, format!("valet: no runtime: {fault}")))
}

/// A line on stdout, for a person or a script.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
