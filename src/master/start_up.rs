//! What stands before the master's first turn: what crossed the exec, signals, limits, the record.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use crate::app::Runtime;
use crate::ipc::inbound::RealPort;
use crate::lifecycle::{Lifecycle, Policy};
use crate::options::{LogLevel, Options};
use crate::shortage::Shortages;
use crate::state::{Directory, Record};
use crate::sys::code::Code;
use crate::sys::crossing::Crossing;
use crate::sys::inherited::Inherited;
use crate::sys::signals::{self, Signals};
use crate::sys::spawn::Endowment;
use crate::sys::{clock, cpus, descriptors, output, priority, proc, sockets};

use super::channel::Channel;
use super::control::Control;
use super::gate::Gate;
use super::home::Home;
use super::kept::Kept;
use super::listeners::Listeners;
use super::logging::Logging;
use super::members::Members;
use super::notices::{Level, Notices};
use super::poll::{Interest, Poll, Source};
use super::signals::Hangup;
use super::words::Evidence;
use super::{Carried, Master};

/// How much is read at once: all that the kernel holds of a channel, by its default limits.
const BUFFER: usize = 256 * 1024;

/// Runs the master of what crossed the exec, until the application is closed.
#[must_use]
pub fn run(crossing: Crossing) -> ExitCode {
    match stand(crossing) {
        Ok(mut master) => {
            master.open_control();
            master.settle_in();
            master.turn_until_exit()
        }
        Err(error) => {
            output::complain(format_args!("error: the master cannot start: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn stand(crossing: Crossing) -> anyhow::Result<Master> {
    let pid = std::process::id();
    last_words_of_a_panic(pid);
    let endowment = Endowment::take()?;
    let options: Options = serde_json::from_slice(&descriptors::read_memory(&crossing.options)?)?;
    signals::ignore_write_signals()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    // Members wake it in the middle of what they do: it takes several of their words at once when they wait for more.
    priority::batch();
    let directory = Directory::open()?;
    let mut record = Record::of_self(&options)?;
    if let Some(parents) = directory.read_record(&options.title) {
        record.follow(parents);
    }
    directory.write_record(&record)?;
    let poll = Poll::new()?;
    let parent = crossing.channel.map(Channel::new);
    if let Some(channel) = &parent {
        poll.add(channel, Source::Parent, Interest::Read)?;
    }
    let foreign: BTreeSet<u32> = proc::children(pid)?.into_iter().collect();
    signals::keep_ended_children()?;
    let hangup = Hangup::decide()?;
    let signals = Signals::catch(&hangup.caught())?;
    poll.add(&signals, Source::Signals, Interest::Read)?;
    let mut logging = Logging::stand(&options, crossing.ledger)?;
    if let Some(logging) = &mut logging {
        logging.spawn_logger(&endowment, Some(&poll), std::iter::empty())?;
    }
    let lifecycle = Lifecycle::new(policy(&options));
    let by_client = (options.keeps_clients() && !options.is_egg()).then_some(options.workers);
    let listeners = Listeners::new(options.dispatch, by_client, Inherited::new(crossing.inherited));
    let cluster_port = if options.is_egg() { Some(sockets::hold_port()?) } else { None };
    let sticky_port = if options.is_sticky() { Some(sockets::hold_port()?) } else { None };
    let port = |held: &Option<(OwnedFd, u16)>| held.as_ref().map(|(_, port)| *port);
    let runtime =
        Runtime { cluster_port: port(&cluster_port), sticky_worker_port: port(&sticky_port), inspect_port: None };
    let carried = Carried {
        options,
        shown: crossing.options,
        lifecycle,
        members: Members::default(),
        listeners,
        gate: Gate::default(),
        kept: Kept::default(),
        parent,
        logging,
        lock: crossing.lock.into(),
        record,
        runtime,
        _held_ports: [cluster_port, sticky_port].into_iter().flatten().map(|(socket, _)| socket).collect(),
        real_port: RealPort::default(),
        agents: 0,
        workers: 0,
        started_ms: clock::monotonic_ms(),
        hangup,
    };
    Ok(Master {
        notices: Notices::new(pid, carried.options.log_level),
        shortages: Shortages::default(),
        carried,
        poll,
        signals,
        control: Control::default(),
        home: Home::default(),
        directory,
        endowment,
        reserve: Some(descriptors::placeholder()?),
        foreign,
        seen: Evidence::default(),
        events: VecDeque::new(),
        exit: None,
        buffer: vec![0; BUFFER],
        reap_at: None,
        blind_since: None,
        code: Code::of_self(),
        has_spawned: false,
    })
}

fn policy(options: &Options) -> Policy {
    Policy {
        agent: options.has_agent(),
        workers: options.workers,
        spares: if options.replaces_the_dead() { options.spares } else { 0 },
        cores: cpus::usable(),
        refork: options.replaces_the_dead(),
        exit_when_down: options.exits_when_down(),
        boot_grace_ms: options.timeout_ms,
        worker_close_grace_ms: options.worker_close_grace_ms,
        agent_close_grace_ms: options.agent_close_grace_ms,
    }
}

/// A panic aborts; its reason is the last line in the log.
fn last_words_of_a_panic(pid: u32) {
    std::panic::set_hook(Box::new(move |panic| {
        Notices::new(pid, LogLevel::default())
            .write(Level::Error, &format!("the master ends by a fault of its own, please report it: {panic}"));
    }));
}
