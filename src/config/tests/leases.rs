//! The store behind the memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// Faults; the folder is written `DIR`.
fn judge(leases: &str) -> Vec<String> {
    let folder = folder();
    std::fs::write(folder.path().join("secrets/seal.key"), STANDARD.encode([7; 32]) + "\n").unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let shown = folder.path().display().to_string();
    let text = format!("{GOOD}[leases]\n{leases}\n");
    let faults = Config::parse(&text, "valet.toml", folder.path()).err().unwrap_or_default();
    faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message).replace(&shown, "DIR")).collect()
}

const SEALED: &str = "seal_keys = [{ file = \"secrets/seal.key\" }]";

fn redis(lines: &str) -> String {
    format!("store = \"redis\"\n{SEALED}\n[leases.redis]\n{lines}")
}

#[test]
fn each_kind_of_store_loads() {
    for leases in [
        "store = \"memory\"".into(),
        format!("store = \"file\"\n{SEALED}\npath = \"data/leases.redb\"\non_store_loss = \"refuse\""),
        redis("urls = \"redis://127.0.0.1:6379/0\""),
        redis("urls = [\"rediss://a.internal:6380\", \"rediss://b.internal:6380\"]\nca = \"ca.pem\""),
        redis(
            "urls = [\"redis://s:26379\"]\nsentinel_master = \"main\"\nusername = \"valet\"\npassword = { file = \"secrets/log.key\" }",
        ),
        redis("urls = [\"redis://r:6379\"]\nprefix = \"shop:\"\ntimeout = \"100ms\""),
    ] {
        assert_eq!(judge(&leases), [""; 0], "{leases}");
    }
}

#[test]
fn what_a_store_needs_and_has_not_is_named() {
    for (leases, fault) in [
        (
            "store = \"redis\"".into(),
            "leases.seal_keys: at least one key is required: what leaves the process is sealed",
        ),
        (format!("store = \"redis\"\n{SEALED}"), "leases.redis: is required with store = \"redis\""),
        (format!("store = \"file\"\n{SEALED}"), "leases.path: is required with store = \"file\""),
        (
            format!("store = \"file\"\n{SEALED}\npath = \"none/leases.redb\""),
            "leases.path: DIR/none/leases.redb: there is no such folder",
        ),
        (
            format!("store = \"memory\"\n{SEALED}"),
            "leases.seal_keys: has a meaning with store = \"redis\" or \"file\" only",
        ),
        (
            format!("store = \"redis\"\n{SEALED}\npath = \"x\"\n[leases.redis]\nurls = \"redis://r:1\""),
            "leases.path: has a meaning with store = \"file\" only",
        ),
        (
            "store = \"redis\"\nseal_keys = [{ file = \"secrets/log.key\" }]\n[leases.redis]\nurls = \"redis://r:1\""
                .into(),
            "leases.seal_keys: expected 32 random bytes in base64, such as `openssl rand -base64 32` prints",
        ),
        (redis("urls = []"), "leases.redis.urls: at least one address is required"),
        (
            redis("urls = \"http://r:6379\""),
            "leases.redis.urls: expected an address such as \"redis://127.0.0.1:6379/0\" or \"rediss://redis.internal:6380\"",
        ),
        (
            redis("urls = \"redis://user:canary@r:6379\""),
            "leases.redis.urls: an address holds no user name or password: give them as `username` and `password`",
        ),
        (
            redis("urls = [\"redis://r:1\", \"redis://r:1\"]"),
            "leases.redis.urls: this address stands in the list already (line 27)",
        ),
        (
            redis("urls = \"redis://r:1\"\nusername = \"valet\""),
            "leases.redis.username: a user has a password: set `password`, too",
        ),
        (
            redis("urls = \"redis://r:1\"\nca = \"ca.pem\""),
            "leases.redis.ca: has a meaning for `rediss://` addresses only",
        ),
        (
            redis("urls = \"redis://r:1\"\nprefix = \"{a}\""),
            "leases.redis.prefix: expected 1 to 64 visible ASCII characters without braces",
        ),
        (redis("urls = \"redis://r:1\"\ntimeout = \"1ms\""), "leases.redis.timeout: expected \"10ms\" to \"10s\""),
        (redis("urls = \"redis://r:1\"\nsentinel_master = \"\""), "leases.redis.sentinel_master: must not be empty"),
    ] {
        let faults = judge(&leases);
        assert!(faults.contains(&fault.to_owned()), "{faults:?} has no {fault:?}");
        assert!(!faults.iter().any(|fault| fault.contains("canary")));
    }
}

#[test]
fn a_token_of_the_administration_is_long_enough() {
    let admin = |token: &str| {
        let folder = folder();
        std::fs::write(folder.path().join("admin.token"), token).unwrap();
        let text = format!("{GOOD}[admin]\naddress = \"127.0.0.1:9090\"\ntoken = {{ file = \"admin.token\" }}\n");
        Config::parse(&text, "valet.toml", folder.path()).err().unwrap_or_default().len()
    };
    assert_eq!(admin("0123456789abcdef\n"), 0);
    for wrong in ["0123456789abcde", "0123456789 abcdef", "", "0123456789abcdef\n\n"] {
        assert_eq!(admin(wrong), 1, "{wrong:?}");
    }
}
