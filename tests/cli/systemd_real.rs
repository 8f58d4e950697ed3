//! A unit of systemd's own service manager, of one user, in namespaces of its own: what it makes of a reload, of an upgrade and of a death. By the machine's
//! systemd, and by one that knows `Type=notify-reload`. Wants root.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::client::once;
use super::process::{VALET, there_is, until};
use super::stack::{Folder, Idp, KEY, Vendor, bearer};

/// The manager, and a shell beside it. Both end with this, and the unit with them.
struct Manager {
    shell: Child,
    commands: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        // By `--kill-child` the first process of the namespace ends with it, and all others with that one.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The end of a command's output, and its exit code.
const END: &str = "end-of-the-command ";

/// Namespaces of its own.
const OWN: [&str; 8] = ["--pid", "--fork", "--mount", "--cgroup", "--ipc", "--uts", "--mount-proc", "--kill-child"];

/// Whether a manager can run here; if not, a line on the terminal says so.
fn possible() -> bool {
    let possible = there_is("systemctl")
        && there_is("unshare")
        && Command::new("unshare").args(OWN).arg("true").status().is_ok_and(|end| end.success());
    if !possible {
        eprintln!("left out: the real systemd (it takes systemd, unshare and root)");
    }
    possible
}

/// The folder of programs of a systemd that knows `Type=notify-reload`, if it can be had.
fn newer() -> Option<String> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/systemd");
    let told = Command::new(tool).stderr(Stdio::inherit()).output().expect("the tool runs");
    if told.status.success() {
        return Some(String::from_utf8(told.stdout).expect("a path").trim().to_owned());
    }
    assert!(std::env::var_os("CI").is_none(), "CI tries notify-reload");
    None
}

impl Manager {
    /// By the programs in this folder, or the machine's.
    fn start(folder: &Folder, programs: Option<&str>) -> Self {
        let mut shell = Command::new("unshare");
        let shell = shell.args(OWN).arg("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("unshare runs");
        let (commands, lines) = (shell.stdin.take().expect("piped"), shell.stdout.take().expect("piped"));
        let mut manager = Self { shell, commands, lines: BufReader::new(lines) };
        let path = folder.path().display();
        manager.run("mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && mkdir -m 700 /run/user");
        manager.run(&format!("export XDG_RUNTIME_DIR=/run/user SYSTEMD_UNIT_PATH={path}/units"));
        if let Some(programs) = programs {
            manager.run(&format!("export PATH={programs}:$PATH"));
        }
        manager.run("$(command -v systemd || echo /lib/systemd/systemd) --user --unit=basic.target >/dev/null 2>&1 &");
        until("the manager answers", || {
            (manager.try_run("systemctl --user is-active basic.target").1 == 0).then_some(())
        });
        manager
    }

    fn try_run(&mut self, command: &str) -> (String, i32) {
        writeln!(self.commands, "{command}\necho \"{END}$?\"").expect("the shell listens");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("a line") > 0, "the shell has ended");
            match line.strip_prefix(END) {
                Some(code) => return (said, code.trim().parse().expect("a code")),
                None => said.push_str(&line),
            }
        }
    }

    #[track_caller]
    fn run(&mut self, command: &str) -> String {
        let (said, code) = self.try_run(command);
        assert_eq!(code, 0, "{command}: {said}");
        said
    }

    fn shows(&mut self, property: &str) -> String {
        self.run(&format!("systemctl --user show --value --property={property} valet.service")).trim().to_owned()
    }

    /// Until the unit runs with another main process than this.
    fn until_other_than(&mut self, process: &str) -> String {
        until("another main process runs", || {
            let other = self.shows("MainPID");
            (other != process && other != "0" && self.shows("SubState") == "running").then_some(other)
        })
    }
}

/// `Type=notify-reload` is systemd 253's.
fn unit(folder: &Folder, version: u32) -> String {
    let reload = match version >= 253 {
        true => "Type=notify-reload",
        false => "Type=notify\nExecReload=kill -HUP $MAINPID",
    };
    let at = folder.path().display();
    format!(
        "[Service]\n{reload}\nWatchdogSec=2s\nRestart=on-failure\nRestartSec=100ms\nExecStart={VALET} run --config {at}/valet.toml\n\
         StandardError=append:{at}/log\n"
    )
}

/// The values of this field in the log's lines with this message, in order.
fn logged(folder: &Folder, message: &str, field: &str) -> Vec<String> {
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).map(|line| line[field].as_str().unwrap_or("").to_owned()).collect()
}

