//! The only event loop: poll, one event, the lifecycle's answer, perform it.
