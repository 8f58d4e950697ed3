//! Valet
fn main() {}
