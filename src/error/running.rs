//! What can go wrong with an application that runs: it is not there, cannot be asked, or cannot be stopped.

use std::fmt;
use std::io;
use std::path::Path;

use super::{Exit, Failure};

/// Asking a running master.
impl Failure {
    /// Nothing of that title, or nothing at all, runs.
    #[must_use]
    pub fn not_running(title: Option<&str>) -> Self {
        let whom = title.map_or_else(|| "no application".to_owned(), |title| format!("no application `{title}`"));
        Failure::new(Exit::NotRunning, format!("{whom} is running"))
    }

    /// The same, since a restart has stopped it and could not start it.
    #[must_use]
    pub fn left_down(title: &str, flags: &str) -> Self {
        Failure::not_running(Some(title))
            .because("a restart stopped it, and the new start failed")
            .hint(format!("`eggctl restart {flags}` tries again"))
    }

    /// The same, while there is one of another user's; with the flag by which root names that user.
    #[must_use]
    pub fn runs_under_another(asked: Option<&str>, title: &str, owner: &str, pid: u32, flag: Option<&str>) -> Self {
        let failure = Failure::not_running(asked).because(format!("`{title}` runs under {owner} (pid {pid})"));
        let hint = match flag {
            Some(flag) => format!("add `{flag}`"),
            None => format!("only {owner} and root can do that"),
        };
        failure.hint(hint)
    }

    /// Its master is egg-scripts'.
    #[must_use]
    pub fn of_egg_scripts(title: &str) -> Self {
        Failure::new(Exit::Failed, format!("{title} runs under egg-scripts"))
            .because("its master knows nothing but its end")
            .hint(format!("`eggctl stop --title={title}`, then `eggctl start`"))
    }

    /// There is a master that cannot be asked.
    #[must_use]
    pub fn unreachable(title: &str, why: impl fmt::Display) -> Self {
        Failure::new(Exit::Failed, format!("the master of {title} cannot be asked")).because(why)
    }

    /// The command that waited for an operation was ended by a signal. What it asked for is not.
    #[must_use]
    pub fn goes_on(title: &str, flags: &str, command: &str, signal: &str) -> Self {
        let wait = match command {
            "reload" => format!(", `eggctl wait --for=reloaded {flags}` waits for its end"),
            _ => String::new(),
        };
        Failure::new(Exit::Failed, format!("{title}: {signal} has ended this command, and the {command} goes on"))
            .hint(format!("`eggctl {command} --cancel {flags}` gives it up{wait}"))
    }

    /// A service that somebody else keeps.
    #[must_use]
    pub fn in_the_foreground(title: &str, pid: u32) -> Self {
        Failure::new(Exit::Failed, format!("{title} runs in the foreground"))
            .because(format!("who started master {pid} would lose it"))
            .hint("restart it there, or reload it: `eggctl reload`")
    }

    /// The directory that it was started in has gone, or is closed: it would not start there again.
    #[must_use]
    pub fn cannot_restart_in(title: &str, directory: &Path, why: &io::Error) -> Self {
        let directory = directory.display();
        Failure::new(Exit::Failed, format!("{title} cannot be started again in `{directory}`")).because(why).hint(
            format!("nothing is stopped; `eggctl stop --title={title}`, then `eggctl start` from where it lives now"),
        )
    }
}

/// Taking another environment, or another place.
impl Failure {
    /// `restart --title=T WORD`: what is typed after `start` is a place, and a restart keeps the one that it has.
    #[must_use]
    pub fn named_twice(title: &str, word: &Path) -> Self {
        Failure::usage(format!("restart names one application: `--title={title}` and `{}` are two", word.display()))
            .hint(format!("`eggctl restart --title={title}` restarts it in the directory where it was started"))
    }

    /// `reload --update-env` of a master that was started by another program, or by an older eggctl.
    #[must_use]
    pub fn keeps_its_environment(title: &str, flags: &str) -> Self {
        Failure::new(Exit::Failed, format!("{title} cannot take another environment while it runs"))
            .because("its master was not started by `eggctl start`, or by an older version of it")
            .hint(format!("`eggctl restart --update-env {flags}`, or start it where it was started"))
    }

    /// An environment that no request can hold.
    #[must_use]
    pub fn environment_too_long(title: &str, command: &str, most: usize) -> Self {
        Failure::new(Exit::Failed, format!("{title} cannot take an environment of this length while it runs"))
            .because(format!("a reload brings at most {} KiB", most / 1024))
            .hint(format!("`{command}` takes it"))
    }
}

