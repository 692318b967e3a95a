//! Flags of egg-scripts and options of egg-cluster that this program knows and does not support yet: "not yet" is told
//! instead of "unknown". A flag that gets support moves from here to `flags`.

/// Whole names, in the spellings that egg-scripts takes (yargs reads `--pidFile` and `--pid-file` alike).
const NAMES: &[&str] = &[
    "customEgg",
    "es_staging",
    "expose_debug_as",
    "pidFile",
    "pid-file",
    "startMode",
    "start-mode",
    "ports",
    "reusePort",
    "reuse-port",
    "plugins",
];

/// Beginnings of whole families: `--inspect-brk`, `--debug-brk`.
const FAMILIES: &[&str] = &["inspect", "debug", "harmony"];

/// Is this flag, with its dashes and without its value, known elsewhere? `--no-x` is the yargs spelling of "not x".
pub fn knows(flag: &str) -> bool {
    let Some(name) = flag.strip_prefix("--") else { return false };
    let name = name.strip_prefix("no-").unwrap_or(name);
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}
