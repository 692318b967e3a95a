//! Workers and the addresses that they serve, one by one.

use eggctl::lifecycle::Action::{Answer, Drain, GiveBack, LeaveDispatch, Notice, OpenGate, Terminate, Welcome};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{
    Action, Address, Death, Event, Listen, Millis, Outcome, Phase, Policy, ReloadHow, RequestId, StartFailure, Wanted,
    Worth,
};

use super::{NOTHING, Stage, nth, policy, refork, spawn, worker};

/// The service and another address of the application; then what comes late or instead.
const S: Address = Address(0);
const M: Address = Address(1);
const OTHER: Address = Address(2);

const GENERATION: ReloadHow = ReloadHow { rolling: false, batch: Some(8), agent: false, patience: super::PATIENCE };
const ROLLING: ReloadHow = ReloadHow { rolling: true, ..GENERATION };

fn at(address: Address, worth: Worth) -> Listen {
    Listen { address, worth, decides: true, lasts: !matches!(worth, Worth::Datagram | Worth::Temporary) }
}

impl Stage {
    /// It listens, and is welcomed if that makes it ready.
    fn listens(&mut self, n: u32, listen: Listen) -> Vec<Action> {
        let mut actions = self.tell(Event::Listens { member: nth(n), listen });
        self.welcome(&mut actions);
        actions
    }

    /// The master answers a welcome.
    fn welcome(&mut self, actions: &mut Vec<Action>) {
        let welcomed = actions.iter().find_map(|action| match action {
            Welcome { member, .. } => Some(*member),
            _ => None,
        });
        if let Some(member) = welcomed {
            actions.extend(self.tell(Event::Ready(member)));
        }
    }

    fn passes(&mut self, length: Millis) -> Vec<Action> {
        let mut actions = self.pass(length);
        self.welcome(&mut actions);
        actions
    }

    fn closes(&mut self, n: u32, address: Address) -> Vec<Action> {
        self.tell(Event::Closes { member: nth(n), address })
    }

    /// At full strength, each of so many workers at these addresses, and settled.
    fn serving(policy: Policy, addresses: &[Listen]) -> Stage {
        let workers = policy.workers;
        let mut stage = Stage::begun(policy);
        for n in 1..=workers {
            addresses.iter().for_each(|listen| drop(stage.listens(n, *listen)));
        }
        assert_eq!(stage.lifecycle.phase(), Phase::Running);
        stage.passes(6_000);
        stage
    }
}

#[test]
fn once_all_workers_serve_an_idle_master_does_not_wake() {
    let both = [at(S, Worth::Service), at(M, Worth::Beside)];
    for addresses in [&both[..1], &both] {
        let stage = Stage::serving(policy(false, 2), addresses);
        assert_eq!(stage.lifecycle.next_timeout(), None);
    }
    let mut stage = Stage::begun(policy(false, 1));
    stage.listens(1, both[0]);
    assert_eq!(stage.lifecycle.next_timeout(), None, "not even once, to note that it has settled");
    stage.passes(6_000);
    stage.listens(1, both[1]);
    stage.dies(1, super::SIGKILL);
    assert!(stage.lifecycle.keeps(S) && !stage.lifecycle.keeps(M), "it had opened that too late to be expected again");
}

fn service() -> [Listen; 1] {
    [at(S, Worth::Service)]
}

#[test]
fn a_worker_that_closes_its_server_and_listens_again_within_a_second_keeps_its_place() {
    let mut stage = Stage::serving(policy(false, 1), &service());
    assert_eq!(stage.closes(1, S), NOTHING);
    assert!(!stage.lifecycle.is_ready(nth(1)), "it serves nobody");
    assert!(stage.lifecycle.keeps(S), "and its clients wait");
    assert_eq!(stage.pass(999), NOTHING);
    assert_eq!(stage.listens(1, service()[0]), NOTHING);
    assert!(stage.lifecycle.is_ready(nth(1)));
    assert_eq!(stage.pass(100_000), NOTHING);
}

#[test]
fn a_worker_that_stays_away_is_replaced_after_a_second_and_has_the_drain_timeout_to_end() {
    let mut stage = Stage::serving(policy(false, 2), &service());
    stage.closes(2, S);
    let replaced = [Notice(N::LeftAddress(nth(2))), LeaveDispatch(nth(2)), refork(worker(1), 0), spawn(3, worker(1))];
    assert_eq!(stage.pass(1_000), replaced);
    assert!(stage.lifecycle.keeps(S), "a refork for it is due");
    stage.listens(3, service()[0]);
    assert!(stage.lifecycle.is_ready(nth(3)));
    assert_eq!(stage.pass(29_999), NOTHING);
    assert_eq!(stage.pass(1), [Terminate(nth(2))]);
}

