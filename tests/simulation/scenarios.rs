//! What an operator should know of the lifecycle, one by one, and the faults of naive drafts by name.

use eggctl::lifecycle::Action::{
    AnnounceFailure, AnnounceReady, AnnounceStopped, CloseListeners, Drain, EndStrays, Exit, Kill, LeaveDispatch,
    Notice, Spawn, Terminate,
};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{
    Action, CloseCause, Death, Event, Kind, Lifecycle, MemberId, Millis, Phase, Policy, Role, StartFailure,
};

const AGENT: Role = Role::Agent;
const NOTHING: [Action; 0] = [];
const TERM: i32 = 15;
const SIGKILL: Death = Death::Signal(9);

fn worker(slot: u32) -> Role {
    Role::Worker { kind: Kind(0), slot }
}

/// The member that is spawned as the n-th, from 1 on.
fn nth(n: u32) -> MemberId {
    MemberId(n)
}

fn spawn(n: u32, role: Role) -> Action {
    Spawn { member: nth(n), role }
}

fn died(n: u32, death: Death) -> Action {
    Notice(N::Died { member: nth(n), death })
}

fn refork(role: Role, after_ms: Millis) -> Action {
    Notice(N::Refork { role, after_ms })
}

fn policy(agent: bool, workers: u32) -> Policy {
    Policy {
        agent,
        workers,
        refork: true,
        boot_grace_ms: 20_000,
        worker_close_grace_ms: 5_000,
        agent_close_grace_ms: 3_000,
    }
}

/// A lifecycle whose spawns work.
struct Stage {
    lifecycle: Lifecycle,
    now: Millis,
}

impl Stage {
    fn begun(policy: Policy) -> Self {
        let mut stage = Self { lifecycle: Lifecycle::new(policy), now: 0 };
        stage.tell(Event::Begin);
        stage
    }

    /// At full strength: the agent is the first, the workers follow.
    fn running(policy: Policy) -> Self {
        let members = u32::from(policy.agent) + policy.workers;
        let mut stage = Self::begun(policy);
        for n in 1..=members {
            stage.ready(n);
        }
        assert_eq!(stage.lifecycle.phase(), Phase::Running);
        stage
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.lifecycle.handle(event, self.now, &mut actions);
        self.answer(&mut actions);
        actions
    }

    /// Every spawn works, at once.
    fn answer(&mut self, actions: &mut Vec<Action>) {
        while let Some(&Spawn { member, .. }) = actions.last() {
            let before = actions.len();
            self.lifecycle.handle(Event::Spawned(member), self.now, actions);
            if actions.len() == before {
                return;
            }
        }
    }

    /// So much time passes, deadline by deadline.
    fn pass(&mut self, length: Millis) -> Vec<Action> {
        let (mut actions, end) = (Vec::new(), self.now + length);
        while let Some(due) = self.lifecycle.next_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let mut done = Vec::new();
            self.lifecycle.handle_timeout(self.now, &mut done);
            self.answer(&mut done);
            actions.extend(done);
        }
        self.now = end;
        actions
    }

    fn ready(&mut self, n: u32) -> Vec<Action> {
        self.tell(Event::Ready(nth(n)))
    }

    fn dies(&mut self, n: u32, death: Death) -> Vec<Action> {
        self.tell(Event::Exited { member: nth(n), death })
    }

    fn disconnects(&mut self, n: u32) -> Vec<Action> {
        self.tell(Event::Disconnected(nth(n)))
    }

    fn signal(&mut self) -> Vec<Action> {
        self.tell(Event::Close(CloseCause::Signal(TERM)))
    }
}

// --- start ---

#[test]
fn workers_are_spawned_together_and_in_order_when_the_agent_is_ready() {
    let mut stage = Stage { lifecycle: Lifecycle::new(policy(true, 3)), now: 0 };
    assert_eq!(stage.tell(Event::Begin), [spawn(1, AGENT)]);
    assert_eq!(stage.pass(2_000), NOTHING);
    assert_eq!(stage.ready(1), [spawn(2, worker(0)), spawn(3, worker(1)), spawn(4, worker(2))]);
}

#[test]
fn without_an_agent_workers_are_spawned_at_once() {
    let mut stage = Stage { lifecycle: Lifecycle::new(policy(false, 2)), now: 0 };
    assert_eq!(stage.tell(Event::Begin), [spawn(1, worker(0)), spawn(2, worker(1))]);
}

