//! Who may look at whom, who may use which package, how long a file may be.

use super::rust::{Named, code_only, paths, production_lines, without_tests};

/// The modules from the top down. Each looks only at what stands below it.
const ORDER: [&str; 20] = [
    "main",
    "lib",
    "cli",
    "server",
    "config",
    "admin",
    "demo",
    "gateway",
    "minter",
    "problem",
    "policy",
    "app",
    "revocation",
    "lease",
    "limit",
    "provider",
    "assertion",
    "session",
    "otlp",
    "http_client",
];

/// Every module may use them, and they may use one another.
const LEAVES: [&str; 10] =
    ["logging", "telemetry", "secret", "clock", "certificate", "files", "units", "meant", "setting", "web"];

/// The simulators stand in for other companies' systems: they share nothing with the gateway that they test but the leaves.
const DEMO: &str = "demo";

/// The one part of the demo that runs the gateway as a whole, or an edge and a minter, as an operator would: through the configuration and
/// the server. The demo's app is no simulator: it calls others with the one outgoing client, as the gateway does; what tells others of a
/// sign-out does too.
const DEMO_LOOKS: [(&str, &[&str]); 4] = [
    ("src/demo/stack.rs", &["server", "config", "http_client"]),
    ("src/demo/stack/", &["server", "config"]),
    ("src/demo/app/", &["http_client"]),
    ("src/demo/idp/transmitter.rs", &["http_client"]),
];

/// A package, or a part of `std`, and the places below `src/` that may use it.
const DOORS: [(&str, &[&str]); 13] = [
    ("pingora", &["server", "gateway", "app", "admin"]),
    ("dashmap", &["lease", "session"]),
    // `provider/jwt` signs what is asked of a vendor without a call, and an OAuth2 client's own word; it verifies nothing.
    ("jsonwebtoken", &["session", "provider/jwt", "provider/grant", "demo"]),
    ("cedar_policy", &["policy"]),
    ("opentelemetry_proto", &["otlp"]),
    ("prost", &["gateway/ext_authz", "otlp"]),
    ("miette", &["policy"]),
    ("redis", &["lease/store"]),
    ("redb", &["lease/store/file"]),
    ("hyper", &["http_client", "minter", "admin", "demo"]),
    ("std::fs", &["config", "secret", "lease/store/file", "files"]),
    ("tokio::fs", &["config", "secret", "lease/store/file", "files"]),
    ("std::env", &["main", "config", "secret", "cli/demo", "cli/successor"]),
];

/// Lines of a file, its test modules left out.
const LINES: usize = 400;

/// The place of a file: `src/lease/book.rs` is `lease/book`, `src/lease/mod.rs` is `lease`.
fn place(path: &str) -> &str {
    let place = path.strip_prefix("src/").unwrap_or(path);
    let place = place.strip_suffix(".rs").unwrap_or(place);
    place.strip_suffix("/mod").unwrap_or(place)
}

fn module(path: &str) -> &str {
    place(path).split('/').next().unwrap_or_default()
}

/// A file that is a test module as a whole.
fn is_test(path: &str) -> bool {
    place(path).split('/').skip(1).any(|part| part == "tests")
}

fn production_paths(path: &str, text: &str) -> Vec<Named> {
    if is_test(path) { Vec::new() } else { paths(&code_only(&without_tests(text))) }
}

/// Names of other modules that stand above the file's own, or that the layout does not know.
pub fn upward_looks(path: &str, text: &str) -> Vec<String> {
    let own = module(path);
    if rank(own).is_none() {
        return vec![format!("{path}: the module `{own}` has no place in the layout (ORDER in tests/tidy/layout.rs)")];
    }
    if ["main", "lib"].contains(&own) {
        return Vec::new(); // Nothing is above them.
    }
    let depth = place(path).split('/').count();
    let mut faults = Vec::new();
    for named in production_paths(path, text) {
        let Some(target) = module_named(&named.segments, depth) else { continue };
        if rank(target).is_none() {
            faults
                .push(format!("{path}:{}: `{target}` is an item of `lib`, or has no place in the layout", named.line));
        } else if target != own && !may_look(path, own, target) {
            faults.push(format!("{path}:{}: `{own}` looks upwards, at `{target}`", named.line));
        }
    }
    faults
}