#[test]
fn a_worker_that_says_that_it_leaves_is_replaced_immediately() {
    let mut stage = Stage::serving(policy(false, 1), &service());
    let replaced = [LeaveDispatch(nth(1)), refork(worker(0), 0), spawn(2, worker(0))];
    assert_eq!(stage.tell(Event::Leaves(nth(1))), replaced);
    assert_eq!(stage.closes(1, S), NOTHING);
    assert!(stage.lifecycle.keeps(S));
    assert_eq!(stage.disconnects(1), [Notice(N::Disconnected(nth(1)))]);
    assert_eq!(stage.dies(1, Death::Code(0)), [Notice(N::Died { member: nth(1), death: Death::Code(0) })]);
}

#[test]
fn an_address_that_all_have_closed_and_none_opens_for_a_boot_timeout_is_closed() {
    let mut stage = Stage::serving(Policy { refork: false, ..policy(false, 1) }, &service());
    stage.closes(1, S);
    let left = [Notice(N::LeftAddress(nth(1))), LeaveDispatch(nth(1)), Notice(N::NoRefork(worker(0))), GiveBack];
    assert_eq!(stage.pass(1_000), left);
    assert!(!stage.lifecycle.keeps(S), "nobody is due");

    let mut stage = Stage::serving(policy(false, 1), &service());
    stage.closes(1, S);
    stage.pass(1_000);
    stage.dies(1, Death::Code(0));
    // The refork hangs.
    assert_eq!(stage.pass(18_999), NOTHING);
    assert!(stage.lifecycle.keeps(S));
    assert_eq!(stage.pass(1), [Notice(N::Deserted(S)), GiveBack]);
    assert!(!stage.lifecycle.keeps(S));
}

#[test]
fn an_address_that_was_closed_for_good_and_is_served_again_stays_open_for_all_who_are_due_there() {
    let mut stage = Stage::serving(policy(false, 1), &service());
    stage.closes(1, S);
    stage.pass(20_000);
    assert!(!stage.lifecycle.keeps(S), "the refork hangs, and no worker has it");
    let scale = |stage: &mut Stage, wanted| {
        stage.tell(Event::Scale { request: RequestId(7), wanted, patience: super::PATIENCE });
    };
    scale(&mut stage, Wanted::More(1));
    stage.listens(3, service()[0]);
    assert!(stage.lifecycle.is_ready(nth(3)));
    stage.passes(6_000);
    scale(&mut stage, Wanted::Fewer(1));
    assert!(!stage.lifecycle.is_ready(nth(3)), "it leaves, and its clients wait for the refork");
    assert!(stage.lifecycle.keeps(S));
}

#[test]
fn the_dead_do_not_desert_an_address() {
    let mut stage = Stage::serving(policy(false, 2), &service());
    stage.closes(1, S);
    stage.dies(2, super::SIGKILL);
    stage.dies(1, super::SIGKILL);
    stage.pass(100_000);
    assert!(stage.lifecycle.keeps(S), "reforks are tried again and again");
}

#[test]
fn a_worker_that_closes_its_server_before_all_are_ready_ends_the_start() {
    let mut stage = Stage::begun(policy(false, 2));
    stage.listens(1, service()[0]);
    stage.closes(1, S);
    assert_eq!(stage.pass(1_000)[0], Action::AnnounceFailure(StartFailure::Closed(nth(1))));
}

#[test]
fn what_a_worker_opens_besides_is_kept_for_its_successor_unless_it_closes_it_itself() {
    let both = [at(S, Worth::Service), at(M, Worth::Beside)];
    let mut stage = Stage::serving(policy(false, 1), &both);
    stage.closes(1, S);
    assert!(stage.lifecycle.keeps(M), "it is leaving");
    stage.pass(1_000);
    stage.listens(2, both[0]);
    assert!(stage.lifecycle.keeps(M), "the new one may be about to open it");
    assert_eq!(stage.pass(5_000), [GiveBack]);
    assert!(!stage.lifecycle.keeps(M), "it had its time");

    let mut stage = Stage::serving(policy(false, 1), &both);
    stage.closes(1, M);
    stage.dies(1, super::SIGKILL);
    assert!(stage.lifecycle.keeps(S) && !stage.lifecycle.keeps(M));
}