#[test]
fn ready_is_announced_once_when_the_last_one_is() {
    let mut stage = Stage::begun(policy(true, 2));
    stage.ready(1);
    assert_eq!(stage.ready(3), NOTHING);
    let waiting: Vec<_> = stage.lifecycle.waiting_for().collect();
    assert_eq!(waiting, [(worker(0), Some(nth(2)))]);
    assert_eq!(stage.ready(2), [AnnounceReady]);
    stage.dies(2, SIGKILL);
    assert_eq!(stage.ready(4), NOTHING);
}

#[test]
fn at_full_strength_nothing_is_planned() {
    let stage = Stage::running(policy(true, 4));
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

#[test]
fn a_death_while_starting_fails_the_start_whatever_its_code_and_ends_workers_before_the_agent() {
    let mut stage = Stage::begun(policy(true, 2));
    stage.ready(1);
    stage.ready(2);
    let death = Death::Code(0);
    let failure = StartFailure::Died { member: nth(3), death };
    let ended = [AnnounceFailure(failure), CloseListeners, LeaveDispatch(nth(2)), Terminate(nth(2))];
    assert_eq!(stage.dies(3, death), ended);
    assert_eq!(stage.dies(2, Death::Code(0)), [Terminate(nth(1))]);
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
    assert_eq!(stage.tell(Event::Alone), [Exit(1)]);
}

#[test]
fn only_the_first_failure_is_announced() {
    let mut stage = Stage::begun(policy(false, 3));
    stage.dies(1, Death::Code(1));
    assert_eq!(stage.dies(2, Death::Code(1)), NOTHING);
    assert_eq!(stage.dies(3, Death::Code(1)), [EndStrays { kill: false }]);
}

#[test]
fn a_spawn_that_fails_while_starting_leaves_the_rest_unspawned() {
    let (mut lifecycle, mut actions) = (Lifecycle::new(policy(false, 3)), Vec::new());
    lifecycle.handle(Event::Begin, 0, &mut actions);
    lifecycle.handle(Event::Spawned(nth(1)), 0, &mut actions);
    assert_eq!(actions, [spawn(1, worker(0)), spawn(2, worker(1))]);
    actions.clear();
    lifecycle.handle(Event::SpawnFailed { member: nth(2), transient: true }, 0, &mut actions);
    let failure = AnnounceFailure(StartFailure::SpawnFailed(nth(2)));
    assert_eq!(actions, [failure, CloseListeners, LeaveDispatch(nth(1)), Terminate(nth(1))]);
}

#[test]
fn a_disconnect_while_starting_waits_a_second_for_the_true_end() {
    let mut stage = Stage::begun(policy(false, 1));
    assert_eq!(stage.disconnects(1), [LeaveDispatch(nth(1))]);
    assert_eq!(stage.pass(999), NOTHING);
    let failure = StartFailure::Died { member: nth(1), death: Death::Code(7) };
    assert_eq!(stage.dies(1, Death::Code(7))[0], AnnounceFailure(failure));

    let mut stage = Stage::begun(policy(false, 1));
    stage.disconnects(1);
    let failure = StartFailure::Disconnected(nth(1));
    assert_eq!(stage.pass(1_000), [AnnounceFailure(failure), CloseListeners, Terminate(nth(1))]);
}

#[test]
fn the_boot_grace_counts_from_the_members_own_spawn() {
    let mut stage = Stage::begun(policy(true, 1));
    stage.pass(4_000);
    stage.ready(1);
    assert_eq!(stage.pass(19_999), NOTHING);
    assert_eq!(stage.pass(1)[0], AnnounceFailure(StartFailure::NotReady(nth(2))));
}

#[test]
fn a_slow_agent_is_told_of_once_in_each_of_its_lives() {
    let mut stage = Stage::begun(policy(true, 1));
    assert_eq!(stage.pass(4_999), NOTHING);
    assert_eq!(stage.pass(10_000), [Notice(N::AgentSlow(nth(1)))]);
    stage.ready(1);
    stage.ready(2);
    stage.dies(1, SIGKILL);
    assert_eq!(stage.pass(10_000), [Notice(N::AgentSlow(nth(3)))]);
}

// --- death ---

#[test]
fn a_first_death_is_replaced_in_the_same_turn() {
    let mut stage = Stage::running(policy(true, 2));
    assert_eq!(stage.dies(3, SIGKILL), [died(3, SIGKILL), refork(worker(1), 0), spawn(4, worker(1))]);
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), refork(AGENT, 0), spawn(5, AGENT)]);
}

