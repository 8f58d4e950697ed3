//! One upstream: an address, how it is reached, what is under way to it and what is known of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use aws_lc_rs::digest::{SHA256, digest};
use pingora::upstreams::peer::HttpPeer;

use super::address::Address;
use super::idle::IdleConnections;
use super::outlier_detection::OutlierDetection;
use super::peer::Peers;
use super::target::Target;

pub(super) struct Upstream {
    pub(super) target: Arc<Target>,
    pub(super) address: Address,
    /// The address as metrics and logs name it.
    pub(super) label: String,
    pub(super) peer: HttpPeer,
    pub(super) websocket_peer: HttpPeer,
    /// Its lot in the choice by subject.
    pub(super) hash: u64,
    /// Requests that chose it and have not ended.
    pub(super) under_way: AtomicUsize,
    pub(super) outlier_detection: OutlierDetection,
    pub(super) idle: Arc<IdleConnections>,
    /// It chose HTTP/1.1 where HTTP/2 was offered.
    pub(super) speaks_http_1: AtomicBool,
}

impl Upstream {
    /// Nothing is known against it. `None`: Pingora knows no way to such an address; none that a target has is of that kind.
    pub(super) fn new(target: &Arc<Target>, address: &Address, peers: &Peers) -> Option<Self> {
        let label = address.to_string();
        Some(Self {
            target: Arc::clone(target),
            peer: peers.ordinary(target, address)?,
            websocket_peer: peers.websocket(target, address)?,
            address: address.clone(),
            hash: hash(label.as_bytes()),
            label,
            under_way: AtomicUsize::new(0),
            outlier_detection: OutlierDetection::new(),
            idle: Arc::default(),
            speaks_http_1: AtomicBool::new(false),
        })
    }
}

/// The lot of a subject or of an upstream: the first eight bytes of its SHA-256, big-endian.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    digest(&SHA256, bytes).as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
