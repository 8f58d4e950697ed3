//! The proxies before the gateway, and how many connections an address may have.

use super::*;
use crate::units::Span;

#[test]
fn a_trusted_proxy_is_a_network_an_address_or_a_unix_socket() {
    let trusting = |entry: &str| with("[server]", &format!("trusted_proxies = [{entry}]"));
    let expected =
        "server.trusted_proxies: expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", an address, or \"unix:\"";
    for (entries, faults) in [
        ("", vec![]),
        ("\"10.0.0.0/8\", \"fd00::/8\", \"192.0.2.1\", \"::1\", \"unix:\"", vec![]),
        ("\"10.1.0.0/8\"", vec!["server.trusted_proxies: write the network as \"10.0.0.0/8\""]),
        ("\"balancer.internal\", \"10.0.0.0/33\"", vec![expected, expected]),
        ("\"::1\", \"::1\"", vec!["server.trusted_proxies: this entry stands in the list already (line 2)"]),
    ] {
        assert_faults(&trusting(entries), &faults);
    }
    for (entry, warned) in [("0.0.0.0/0", true), ("::/0", true), ("0.0.0.0/1", false)] {
        let warnings = parse(&trusting(&format!("\"{entry}\""))).unwrap().warnings;
        assert_eq!(warnings.iter().any(|line| line.contains("is everybody")), warned, "{warnings:?}");
    }
}

#[test]
fn an_address_may_have_at_least_one_connection() {
    let bound = |most: &str| with("[server]", &format!("connections_per_address = {most}"));
    assert_eq!(parse(&bound("1")).unwrap().server.connections_per_address, Some(1));
    assert_eq!(parse(GOOD).unwrap().server.connections_per_address, None);
    assert_faults(&bound("0"), &["server.connections_per_address: expected at least 1; left out, there is no bound"]);
}

#[test]
fn bounds_of_the_server_are_kept_where_they_make_sense() {
    let settings = parse(GOOD).unwrap().server;
    let spans = (settings.idle_timeout, settings.body_stall, settings.write_stall);
    assert_eq!((spans, settings.max_requests), ((Span::secs(75), Span::secs(10), Span::secs(30)), None));
    for key in ["idle_timeout", "body_stall", "write_stall"] {
        for (value, sound) in
            [("1s", true), ("1h", true), ("600s", true), ("999ms", false), ("0s", false), ("3601s", false)]
        {
            let faults = [format!("server.{key}: must be from \"1s\" to \"1h\"")];
            let faults: Vec<&str> = faults.iter().map(String::as_str).filter(|_| !sound).collect();
            assert_faults(&with("[server]", &format!("{key} = \"{value}\"")), &faults);
        }
    }
    let fault = "server.max_requests: expected 1 to 1048576; left out, it is reckoned from the file descriptors";
    for (value, sound) in [("1", true), ("1048576", true), ("0", false), ("1048577", false)] {
        let faults: Vec<&str> = [fault].into_iter().filter(|_| !sound).collect();
        assert_faults(&with("[server]", &format!("max_requests = {value}")), &faults);
    }
}

#[test]
fn the_proxy_protocol_needs_somebody_who_may_speak_it() {
    let listener = |address: &str, trusted: &str| {
        edited("address = \"127.0.0.1:8080\"", &format!("address = \"{address}\"\nproxy_protocol = true")).replacen(
            "[server]",
            &format!("[server]\ntrusted_proxies = [{trusted}]"),
            1,
        )
    };
    let nobody = "listener.proxy_protocol: only trusted proxies may connect: name them in server.trusted_proxies";
    let unix = "listener.proxy_protocol: only trusted proxies may connect: add \"unix:\" to server.trusted_proxies";
    for (address, trusted, faults) in [
        ("127.0.0.1:8080", "\"127.0.0.1\"", vec![]),
        ("127.0.0.1:8080", "", vec![nobody]),
        ("127.0.0.1:8080", "\"unix:\"", vec![nobody]),
        ("unix:/run/valet.sock", "\"unix:\"", vec![]),
        ("unix:/run/valet.sock", "\"127.0.0.1\"", vec![unix]),
    ] {
        assert_faults(&listener(address, trusted), &faults);
    }
}
