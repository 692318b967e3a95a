//! The kinds of application: argv, environment and readiness of an agent and of a worker.
