//! Node's command line, as far as it is read: which of the words behind `node` is the script.

/// Node's flags whose value may be the next word, in any of 18, 20, 22 and 24: by node's own table of options
/// (`node --expose-internals`, `internalBinding('options')`) and `node --help`, tried in front of a script. Left out: those
/// whose value can only stand behind `=` (`--inspect` and its kin, all of V8's), and those of [`WITHOUT_SCRIPT`].
/// `--experimental-config-file` takes a word in 22 only, `--experimental-specifier-resolution` in 18 only.
#[rustfmt::skip]
const WITH_VALUE: &[&str] = &[
    "--allow-fs-read", "--allow-fs-write", "--build-snapshot-config", "--conditions", "--cpu-prof-dir",
    "--cpu-prof-interval", "--cpu-prof-name", "--debug-port", "--diagnostic-dir", "--disable-proto",
    "--disable-warning", "--dns-result-order", "--env-file", "--env-file-if-exists",
    "--es-module-specifier-resolution", "--experimental-config-file", "--experimental-default-type",
    "--experimental-loader", "--experimental-package-map", "--experimental-policy", "--experimental-sea-config",
    "--experimental-specifier-resolution", "--experimental-test-isolation", "--experimental-test-tag-filter",
    "--heap-prof-dir", "--heap-prof-interval", "--heap-prof-name", "--heapsnapshot-near-heap-limit",
    "--heapsnapshot-signal", "--icu-data-dir", "--import", "--input-type", "--inspect-port",
    "--inspect-publish-uid", "--loader", "--localstorage-file", "--max-http-header-size",
    "--max-old-space-size-percentage", "--network-family-autoselection-attempt-timeout", "--openssl-config",
    "--policy-integrity", "--redirect-warnings", "--report-dir", "--report-directory", "--report-filename",
    "--report-signal", "--require", "--secure-heap", "--secure-heap-min", "--security-revert", "--security-reverts",
    "--snapshot-blob", "--test-concurrency", "--test-coverage-branches", "--test-coverage-exclude",
    "--test-coverage-functions", "--test-coverage-include", "--test-coverage-lines", "--test-global-setup",
    "--test-isolation", "--test-name-pattern", "--test-random-seed", "--test-reporter",
    "--test-reporter-destination", "--test-rerun-failures", "--test-shard", "--test-skip-pattern", "--test-timeout",
    "--title", "--tls-cipher-list", "--tls-keylog", "--trace-event-categories", "--trace-event-file-pattern",
    "--trace-require-module", "--unhandled-rejections", "--use-largepages", "--v8-pool-size", "--watch-kill-signal",
    "--watch-path", "-C", "-r",
];

/// Flags of node that leave no script to run: what follows are arguments.
const WITHOUT_SCRIPT: &[&str] = &["-", "--eval", "--print", "--run", "-e", "-p", "-pe"];

/// The script that node runs, behind its own flags and their values.
pub fn script<'a>(first: &'a [u8], arguments: &mut impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let mut argument = first;
    while argument.starts_with(b"-") {
        let flag = spelled(argument);
        if WITHOUT_SCRIPT.contains(&flag.as_str()) {
            return None;
        }
        if WITH_VALUE.contains(&flag.as_str()) {
            arguments.next()?;
        }
        argument = arguments.next()?;
    }
    Some(argument)
}

/// A flag as the lists have it: to node `_` is `-`. (With `=` and a value in it, it is in none.)
fn spelled(flag: &[u8]) -> String {
    String::from_utf8_lossy(flag).replace('_', "-")
}

/// egg-scripts 2 and 3 have `lib/start-cluster`, 4 and 5 have the others.
pub fn is_start_cluster(path: &[u8]) -> bool {
    matches!(file_name(path), b"start-cluster" | b"start-cluster.js" | b"start-cluster.cjs" | b"start-cluster.mjs")
}

/// The last part of a path.
pub fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_flag_for_node_is_no_script_and_what_follows_another_flag_is() {
        let script_of = |typed: &str| {
            let mut words = typed.split(' ').map(str::as_bytes);
            script(words.next().unwrap(), &mut words).map(|script| String::from_utf8_lossy(script).into_owned())
        };
        assert!(WITH_VALUE.is_sorted() && WITHOUT_SCRIPT.is_sorted());
        for flag in WITH_VALUE {
            assert_eq!(
                script_of(&format!("{flag} value start-cluster {{}}")).as_deref(),
                Some("start-cluster"),
                "{flag}"
            );
            assert_eq!(
                script_of(&format!("{flag}=value start-cluster {{}}")).as_deref(),
                Some("start-cluster"),
                "{flag}"
            );
            assert_eq!(script_of(&format!("{flag} start-cluster")), None, "{flag}");
        }
        for flag in ["--inspect", "--inspect-brk", "--trace-warnings", "--max-old-space-size=9", "--use-strict", "--"] {
            assert_eq!(script_of(&format!("{flag} start-cluster {{}}")).as_deref(), Some("start-cluster"), "{flag}");
        }
        for flag in WITHOUT_SCRIPT {
            assert_eq!(script_of(&format!("{flag} start-cluster {{}}")), None, "{flag}");
        }
        assert_eq!(script_of("--max_http_header_size 9000 start-cluster").as_deref(), Some("start-cluster"));
    }
}
