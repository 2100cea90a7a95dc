//! Placeholder.

pub mod backend;
pub mod imports;
pub mod sources;
