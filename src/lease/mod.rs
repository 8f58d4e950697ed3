//! lease
pub mod settings;