#[test]
fn a_second_death_within_a_minute_waits_100_ms() {
    let mut stage = Stage::running(policy(false, 2));
    stage.dies(1, SIGKILL);
    stage.ready(3);
    stage.pass(30_000);
    assert_eq!(stage.dies(3, SIGKILL), [died(3, SIGKILL), refork(worker(0), 100)]);
    assert_eq!(stage.pass(99), NOTHING);
    assert_eq!(stage.pass(1), [spawn(4, worker(0))]);
}

#[test]
fn the_back_off_doubles_to_5_s_and_a_life_of_a_minute_ends_it() {
    let mut stage = Stage::running(policy(false, 1));
    let mut member = 1;
    for after_ms in [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        assert_eq!(stage.dies(member, SIGKILL)[1], refork(worker(0), after_ms));
        stage.pass(after_ms);
        member += 1;
        stage.ready(member);
    }
    stage.pass(59_999);
    assert_eq!(stage.dies(member, SIGKILL)[1], refork(worker(0), 5_000));
    stage.pass(5_000);
    stage.ready(member + 1);
    stage.pass(60_000);
    assert_eq!(stage.dies(member + 1, SIGKILL)[1], refork(worker(0), 0));
}

#[test]
fn a_worker_that_disconnects_is_replaced_then_and_not_again_when_it_ends() {
    let mut stage = Stage::running(policy(false, 1));
    let replaced = [Notice(N::Disconnected(nth(1))), LeaveDispatch(nth(1)), refork(worker(0), 0), spawn(2, worker(0))];
    assert_eq!(stage.disconnects(1), replaced);
    assert_eq!(stage.dies(1, Death::Code(1)), [died(1, Death::Code(1))]);
}

#[test]
fn a_disconnected_worker_has_30_s_then_term_then_kill() {
    let mut stage = Stage::running(policy(false, 1));
    stage.disconnects(1);
    stage.ready(2);
    assert_eq!(stage.pass(29_999), NOTHING);
    assert_eq!(stage.pass(1), [Terminate(nth(1))]);
    assert_eq!(stage.pass(4_999), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
}

#[test]
fn an_agent_that_disconnects_is_ended_before_the_next_is_spawned() {
    let mut stage = Stage::running(policy(true, 1));
    assert_eq!(stage.disconnects(1), [Notice(N::Disconnected(nth(1))), Terminate(nth(1))]);
    assert_eq!(stage.pass(3_000), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
    assert_eq!(stage.pass(60_000), NOTHING);
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), refork(AGENT, 0), spawn(3, AGENT)]);
}

#[test]
fn a_replacement_that_hangs_before_ready_is_ended_and_tried_again() {
    let mut stage = Stage::running(policy(false, 1));
    stage.dies(1, SIGKILL);
    let over = [Notice(N::BootGraceOver(nth(2))), LeaveDispatch(nth(2)), Terminate(nth(2))];
    assert_eq!(stage.pass(20_000), over);
    assert_eq!(stage.pass(5_000), [Notice(N::Killed(nth(2))), Kill(nth(2))]);
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), refork(worker(0), 100)]);
    assert_eq!(stage.pass(100), [spawn(3, worker(0))]);
}

#[test]
fn a_restarted_agent_that_hangs_is_ended_and_tried_again() {
    let mut stage = Stage::running(policy(true, 1));
    stage.dies(1, SIGKILL);
    let over = [Notice(N::AgentSlow(nth(3))), Notice(N::BootGraceOver(nth(3))), Terminate(nth(3))];
    assert_eq!(stage.pass(20_000), over);
    assert_eq!(stage.dies(3, Death::Code(0)), [died(3, Death::Code(0)), refork(AGENT, 100)]);
    assert_eq!(stage.pass(100), [spawn(4, AGENT)]);
}

#[test]
fn a_refused_refork_is_tried_again() {
    let mut stage = Stage::running(policy(false, 1));
    let (mut actions, died) = (Vec::new(), Event::Exited { member: nth(1), death: SIGKILL });
    stage.lifecycle.handle(died, 0, &mut actions);
    for (n, after_ms) in [(2, 100), (3, 200), (4, 400)] {
        assert_eq!(actions.last(), Some(&spawn(n, worker(0))));
        actions.clear();
        let refused = Event::SpawnFailed { member: nth(n), transient: n == 2 };
        stage.lifecycle.handle(refused, stage.now, &mut actions);
        assert_eq!(actions, [refork(worker(0), after_ms)]);
        assert_eq!(stage.lifecycle.next_timeout(), Some(stage.now + after_ms));
        stage.now += after_ms;
        stage.lifecycle.handle_timeout(stage.now, &mut actions);
    }
}