#[test]
fn in_a_close_a_worker_that_is_away_is_asked_as_politely_as_any_other() {
    let mut stage = Stage::serving(policy(false, 2), &service());
    stage.closes(1, S);
    stage.pass(1_000);
    stage.closes(2, S);
    let asked = stage.signal();
    for n in [1, 2] {
        assert!(asked.contains(&Drain(nth(n))), "{asked:?}");
    }
}

#[test]
fn without_a_port_the_first_address_that_others_reach_counts_and_a_lesser_one_after_a_second() {
    let welcome = |address| Welcome { member: nth(1), address };
    for (listens, expected, when) in [
        (&[(0, at(S, Worth::Open))][..], S, 0),
        (&[(0, at(M, Worth::Local)), (900, at(S, Worth::Open))], S, 900),
        (&[(0, at(S, Worth::Local)), (900, at(M, Worth::Local))], S, 1_000),
        (&[(0, at(M, Worth::Temporary)), (900, at(S, Worth::Local))], S, 1_900),
        (&[(0, at(S, Worth::Temporary))], S, 1_000),
        (&[(0, at(M, Worth::Temporary)), (500, at(S, Worth::Datagram))], S, 1_500),
        (&[(0, at(S, Worth::Local)), (1_000, at(M, Worth::Open))], S, 1_000),
    ] {
        let mut stage = Stage::begun(policy(false, 1));
        let mut welcomed = Vec::new();
        for (then, listen) in listens {
            let mut actions = stage.pass(then - stage.now);
            welcomed.extend(actions.iter().any(|one| *one == welcome(expected)).then_some(stage.now));
            stage.welcome(&mut actions);
            let actions = stage.listens(1, *listen);
            welcomed.extend(actions.contains(&welcome(expected)).then_some(stage.now));
        }
        while welcomed.is_empty() && stage.now < 10_000 {
            let actions = stage.pass(1);
            assert!(!actions.iter().any(|one| matches!(one, Welcome { address, .. } if *address != expected)));
            welcomed.extend(actions.contains(&welcome(expected)).then_some(stage.now));
        }
        assert_eq!(welcomed, [when], "{listens:?}");
    }
}

#[test]
fn with_a_port_nothing_else_counts_and_the_log_says_where_a_worker_listens_instead() {
    let mut stage = Stage::begun(policy(false, 1));
    assert_eq!(stage.listens(1, at(M, Worth::Beside)), NOTHING);
    let line = Notice(N::ListensElsewhere { member: nth(1), address: M, served: None });
    assert_eq!(stage.pass(4_999), NOTHING);
    assert_eq!(stage.pass(1), [line]);
    assert_eq!(stage.pass(10_000), NOTHING);
    let ready = stage.listens(1, at(S, Worth::Service));
    assert_eq!(ready, [Welcome { member: nth(1), address: S }, Action::AnnounceReady]);
}

fn reload(stage: &mut Stage, how: ReloadHow) -> Vec<Action> {
    stage.tell(Event::Reload { request: RequestId(7), how })
}

#[test]
fn a_reload_whose_new_workers_listen_elsewhere_than_the_old_ones_fails() {
    for how in [GENERATION, ROLLING] {
        let mut stage = Stage::serving(policy(false, 1), &[at(S, Worth::Open)]);
        reload(&mut stage, how);
        assert_eq!(stage.listens(2, at(OTHER, Worth::Open)), NOTHING, "{how:?}");
        let line = N::ListensElsewhere { member: nth(2), address: OTHER, served: Some(S) };
        assert_eq!(stage.pass(5_000), [Notice(line)]);
        let failed = Outcome::Failed { failure: StartFailure::NotReady(nth(2)), replaced: 0 };
        let ended = stage.pass(55_000);
        assert_eq!(ended[0], Notice(N::Done(failed)));
        assert!(ended.contains(&Answer { request: RequestId(7), outcome: failed }), "{ended:?}");
        assert!(stage.lifecycle.is_ready(nth(1)));
    }
}

#[test]
fn a_reload_whose_new_workers_say_that_they_are_ready_and_never_serve_fails() {
    let mut stage = Stage::serving(policy(false, 1), &[at(S, Worth::Service)]);
    reload(&mut stage, ROLLING);
    assert_eq!(stage.ready(2), NOTHING);
    assert_eq!(stage.pass(59_999), NOTHING);
    let failed = Outcome::Failed { failure: StartFailure::NotReady(nth(2)), replaced: 0 };
    assert_eq!(stage.pass(1)[0], Notice(N::Done(failed)));
}

