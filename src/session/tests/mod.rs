//! The session check from outside: tokens in, sessions or faults out. `kit` is the language the tests speak.

mod algorithms;
mod attacks;
mod cache;
mod claims;
mod examples;
mod explain;
mod files;
mod jwks_caches;
mod kit;
mod moves;
mod persons;
mod times;
mod wycheproof;