#[test]
fn the_61st_refork_within_a_minute_waits_for_room_and_the_log_is_told_once() {
    let mut stage = Stage::running(policy(false, 62));
    stage.pass(1_000);
    for n in 1..=60 {
        assert_eq!(stage.dies(n, SIGKILL).last(), Some(&spawn(62 + n, worker(n - 1))));
    }
    stage.pass(10_000);
    let full = Notice(N::ReforkWindowFull { wait_ms: 50_000 });
    assert_eq!(stage.dies(61, SIGKILL), [died(61, SIGKILL), refork(worker(60), 0), full]);
    assert_eq!(stage.dies(62, SIGKILL), [died(62, SIGKILL), refork(worker(61), 0)]);
    for n in 63..=122 {
        stage.ready(n);
    }
    assert_eq!(stage.pass(49_999), NOTHING);
    assert_eq!(stage.pass(1), [spawn(123, worker(60)), spawn(124, worker(61))]);
}

#[test]
fn without_refork_a_dead_member_is_not_replaced() {
    let mut stage = Stage::running(Policy { refork: false, ..policy(true, 1) });
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), Notice(N::NoRefork(worker(0)))]);
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), Notice(N::NoRefork(AGENT))]);
    assert_eq!(stage.tell(Event::Alone), NOTHING);
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

/// Found by the random lives: the deadlines of two slots fell together, and the spawn came in between.
#[test]
fn of_several_deadlines_at_once_the_spawn_comes_last() {
    let mut stage = Stage::running(Policy { boot_grace_ms: 100, ..policy(false, 3) });
    stage.dies(1, SIGKILL);
    stage.dies(4, SIGKILL); // Its next life is due in 100 ms.
    stage.dies(2, SIGKILL); // The next lives of these must be ready in 100 ms.
    stage.dies(3, SIGKILL);
    let over = |n| [Notice(N::BootGraceOver(nth(n))), LeaveDispatch(nth(n)), Terminate(nth(n))];
    assert_eq!(stage.pass(100), [&over(5)[..], &over(6), &[spawn(7, worker(0))]].concat());
}

// --- close ---

#[test]
fn a_close_is_listeners_workers_agent_strays_exit() {
    let mut stage = Stage::running(policy(true, 2));
    let begun = [
        Notice(N::Closing(TERM)),
        CloseListeners,
        LeaveDispatch(nth(2)),
        Drain(nth(2)),
        LeaveDispatch(nth(3)),
        Drain(nth(3)),
    ];
    assert_eq!(stage.signal(), begun);
    assert_eq!(stage.tell(Event::Drained(nth(3))), [Terminate(nth(3))]);
    assert_eq!(stage.dies(3, Death::Code(0)), NOTHING);
    assert_eq!(stage.tell(Event::Drained(nth(2))), [Terminate(nth(2))]);
    assert_eq!(stage.dies(2, Death::Signal(TERM)), [Drain(nth(1))]);
    assert_eq!(stage.tell(Event::Drained(nth(1))), [Terminate(nth(1))]);
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
    assert_eq!(stage.tell(Event::Alone), [Exit(0)]);
    assert_eq!(stage.tell(Event::Alone), NOTHING);
    assert_eq!(stage.lifecycle.phase(), Phase::Ended);
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

#[test]
fn half_of_the_grace_is_for_the_polite_part_and_the_whole_ends_in_kill() {
    let mut stage = Stage::running(policy(true, 1));
    stage.signal();
    assert_eq!(stage.pass(2_499), NOTHING);
    assert_eq!(stage.pass(1), [Terminate(nth(2))]);
    assert_eq!(stage.tell(Event::Drained(nth(2))), NOTHING);
    assert_eq!(stage.pass(2_499), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::Killed(nth(2))), Kill(nth(2))]);
    assert_eq!(stage.dies(2, SIGKILL), [Drain(nth(1))]);
    assert_eq!(stage.pass(1_500), [Terminate(nth(1))]);
    assert_eq!(stage.pass(1_500), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
}

#[test]
fn a_second_signal_skips_the_polite_part_and_a_third_does_nothing() {
    let mut stage = Stage::running(policy(true, 2));
    stage.signal();
    stage.tell(Event::Drained(nth(2)));
    assert_eq!(stage.signal(), [Notice(N::CloseHurried(TERM)), Terminate(nth(3))]);
    assert_eq!(stage.signal(), NOTHING);
    stage.dies(2, Death::Code(0));
    assert_eq!(stage.dies(3, Death::Code(0)), [Terminate(nth(1))]);
}