#[test]
fn a_generation_takes_over_when_it_listens_wherever_the_old_one_did() {
    let both = [at(M, Worth::Open), at(S, Worth::Open)];
    let mut stage = Stage::serving(policy(false, 2), &both);
    reload(&mut stage, GENERATION);
    stage.tell(Event::AtGate(nth(3)));
    assert_eq!(stage.tell(Event::AtGate(nth(4))), [OpenGate(nth(3)), OpenGate(nth(4))]);
    for n in [3, 4] {
        assert_eq!(stage.listens(n, both[0]), [Welcome { member: nth(n), address: M }]);
    }
    assert_eq!(stage.listens(3, both[1]), NOTHING);
    assert_eq!(stage.pass(1_500), NOTHING, "the old ones serve at both");
    let leave = [LeaveDispatch(nth(1)), Drain(nth(1)), LeaveDispatch(nth(2)), Drain(nth(2)), GiveBack];
    assert_eq!(stage.listens(4, both[1]), leave);
}

#[test]
fn what_no_new_worker_opens_within_5_s_is_given_up_with_a_line_and_goes_with_the_old_ones() {
    let both = [at(S, Worth::Service), at(M, Worth::Beside)];
    for how in [GENERATION, ROLLING] {
        let mut stage = Stage::serving(policy(false, 2), &both);
        reload(&mut stage, how);
        if !how.rolling {
            stage.tell(Event::AtGate(nth(3)));
            stage.tell(Event::AtGate(nth(4)));
            stage.listens(4, both[0]);
        }
        stage.listens(3, both[0]);
        assert_eq!(stage.pass(4_999), NOTHING, "{how:?}");
        let given_up = stage.pass(1);
        let line = Notice(N::NotOpened { member: nth(3), address: M });
        assert_eq!(given_up.iter().filter(|one| **one == line).count(), 1, "{given_up:?}");
        assert!(given_up.contains(&Drain(nth(1))), "{given_up:?}");
        if how.rolling {
            // Once is enough: the second one is not waited for.
            assert!(stage.listens(4, both[0]).contains(&Drain(nth(2))));
        }
        assert!(!stage.lifecycle.keeps(M));
    }
}

#[test]
fn what_only_one_old_worker_had_one_new_worker_must_have() {
    let mut stage = Stage::serving(policy(false, 2), &service());
    let mut old = stage.listens(1, at(M, Worth::Beside));
    stage.welcome(&mut old);
    // Opened too late: nobody expects it of others.
    reload(&mut stage, GENERATION);
    for n in [3, 4] {
        stage.tell(Event::AtGate(nth(n)));
    }
    stage.listens(3, service()[0]);
    assert!(stage.listens(4, service()[0]).contains(&Drain(nth(1))));

    let mut stage = Stage::begun(policy(false, 2));
    stage.listens(1, service()[0]);
    stage.listens(1, at(M, Worth::Beside));
    stage.listens(2, service()[0]);
    stage.passes(6_000);
    reload(&mut stage, GENERATION);
    for n in [3, 4] {
        stage.tell(Event::AtGate(nth(n)));
    }
    stage.listens(3, service()[0]);
    assert_eq!(stage.listens(4, service()[0])[1..], NOTHING);
    assert!(stage.listens(4, at(M, Worth::Beside)).contains(&Drain(nth(1))), "another one has it: good");
}

#[test]
fn ports_of_the_kernels_choice_and_udp_are_not_missed() {
    let passing = Listen { lasts: false, ..at(M, Worth::Beside) };
    let mut stage = Stage::serving(policy(false, 1), &[at(S, Worth::Service), passing]);
    reload(&mut stage, ROLLING);
    assert!(stage.listens(2, at(S, Worth::Service)).contains(&Drain(nth(1))));
}

#[test]
fn a_spare_that_opens_another_address_while_it_boots_still_waits_at_the_gate() {
    let mut stage = Stage::serving(Policy { spares: 1, ..policy(false, 1) }, &[at(S, Worth::Open)]);
    assert_eq!(stage.listens(2, at(M, Worth::Open)), NOTHING);
    assert_eq!(stage.tell(Event::AtGate(nth(2))), [Notice(N::SpareWaits(nth(2)))]);
    stage.pass(100_000);
    assert!(stage.lifecycle.is_held(nth(2)));
}
