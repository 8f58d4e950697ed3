//! The simulators: a vendor and an identity provider that answer as the real ones do, over real sockets.
//!
//! They serve `valet simulate provider|idp`, the demo, our own tests and the tests of those who run Valet. They hold no real key and
//! reach nothing: what they sign is signed with keys made at start, which die with the process. They look only at leaves (`clock`,
//! `units`), never at the gateway, so that what they prove about it is worth something.

pub mod app;
pub mod cli;
pub mod fault;
mod guard;
pub mod idp;
mod page;
pub mod provider;
pub mod serve;
pub mod stack;
pub mod vendor_control;
pub mod vendors;

#[cfg(test)]
mod testing;