/// What a path names at the crate's root, if it starts there: a top-level module, or an item of `lib.rs`.
fn module_named(segments: &[String], depth: usize) -> Option<&str> {
    let up = segments.iter().take_while(|segment| *segment == "super").count();
    let below_root = match segments.first()?.as_str() {
        "crate" | "valet_gateway" => &segments[1..],
        "super" if up >= depth => &segments[up..],
        _ => return None,
    };
    below_root.first().map(String::as_str)
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module).or_else(|| LEAVES.contains(&module).then_some(ORDER.len()))
}

fn may_look(path: &str, own: &str, target: &str) -> bool {
    if LEAVES.contains(&target) {
        return true;
    }
    if own == DEMO {
        return DEMO_LOOKS.iter().any(|(place, targets)| path.starts_with(place) && targets.contains(&target));
    }
    rank(own) < rank(target)
}

/// Uses of a package in a place that is not its door.
pub fn packages_outside_their_door(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for named in production_paths(path, text) {
        for (package, doors) in DOORS {
            if names(&named.segments, package) && !doors.iter().any(|door| is_behind(path, door)) {
                faults.push(format!("{path}:{}: `{package}` is used outside {}", named.line, doors.join(", ")));
            }
        }
    }
    faults
}

/// Whether a path goes into the package or into one of its family: `pingora_core` and `hyper_util` count as `pingora` and `hyper`.
fn names(segments: &[String], package: &str) -> bool {
    let mut wanted = package.split("::");
    let family = wanted.next().unwrap_or_default();
    let first = segments.first().map(String::as_str).unwrap_or_default();
    let same = first == family || first.strip_prefix(family).is_some_and(|rest| rest.starts_with('_'));
    same && wanted.eq(segments.iter().skip(1).map(String::as_str).take(package.matches("::").count()))
}

