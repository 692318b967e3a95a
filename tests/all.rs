//! All tests, one file per behaviour.

mod codec;
mod gate;
mod simulation;