/// Acting for another user.
impl Failure {
    /// `--user` names no user.
    #[must_use]
    pub fn no_such_user(name: &str) -> Self {
        Failure::new(Exit::Usage, format!("`--user={name}`")).because("there is no such user")
    }

    /// `--user` was typed by a user who is not root.
    #[must_use]
    pub fn only_root_acts_for(owner: &str) -> Self {
        Failure::new(Exit::NotPermitted, format!("cannot act for {owner}"))
            .because("only root may name another user with `--user`")
    }

    /// The kernel does not let root become that user: capabilities are missing, as in some containers.
    #[must_use]
    pub fn cannot_act_for(owner: &str, why: &io::Error) -> Self {
        Failure::new(Exit::NotPermitted, format!("cannot act for {owner}"))
            .because(format!("becoming that user failed: {}", super::reason(why)))
            .hint("root needs the capabilities CAP_SETUID and CAP_SETGID for `--user`")
    }
}

/// Restarting.
impl Failure {
    /// What a master was started with cannot be read: it has gone, or its group, the first of `ids`, is not this command's, the
    /// second; the third is the user.
    #[must_use]
    pub fn environment_closed(master: u32, why: &io::Error, ids: Option<(u32, u32, u32)>) -> Self {
        let failure =
            Failure::new(Exit::Failed, format!("the environment of the master (pid {master}) cannot be read"))
                .because(super::reason(why));
        let Some((group, own, user)) = ids else { return failure };
        failure.because(format!("the master runs with group {group}, and this command with group {own}")).hint(format!(
            "run the command as `setpriv --reuid={user} --regid={group} --clear-groups eggctl …`, without `--user`"
        ))
    }

    /// Something that the new start will need is missing, so nothing is stopped.
    #[must_use]
    pub fn not_restarted(title: &str, why: Failure) -> Self {
        let what = format!("{title} is not restarted");
        Failure { why: [vec![why.what], why.why].concat(), what, hint: why.hint, exit: why.exit, beside: why.beside }
    }

    /// The application was stopped, and does not start again.
    #[must_use]
    pub fn down_after_restart(title: &str, flags: &str, why: Failure) -> Self {
        let Failure { exit, what, why, beside, hint } = why;
        let again = format!("`eggctl restart {flags}` tries again");
        let hint = hint.map_or_else(|| again.clone(), |hint| format!("{hint}; then {again}"));
        let stopped = "the restart stopped it, and the new start failed".to_owned();
        Failure {
            exit,
            what: format!("{title} is down"),
            why: [vec![stopped, what], why].concat(),
            beside,
            hint: Some(hint),
        }
    }
}

/// Stopping.
impl Failure {
    /// More than one application runs, and nothing says which is meant.
    #[must_use]
    pub fn which_application(running: &str) -> Self {
        Failure::new(Exit::Usage, "several applications run, and none of them is named")
            .because(running)
            .hint("name one with `--title`, or stop all with `--all`")
    }

    /// The title is held in another pid namespace or on another machine.
    #[must_use]
    pub fn holder_elsewhere(title: &str, pid_there: Option<u32>) -> Self {
        let pid = pid_there.map(|pid| format!(" (there it has pid {pid})")).unwrap_or_default();
        Failure::new(Exit::Failed, format!("cannot stop {title}"))
            .because(format!("it runs where this process cannot see, in another container or on another machine{pid}"))
            .hint("stop it there")
    }

    /// The master is an ancestor of the very command that is to end it.
    #[must_use]
    pub fn own_ancestor(title: &str, pid: u32) -> Self {
        Failure::new(Exit::Failed, format!("cannot stop {title}"))
            .because(format!("master {pid} is an ancestor of this very command, which would end before it"))
            .hint("stop it from outside of the application")
    }

    /// The process is another user's.
    #[must_use]
    pub fn not_yours(title: &str, pid: u32, owner: &str) -> Self {
        Failure::new(Exit::NotPermitted, format!("cannot stop {title}"))
            .because(format!("not permitted: process {pid} belongs to {owner}"))
    }

    /// Neither TERM nor KILL has ended the process.
    #[must_use]
    pub fn still_alive(title: &str, pid: u32, state: char) -> Self {
        let failure = Failure::new(Exit::StillAlive, format!("{title} is not stopped"))
            .because(format!("process {pid} (state {state}) is alive after KILL"));
        if state == 'D' {
            failure.hint("it waits for a device or a file system, and ends when that answers")
        } else {
            failure
        }
    }
}
