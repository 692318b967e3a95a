//! The log files: how old ones are named, kept, compressed and thrown away.

pub mod compress;
pub mod names;
pub mod retention;
pub mod shelf;

#[cfg(test)]
mod tests;
