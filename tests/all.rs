//! All tests, one file per behaviour.

mod simulation;