fn is_behind(path: &str, door: &str) -> bool {
    place(path).strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A file with more lines than one can keep in mind.
pub fn too_long(path: &str, text: &str) -> Vec<String> {
    let lines = production_lines(text);
    if is_test(path) || lines <= LINES {
        return Vec::new();
    }
    vec![format!("{path}: {lines} lines of production code, at most {LINES}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_down_is_allowed_and_looking_up_is_not() {
        assert!(upward_looks("src/gateway/decide.rs", "use crate::lease::Book;").is_empty());
        assert!(upward_looks("src/config/mod.rs", "use crate::gateway::settings::PluginSettings;").is_empty());
        assert_eq!(
            upward_looks("src/lease/book.rs", "\nuse crate::gateway::Front;"),
            ["src/lease/book.rs:2: `lease` looks upwards, at `gateway`"]
        );
    }

    #[test]
    fn an_upward_look_hides_nowhere() {
        for code in [
            "use crate::{clock::Clock, gateway::Front};",
            "fn f() -> crate::gateway::Front { front() }",
            "use super::super::gateway::Front;",
            "use super::super::{clock, gateway};",
            "use valet_gateway::gateway::Front;",
            "use crate::VERSION;",
            "use crate::*;",
        ] {
            assert_eq!(upward_looks("src/lease/book.rs", code).len(), 1, "{code}");
        }
    }

    #[test]
    fn the_program_may_look_at_everything() {
        assert!(upward_looks("src/main.rs", "use valet_gateway::{VERSION, server};").is_empty());
    }

    #[test]
    fn what_stays_inside_the_module_is_no_upward_look() {
        for code in [
            "use super::settings::Reuse;",
            "use super::gateway;",
            "use crate::lease::key::Key;",
            "// use crate::gateway::Front;",
            "const A: &str = \"crate::gateway\";",
            "#[cfg(test)]\nmod tests {\n    use crate::gateway::Front;\n}",
        ] {
            assert!(upward_looks("src/lease/book.rs", code).is_empty(), "{code}");
        }
        assert!(upward_looks("src/lease/tests.rs", "use crate::gateway::Front;").is_empty());
    }

    #[test]
    fn leaves_are_for_everyone_and_look_at_no_one_else() {
        assert!(upward_looks("src/session/mod.rs", "use crate::telemetry::Metrics;").is_empty());
        assert!(upward_looks("src/secret.rs", "use crate::files::Watch;").is_empty());
        assert_eq!(upward_looks("src/secret.rs", "use crate::session::Session;").len(), 1);
        assert_eq!(upward_looks("src/clock.rs", "use super::session::Session;").len(), 1);
    }

    #[test]
    fn a_module_without_a_place_is_named() {
        assert_eq!(upward_looks("src/misc/helpers.rs", "").len(), 1);
    }

    #[test]
    fn simulators_use_leaves_and_only_the_whole_demo_runs_the_gateway() {
        assert!(upward_looks("src/demo/vendor.rs", "use crate::clock::Clock; use crate::demo::page;").is_empty());
        assert_eq!(upward_looks("src/demo/vendor.rs", "use crate::provider::PluginUrl;").len(), 1);
        assert_eq!(upward_looks("src/demo/vendor.rs", "use crate::server::run;").len(), 1);
        assert!(upward_looks("src/demo/stack.rs", "use crate::{config, server};").is_empty());
        assert_eq!(upward_looks("src/demo/stack.rs", "use crate::session::Session;").len(), 1);
        assert!(upward_looks("src/demo/stack/minter.rs", "use crate::{config, server};").is_empty());
        assert_eq!(upward_looks("src/demo/stack/minter.rs", "use crate::minter::Desk;").len(), 1);
        assert_eq!(upward_looks("src/demo/backstage.rs", "use crate::http_client::Client;").len(), 1);
        assert!(upward_looks("src/demo/app/mod.rs", "use crate::http_client::Client;").is_empty());
        assert_eq!(upward_looks("src/demo/idp/mod.rs", "use crate::http_client::Client;").len(), 1);
    }

    #[test]
    fn a_package_outside_its_door_is_named() {
        assert_eq!(
            packages_outside_their_door("src/provider/client.rs", "use hyper_util::client::legacy::Client;"),
            ["src/provider/client.rs:1: `hyper` is used outside http_client, minter, admin, demo"]
        );
        for (path, code) in [
            ("src/lease/book.rs", "fn f(s: pingora_core::Session) {}"),
            ("src/gateway/decide.rs", "use dashmap::DashMap;"),
            ("src/gateway/decide.rs", "use jsonwebtoken as jwt;"),
            ("src/session/keys.rs", "use std::{fs, io};"),
            ("src/lease/book.rs", "use tokio::fs::File;"),
            ("src/lease/filed.rs", "use std::fs::File;"),
            ("src/server.rs", "let home = std::env::var(name);"),
        ] {
            assert_eq!(packages_outside_their_door(path, code).len(), 1, "{path}: {code}");
        }
    }

    #[test]
    fn a_package_behind_its_door_is_in_order() {
        for (path, code) in [
            ("src/http_client.rs", "use hyper::Request;"),
            ("src/admin/mod.rs", "use pingora::apps::ServerApp;"),
            ("src/lease/store/file/open.rs", "use std::fs::File;"),
            ("src/lease/store/file/open.rs", "use std::fs::File;"),
            ("src/gateway/decide.rs", "use std::io; use hyperloop::fs; use std::time::Duration;"),
            ("src/gateway/decide.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
        ] {
            assert!(packages_outside_their_door(path, code).is_empty(), "{path}: {code}");
        }
    }

    #[test]
    fn four_hundred_lines_fit_and_one_more_does_not() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // more\n".repeat(500));
        let fits = "fn f() {}\n".repeat(LINES) + &tests;
        assert!(too_long("src/a.rs", &fits).is_empty());
        let over = "fn f() {}\n".repeat(LINES + 1) + &tests;
        assert_eq!(too_long("src/a.rs", &over), ["src/a.rs: 401 lines of production code, at most 400"]);
    }

    #[test]
    fn lines_after_a_test_module_count() {
        let text = "#[cfg(test)]\nmod tests {\n}\n".to_owned() + &"fn f() {}\n".repeat(LINES + 1);
        assert_eq!(too_long("src/a.rs", &text).len(), 1);
    }
}
