//! `selection` under libFuzzer; what it promises stands in bodies.rs.
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::selection(data));
