//! The configurations that people copy: the example in `deploy/` and the one on the README's page must pass `valet check`.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

const EXAMPLE: &str = include_str!("../deploy/valet.toml");
const README: &str = include_str!("../README.md");
/// The two roles, as files to copy and as blocks of their page.
const MINTER: &str = include_str!("../deploy/minter.toml");
const EDGE: &str = include_str!("../deploy/edge.toml");
const PAGE: &str = include_str!("../docs/minter.md");

/// Runs `valet check` on this text, with a file for each secret and certificate that it names.
fn check(config: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for name in secret_files(config) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, "a-value-of-at-least-thirty-two-bytes\n").expect("a file");
    }
    for line in config.lines().filter(|line| line.starts_with("tls = ") || line.starts_with("minter = ")) {
        let named = |key: &str| line.split(&format!(" {key} = \"")).nth(1).and_then(|rest| rest.split('"').next());
        let made = rcgen::generate_simple_self_signed(["app.example.com".to_owned()]).expect("a certificate");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = [
            ("chain", &certificate),
            ("certificate", &certificate),
            ("key", &key),
            ("client_ca", &certificate),
            ("ca", &certificate),
        ];
        for (name, text) in files {
            let Some(name) = named(name) else { continue };
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
    }
    check_in(folder.path(), config)
}

fn check_in(folder: &Path, config: &str) -> Output {
    let path = folder.join("valet.toml");
    std::fs::write(&path, config).expect("a file");
    Command::new(env!("CARGO_BIN_EXE_valet")).arg("check").arg("--config").arg(path).output().expect("valet runs")
}

/// The names in `{ file = "…" }`, comments left out.
fn secret_files(config: &str) -> Vec<&str> {
    let settings = config.lines().filter(|line| !line.starts_with('#'));
    settings.flat_map(|line| line.split("file = \"").skip(1)).filter_map(|rest| rest.split('"').next()).collect()
}

/// The text with each `#key = value` and `#[table]` made a setting. Prose has a space after the `#`.
fn everything_on(config: &str) -> String {
    let is_setting = |rest: &str| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let line = |line: &'_ str| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line).to_owned() + "\n";
    config.lines().map(line).collect()
}

fn assert_good(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_example_configuration_has_no_fault() {
    assert_good(&check(EXAMPLE));
}

#[test]
fn the_example_configuration_has_no_fault_with_every_setting_on() {
    let config = everything_on(EXAMPLE);
    assert!(config.lines().count() > 50 && !config.contains("\n#["));
    assert_good(&check(&config));
}

#[test]
fn the_configuration_on_the_first_page_has_no_fault() {
    let block = README.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    assert_good(&check(block));
}

#[test]
fn the_examples_of_the_two_roles_have_no_fault_nor_with_every_setting_on() {
    for config in [MINTER, EDGE] {
        assert_good(&check(config));
        assert_good(&check(&everything_on(config)));
    }
}

#[test]
fn the_pair_on_the_minters_page_has_no_fault() {
    let blocks: Vec<&str> = PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert_good(&check(block));
    }
}

#[test]
fn a_missing_key_file_is_a_fault_that_names_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = check_in(folder.path(), EXAMPLE);
    assert_eq!(output.status.code(), Some(78));
    let faults = String::from_utf8_lossy(&output.stderr);
    for file in secret_files(EXAMPLE) {
        assert!(faults.lines().any(|line| line.contains(file)), "{file} is not named in:\n{faults}");
    }
}

/// The units, each with the configuration that it runs.
const UNITS: [(&str, &str, &str); 2] = [
    ("valet.toml", EXAMPLE, include_str!("../deploy/valet.service")),
    ("minter.toml", MINTER, include_str!("../deploy/valet-minter.service")),
];

#[test]
fn a_unit_brings_every_file_that_its_configuration_names() {
    for (name, config, unit) in UNITS {
        let credentials: Vec<&str> = unit
            .lines()
            .filter_map(|line| line.strip_prefix("LoadCredential=")?.split_once(':'))
            .map(|(name, path)| {
                assert!(path.ends_with(&format!("/{name}")), "{path}");
                name
            })
            .collect();
        assert!(unit.contains(&format!("ExecStart=/usr/local/bin/valet run --config %d/{name}\n")), "{name}");
        let mut named = secret_files(config);
        let settings = config.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        for key in ["chain", "key", "client_ca", "certificate", "ca"] {
            named.extend(settings.split(&format!(" {key} = \"")).skip(1).filter_map(|rest| rest.split('"').next()));
        }
        for file in named.into_iter().chain([name]) {
            let file = file.rsplit('/').next().unwrap_or(file);
            assert!(credentials.contains(&file), "{name}: no credential {file}");
        }
    }
}

#[test]
fn the_image_has_no_simulators() {
    let build = include_str!("../deploy/Dockerfile").lines().find(|line| line.starts_with("RUN cargo build")).unwrap();
    assert!(build.contains("--no-default-features"), "{build}");
}

#[test]
fn the_image_is_built_from_all_that_the_build_reads() {
    let let_in: Vec<&str> =
        include_str!("../deploy/Dockerfile.dockerignore").lines().filter_map(|line| line.strip_prefix('!')).collect();
    // `Cargo.toml` names the benches one by one.
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", ".cargo", "tools"] {
        assert!(let_in.contains(&needed), "{needed}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(needed).exists(), "{needed}");
    }
}
