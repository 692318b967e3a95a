//! What was typed at a start, with what is typed at a restart over it: again arguments of a start.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory};

use super::{Cli, NODE_OPTIONS, failure, node_option_apart};
use crate::error::Failure;

/// The arguments of a start that mean `before` with `now` over it. A flag that is typed now takes the place of all that was
/// typed of it before, repeatable ones too (each flag for node is one of its own), and flags that now mean nothing are left
/// out: however often one restarts, there are no more than were typed at most. A place that is typed now says which application is
/// restarted, and is none of its arguments.
///
/// # Errors
/// Exit 2 for everything that a start refuses to read.
pub fn typed_over(before: &[OsString], now: &[OsString]) -> Result<Vec<OsString>, Failure> {
    // After a `--` there are no flags, but the application's own arguments: those of now take the place of all.
    let apart = |words: &'_ [OsString]| words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (flags_before, own_before) = before.split_at_checked(apart(before)).unwrap_or((before, &[]));
    let (flags_now, own_now) = now.split_at_checked(apart(now)).unwrap_or((now, &[]));
    let own = if own_now.is_empty() { own_before } else { own_now };
    let command = Cli::command();
    let flags_now = without_place(&command, &read(flags_now)?);
    let both = read(flags_before.iter().chain(&flags_now).chain(own))?;
    let (before, now) = (read(before)?, read(now)?);
    let start = command.find_subcommand("start").into_iter();
    let (places, flags): (Vec<&Arg>, Vec<&Arg>) = start
        .flat_map(clap::Command::get_arguments)
        .filter(|argument| both.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine))
        .partition(|argument| argument.is_positional());
    let mut words = Vec::new();
    for flag in flags {
        match (flag.get_long(), flag.get_action()) {
            // How one command prints is no part of how the application is started.
            (Some("json"), _) => {}
            (Some(long), ArgAction::SetTrue) => words.push(format!("--{long}").into()),
            (Some(long), ArgAction::Append) => {
                let (old, new) = (values(&before, flag), values(&now, flag));
                let keys: Vec<&[u8]> = new.iter().map(|value| key(long, value)).collect();
                let stay = old.into_iter().filter(|value| !keys.contains(&key(long, value)));
                words.extend(stay.chain(new.iter().copied()).map(|value| word(long, value)));
            }
            (Some(long), _) => words.extend(values(&both, flag).into_iter().map(|value| word(long, value))),
            (None, _) => {}
        }
    }
    for place in places {
        let values = values(&both, place);
        words.extend(place.is_last_set().then(|| "--".into()));
        words.extend(values.into_iter().map(OsStr::to_owned));
    }
    Ok(words)
}

/// What was typed, but not the place.
fn without_place(command: &clap::Command, typed: &ArgMatches) -> Vec<OsString> {
    let start = command.find_subcommand("start").into_iter().flat_map(clap::Command::get_arguments);
    let is_typed = |argument: &&Arg| typed.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    let mut words = Vec::new();
    for flag in start.filter(is_typed) {
        match (flag.get_long(), flag.get_action()) {
            (Some(long), ArgAction::SetTrue) => words.push(format!("--{long}").into()),
            (Some(long), _) => words.extend(values(typed, flag).into_iter().map(|value| word(long, value))),
            (None, _) => {}
        }
    }
    words
}

fn read<'a>(arguments: impl IntoIterator<Item = &'a OsString>) -> Result<ArgMatches, Failure> {
    // A restart takes all that a start takes, and says whose application it is: that is left out, since a start has no such flag.
    let words = ["eggctl".into(), "restart".into()].into_iter().chain(arguments.into_iter().cloned());
    let matches =
        Cli::command().try_get_matches_from(words.map(node_option_apart)).map_err(|refusal| failure(&refusal))?;
    matches.subcommand_matches("restart").cloned().ok_or_else(|| Failure::usage("this is no restart"))
}

fn values<'a>(matches: &'a ArgMatches, argument: &Arg) -> Vec<&'a OsStr> {
    matches.get_raw(argument.get_id().as_str()).into_iter().flatten().collect()
}

/// One flag of node is not another, though we read them as one flag.
fn key<'a>(long: &str, value: &'a OsStr) -> &'a [u8] {
    let name = if long == NODE_OPTIONS { value.as_encoded_bytes() } else { &[] };
    name.split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn word(long: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{long}"));
    if long != NODE_OPTIONS {
        word.push("=");
    }
    word.push(value);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(before: &str, now: &str) -> String {
        let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        typed_over(&words(before), &words(now)).unwrap().join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn a_flag_that_is_typed_again_takes_the_place_of_the_first_whatever_its_name() {
        assert_eq!(over("-c 2 --title svc --daemon app", ""), "--title=svc --workers=2 --daemon app");
        assert_eq!(over("-c 2 --title=svc", "--cluster=3 --title svc"), "--title=svc --workers=3");
        assert_eq!(over("-c 2 --title=svc", "--user=bob -c 1 --user nobody"), "--title=svc --workers=1");
        assert_eq!(over("--sticky --no-log-compress", "--no-sticky"), "--no-sticky --no-log-compress");
        assert_eq!(over("--json --daemon", "--json -c 1"), "--workers=1 --daemon");
    }

    #[test]
    fn of_a_repeatable_flag_what_is_typed_now_is_all_and_each_flag_of_node_is_one_of_its_own() {
        assert_eq!(over("-r a -r b", ""), "--require=a --require=b");
        assert_eq!(over("-r a -r b", "-r c"), "--require=c");
        assert_eq!(
            over("--node-options--trace-gc --node-options--stack-size=1", "--node-options--stack-size=2"),
            "--node-options--trace-gc --node-options--stack-size=2"
        );
    }

    #[test]
    fn however_often_it_is_typed_over_it_grows_no_more() {
        let now = "--title=svc -c 1 -r x --node-options--stack-size=2 --no-daemon --daemon";
        let mut words = over("-- -app", now);
        for _ in 0..3 {
            let again = over(&words, now);
            assert_eq!(again, words);
            words = again;
        }
    }

    #[test]
    fn what_no_start_reads_is_refused() {
        assert!(typed_over(&["--no-such".into()], &[]).is_err() && typed_over(&[], &["--help".into()]).is_err());
    }
}
