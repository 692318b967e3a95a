//! All tests, one file per behaviour.
