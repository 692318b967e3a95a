//! The end in order.

use eggctl::lifecycle::Action::{
    AnnounceStopped, CloseListeners, Drain, EndChannel, EndStrays, Exit, Kill, LeaveDispatch, Notice, Terminate,
};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{CloseCause, Death, Event, Phase, Policy};

use super::{NOTHING, SIGKILL, Stage, TERM, died, nth, policy};

const GIVEN_UP: Event = Event::Close(CloseCause::StartGivenUp(TERM));

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
fn a_fault_of_the_masters_own_closes_as_politely_and_the_exit_code_is_1() {
    let mut stage = Stage::running(policy(false, 1));
    assert_eq!(stage.tell(Event::Close(CloseCause::Fault)), [CloseListeners, LeaveDispatch(nth(1)), Drain(nth(1))]);
    assert_eq!(stage.tell(Event::Close(CloseCause::Fault)), NOTHING);
    assert_eq!(stage.tell(Event::Drained(nth(1))), [Terminate(nth(1))]);
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
    assert_eq!(stage.tell(Event::Alone), [Exit(1)]);
}

#[test]
fn a_fault_in_the_middle_of_a_close_shows_in_its_exit_code() {
    let mut stage = Stage::running(policy(false, 1));
    stage.signal();
    assert_eq!(stage.tell(Event::Close(CloseCause::Fault)), NOTHING);
    stage.tell(Event::Drained(nth(1)));
    stage.dies(1, Death::Code(0));
    assert_eq!(stage.tell(Event::Alone), [Exit(1)]);
}

#[test]
fn requests_in_flight_have_the_grace_less_a_fifth_and_the_whole_ends_in_kill() {
    let mut stage = Stage::running(policy(true, 1));
    stage.signal();
    assert_eq!(stage.pass(3_999), NOTHING);
    assert_eq!(stage.pass(1), [Terminate(nth(2))]);
    assert_eq!(stage.tell(Event::Drained(nth(2))), NOTHING);
    assert_eq!(stage.pass(999), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::Killed(nth(2))), Kill(nth(2))]);
    assert_eq!(stage.dies(2, SIGKILL), [Drain(nth(1))]);
    assert_eq!(stage.pass(2_399), NOTHING);
    assert_eq!(stage.pass(1), [Terminate(nth(1))]);
    assert_eq!(stage.pass(599), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
}

#[test]
fn a_grace_of_any_length_is_divided_without_a_rest_and_none_is_a_kill_at_once() {
    for grace_ms in 0..12 {
        let policy = Policy { worker_close_grace_ms: grace_ms, agent_close_grace_ms: grace_ms, ..policy(true, 1) };
        let mut stage = Stage::running(policy);
        let [mut asked, began] = [stage.signal(), Vec::new()];
        for _ in 0..grace_ms - grace_ms / 5 {
            assert!(!asked.contains(&Terminate(nth(2))), "{grace_ms}");
            asked = [began.clone(), stage.pass(1)].concat();
        }
        asked.extend(stage.pass(0));
        assert!(asked.contains(&Terminate(nth(2))), "{grace_ms}: {asked:?}");
        asked.extend(stage.pass(grace_ms / 5));
        assert!(asked.contains(&Kill(nth(2))), "{grace_ms}: {asked:?}");
    }
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
fn a_stop_during_boot_asks_nobody_politely_ends_the_workers_before_the_agent_and_exits_with_0() {
    let mut stage = Stage::begun(policy(true, 2));
    stage.ready(1);
    stage.ready(2);
    let begun = [
        AnnounceStopped(TERM),
        CloseListeners,
        LeaveDispatch(nth(2)),
        EndChannel(nth(2)),
        Terminate(nth(2)),
        LeaveDispatch(nth(3)),
        EndChannel(nth(3)),
        Terminate(nth(3)),
    ];
    assert_eq!(stage.signal(), begun);
    assert_eq!(stage.dies(3, Death::Signal(TERM)), NOTHING);
    assert_eq!(stage.dies(2, Death::Code(0)), [EndChannel(nth(1)), Terminate(nth(1))]);
    stage.dies(1, Death::Code(0));
    assert_eq!(stage.tell(Event::Alone), [Exit(0)]);
}

#[test]
fn a_start_that_is_given_up_ends_even_when_everything_is_ready() {
    let ends = |n| [EndChannel(nth(n)), Terminate(nth(n))];
    let mut stage = Stage::running(policy(true, 1));
    let begun = [&[Notice(N::Closing(TERM)), CloseListeners, LeaveDispatch(nth(2))][..], &ends(2)].concat();
    assert_eq!(stage.tell(GIVEN_UP), begun);
    assert_eq!(stage.signal(), NOTHING, "its TERM says the same");
    assert_eq!(stage.pass(499), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::Killed(nth(2))), Kill(nth(2))]);
    assert_eq!(stage.dies(2, SIGKILL), ends(1));
    assert_eq!(stage.pass(500), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
    assert_eq!(stage.dies(1, SIGKILL), [EndStrays { kill: false }]);
    assert_eq!(stage.pass(500), [EndStrays { kill: true }]);
    assert_eq!(stage.tell(Event::Alone), [Exit(0)]);
}

#[test]
fn a_start_that_is_given_up_after_its_term_waits_no_longer_for_who_drains() {
    let mut stage = Stage::running(policy(false, 2));
    stage.signal();
    stage.tell(Event::Drained(nth(2)));
    stage.pass(100);
    assert_eq!(stage.tell(GIVEN_UP), [EndChannel(nth(1)), Terminate(nth(1))]);
    assert_eq!(stage.pass(500).len(), 4, "KILL for both");
}

#[test]
fn a_stop_while_the_agent_boots_spawns_no_worker() {
    let mut stage = Stage::begun(policy(true, 2));
    assert_eq!(stage.signal(), [AnnounceStopped(TERM), CloseListeners, EndChannel(nth(1)), Terminate(nth(1))]);
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

#[test]
fn a_receipt_tells_who_left_by_itself_at_the_limit_by_kill_or_by_another_death() {
    use eggctl::lifecycle::Leave;
    let mut stage = Stage::running(policy(true, 3));
    let of = |stage: &Stage, n: u32, death| stage.lifecycle.leave(nth(n), death);
    assert_eq!(of(&stage, 2, SIGKILL), None, "nothing has asked it to leave");
    stage.signal();
    assert_eq!(of(&stage, 2, Death::Signal(11)), Some(Leave::Died));
    assert_eq!(of(&stage, 2, Death::Code(0)), Some(Leave::ByItself));
    stage.tell(Event::Drained(nth(2)));
    assert_eq!(of(&stage, 2, Death::Signal(TERM)), Some(Leave::ByItself));
    stage.pass(4_000);
    assert_eq!(of(&stage, 2, Death::Signal(TERM)), Some(Leave::ByItself), "its TERM came in time");
    assert_eq!(of(&stage, 3, Death::Signal(TERM)), Some(Leave::AtLimit));
    stage.pass(1_000);
    assert_eq!(of(&stage, 3, SIGKILL), Some(Leave::Killed));
    assert_eq!(of(&stage, 1, SIGKILL), Some(Leave::Died), "the agent's turn has not come");
    let mut hurried = Stage::running(policy(false, 1));
    hurried.signal();
    hurried.signal();
    assert_eq!(of(&hurried, 1, Death::Code(0)), Some(Leave::AtLimit), "it was given no time");
}
