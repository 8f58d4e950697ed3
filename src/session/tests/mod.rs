//! The session check from outside: tokens in, sessions or faults out. `kit` is the language the tests speak.

mod algorithms;
mod attacks;
mod claims;
mod files;
mod kit;
mod rings;
mod times;