/// The unit runs, and the version of the manager that runs it.
fn begin(folder: &Folder, programs: Option<&str>) -> (Manager, u32) {
    folder.write("units/basic.target", "[Unit]\n");
    let mut manager = Manager::start(folder, programs);
    let version = manager.run("systemctl --user show --value --property=Version");
    let version = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok());
    let version = version.expect("a version");
    folder.write("units/valet.service", &unit(folder, version));
    manager.run("systemctl --user daemon-reload && systemctl --user start valet.service");
    (manager, version)
}

fn status(address: &str, path: &str, token: &str) -> u16 {
    once(address, "GET", path, &[&bearer(token)], "").status
}

/// A reload, an upgrade, a death and a stop.
fn follow(programs: Option<&str>) {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    let socket =
        |config: String| config.replace("drain = \"30s\"", "drain = \"30s\"\nupgrade_socket = \"upgrade.sock\"");
    folder.configure(&vendor.url, &idp.url, KEY, socket);
    let (mut manager, version) = begin(&folder, programs);
    assert!(programs.is_none() || version >= 253, "{version}");
    let address = logged(&folder, "serving", "address").remove(0);
    let ada = idp.token("ada");
    let open = || once(&address, "GET", "/plugins/face-scan", &[&bearer(&ada)], "").location().to_owned();
    let url = open();

    let text = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    folder.replace("valet.toml", &text.replace("timeout = \"20s\"", "timeout = \"19s\""));
    let first = manager.shows("MainPID");
    manager.run("systemctl --user reload valet.service");
    until("the unit runs again", || (manager.shows("SubState") == "running").then_some(()));
    until("it is in force", || {
        (logged(&folder, "read again: the new configuration is in force", "changed") == ["provider.simulated"])
            .then_some(())
    });
    assert_eq!(manager.shows("MainPID"), first);

    manager.run("systemctl --user kill --kill-who=main --signal=USR2 valet.service");
    let second = manager.until_other_than(&first);
    until("the first one has ended", || (logged(&folder, "stopped", "message").len() == 1).then_some(()));
    assert_eq!(open(), url, "the lease went over");
    let fed = |manager: &mut Manager| manager.shows("WatchdogTimestampMonotonic");
    for _ in 0..3 {
        let before = fed(&mut manager);
        until("the second one feeds the watchdog", || (fed(&mut manager) != before).then_some(()));
    }
    assert_eq!((manager.shows("MainPID"), manager.shows("NRestarts").as_str()), (second.clone(), "0"));

    manager.run("systemctl --user kill --kill-who=main --signal=KILL valet.service");
    let third = manager.until_other_than(&second);
    assert_eq!(manager.shows("NRestarts"), "1", "the death of a process that took over is seen");
    manager.run("systemctl --user stop valet.service");
    assert_eq!(
        (manager.shows("Result").as_str(), manager.shows("ExecMainStatus").as_str()),
        ("success", "0"),
        "{third}"
    );
}

#[test]
fn systemd_itself_follows_a_reload_an_upgrade_and_a_death() {
    if possible() {
        follow(None);
    }
}

#[test]
fn a_systemd_that_knows_notify_reload_follows_a_reload_an_upgrade_and_a_death() {
    if let Some(programs) = possible().then(newer).flatten() {
        follow(Some(&programs));
    }
}

/// Nothing is waited for behind `systemctl reload` here: `Type=notify-reload` waits for the `READY=1` behind it.
#[test]
fn by_notify_reload_systemctl_reload_returns_when_the_new_configuration_is_in_force_or_refused() {
    let Some(programs) = possible().then(newer).flatten() else { return };
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    folder.configure(&vendor.url, &idp.url, KEY, |config| config);
    let (mut manager, _) = begin(&folder, Some(&programs));
    assert_eq!(manager.shows("Type"), "notify-reload");
    let process = manager.shows("MainPID");
    let address = logged(&folder, "serving", "address").remove(0);
    let ada = idp.token("ada");
    let text = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    let moved_to = |place: &str| text.replace("\"/plugins/face-scan\"", &format!("\"/plugins/{place}\""));
    for place in ["first", "second", "third"] {
        folder.replace("valet.toml", &moved_to(place));
        manager.run("systemctl --user reload valet.service");
        assert_eq!(status(&address, &format!("/plugins/{place}"), &ada), 302);
        assert_eq!(status(&address, "/plugins/face-scan", &ada), 404);
        assert_eq!(manager.shows("SubState"), "running");
    }
    folder.replace("valet.toml", &moved_to("fourth").replace("[server]", "[sever]"));
    manager.run("systemctl --user reload valet.service");
    assert_eq!((status(&address, "/plugins/third", &ada), status(&address, "/plugins/fourth", &ada)), (302, 404));
    assert_eq!((manager.shows("SubState"), manager.shows("MainPID")), ("running".to_owned(), process));
}