#[test]
fn a_close_asks_only_ready_members_politely() {
    let mut stage = Stage::running(policy(false, 3));
    stage.disconnects(1); // Lingers; its replacement boots.
    let mut begun = stage.signal();
    begun.sort_by_key(|action| matches!(action, Terminate(_)));
    let terminated = &begun[begun.len() - 2..];
    assert_eq!(terminated, [Terminate(nth(4)), Terminate(nth(1))]);
    assert!(begun.contains(&Drain(nth(2))) && begun.contains(&Drain(nth(3))), "{begun:?}");
}

#[test]
fn a_worker_that_closes_its_channel_while_it_drains_gets_its_term() {
    let mut stage = Stage::running(policy(false, 1));
    stage.signal();
    assert_eq!(stage.disconnects(1), [Terminate(nth(1))]);
}

#[test]
fn a_worker_that_crashes_while_it_drains_is_told_of() {
    let mut stage = Stage::running(policy(false, 1));
    stage.signal();
    assert_eq!(stage.dies(1, Death::Signal(11)), [died(1, Death::Signal(11)), EndStrays { kill: false }]);
}

#[test]
fn a_stop_during_boot_ends_the_workers_before_the_agent_and_exits_with_0() {
    let mut stage = Stage::begun(policy(true, 2));
    stage.ready(1);
    stage.ready(2);
    let begun = [
        AnnounceStopped(TERM),
        CloseListeners,
        LeaveDispatch(nth(2)),
        Drain(nth(2)),
        LeaveDispatch(nth(3)),
        Terminate(nth(3)),
    ];
    assert_eq!(stage.signal(), begun);
    assert_eq!(stage.dies(3, Death::Signal(TERM)), NOTHING);
    assert_eq!(stage.dies(2, Death::Code(0)), [Drain(nth(1))]);
    stage.dies(1, Death::Code(0));
    assert_eq!(stage.tell(Event::Alone), [Exit(0)]);
}

#[test]
fn a_stop_while_the_agent_boots_spawns_no_worker() {
    let mut stage = Stage::begun(policy(true, 2));
    assert_eq!(stage.signal(), [AnnounceStopped(TERM), CloseListeners, Terminate(nth(1))]);
    assert_eq!(stage.ready(1), NOTHING);
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
}

#[test]
fn a_close_during_a_back_off_spawns_nobody() {
    let mut stage = Stage::running(policy(false, 1));
    stage.dies(1, SIGKILL);
    stage.dies(2, SIGKILL);
    assert_eq!(stage.signal(), [Notice(N::Closing(TERM)), CloseListeners, EndStrays { kill: false }]);
    assert_eq!(stage.pass(999), NOTHING);
    assert_eq!(stage.tell(Event::Alone), [Exit(0)]);
}

#[test]
fn an_agent_that_dies_while_workers_close_is_told_of_and_not_replaced() {
    let mut stage = Stage::running(policy(true, 1));
    stage.signal();
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL)]);
    stage.tell(Event::Drained(nth(2)));
    assert_eq!(stage.dies(2, Death::Code(0)), [EndStrays { kill: false }]);
}

#[test]
fn strays_have_a_second_then_kill_every_100_ms_until_nobody_is_left() {
    let mut stage = Stage::running(policy(false, 1));
    stage.signal();
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
    assert_eq!(stage.pass(999), NOTHING);
    assert_eq!(stage.pass(1), [EndStrays { kill: true }]);
    assert_eq!(stage.pass(200), [EndStrays { kill: true }, EndStrays { kill: true }]);
    assert_eq!(stage.tell(Event::Alone), [Exit(0)]);
}

#[test]
fn strays_that_survive_kill_for_10_s_are_given_up_with_1() {
    let mut stage = Stage::running(policy(false, 1));
    stage.signal();
    stage.dies(1, Death::Code(0));
    let mut actions = stage.pass(11_000);
    assert_eq!(actions.split_off(100), [Notice(N::StraysGivenUp), Exit(1)]);
    assert!(actions.iter().all(|action| *action == EndStrays { kill: true }), "{actions:?}");
}

#[test]
fn a_member_that_survives_kill_for_10_s_does_not_hold_up_the_close() {
    let mut stage = Stage::running(policy(true, 1));
    stage.signal();
    stage.pass(5_000);
    assert_eq!(stage.pass(9_999), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::GivenUp(nth(2))), Drain(nth(1))]);
    stage.tell(Event::Drained(nth(1)));
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
    assert_eq!(stage.dies(2, SIGKILL), NOTHING);
    assert_eq!(stage.tell(Event::Alone), [Exit(1)]);
}
