//! Every order of events for one and two workers, with and without an agent and refork, from nothing and from full
//! strength, to a depth of seven, over distinct states. In each of them every late or untrue event is tried, and whether
//! all ends well from there.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use eggctl::lifecycle::{Death, OperationKind, Policy, ReloadHow, Wanted};

use super::coverage::Coverage;
use super::world::{Ask, PATIENCE, World, story};

const DEPTH: u32 = 7;

fn policy(agent: bool, workers: u32, refork: bool) -> Policy {
    let exit_when_down = agent;
    let (boot_grace_ms, worker_close_grace_ms, agent_close_grace_ms) = (8_000, 4_000, 3_000);
    let (spares, cores) = (0, 1);
    Policy {
        agent,
        workers,
        refork,
        spares,
        cores,
        exit_when_down,
        boot_grace_ms,
        worker_close_grace_ms,
        agent_close_grace_ms,
    }
}

/// Walks all states that can be reached from here in so many moves; returns how many.
fn walk(start: World, depth: u32, coverage: &mut Coverage) -> usize {
    let hasher = BuildHasherDefault::<DefaultHasher>::new();
    let mut seen = HashSet::new();
    start.tell_lies(coverage).unwrap_or_else(|words| fail(&start, &words));
    let mut level = vec![start];
    for left in (0..depth).rev() {
        let mut next_level = Vec::new();
        while let Some(world) = level.pop() {
            for next in world.moves(&[Death::Code(0)], &[0]) {
                let mut world = world.clone();
                world.step(next, coverage).unwrap_or_else(|words| fail(&world, &words));
                if !seen.insert(hasher.hash_one(&world)) {
                    continue;
                }
                world.tell_lies(coverage).unwrap_or_else(|words| fail(&world, &words));
                if world.pending.is_some() && !world.answers_late {
                    level.push(world); // The answer belongs to the same turn.
                    continue;
                }
                // The end of a state is mostly that of the states after it: the last two levels add little.
                let judged = if left >= 2 { &[false, true][..] } else { &[] };
                for &stubborn in judged {
                    world.must_end_well(stubborn, coverage).unwrap_or_else(|(world, words)| fail(&world, &words));
                }
                if left > 0 {
                    next_level.push(world);
                }
            }
        }
        level = next_level;
    }
    seen.len()
}

fn fail<T>(world: &World, words: &str) -> T {
    panic!("{words}\nat {} ms, {:#?}\nafter:\n  {}", world.now, world.lifecycle, story(&world.trail));
}

/// One world to begin with.
#[derive(Clone, Copy, Debug)]
struct Case {
    workers: u32,
    agent: bool,
    refork: bool,
    start: Start,
    /// What may be asked for, as often in all as there are kinds of it.
    asks: Asks,
    spares: u32,
    passes_gate: bool,
    servers: bool,
}

/// What may be asked for.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Nothing,
    One(Ask),
    /// Also in the other order, or one of them twice.
    Two(Ask, Ask),
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Nothing,
    FullStrength,
    /// Full strength, and a process in the tree that is no member.
    WithStray,
}

impl Case {
    /// Wide worlds are walked a move or two less deep, but for the long form.
    fn depth(&self) -> u32 {
        let long = std::env::var("EGGCTL_LONG").is_ok_and(|long| long == "1");
        let less = u32::from(self.servers)
            + match (self.asks, self.workers == 2 && self.refork) {
                (Asks::Two(..), _) | (Asks::One(_), true) => 2,
                (Asks::One(_), false) | (Asks::Nothing, true) => 1,
                (Asks::Nothing, false) => 0,
            };
        if long { DEPTH } else { DEPTH - less }
    }
}

/// The largest first, so that threads end together. What strays do, one worker shows.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (workers, start) in [
        (2, Start::FullStrength),
        (2, Start::Nothing),
        (1, Start::WithStray),
        (1, Start::FullStrength),
        (1, Start::Nothing),
    ] {
        for (agent, refork) in [(true, true), (true, false), (false, true), (false, false)] {
            cases.push(Case {
                workers,
                agent,
                refork,
                start,
                asks: Asks::Nothing,
                spares: 0,
                passes_gate: false,
                servers: false,
            });
        }
    }
    cases
}

/// Each operation from full strength and during a start, with spares and without, and one that passes the gate.
fn operations() -> Vec<Case> {
    let how = ReloadHow { patience: PATIENCE, ..ReloadHow::default() };
    let rolling = Ask::Reload(ReloadHow { rolling: true, agent: true, ..how });
    let all_at_once = Ask::ReloadByMember(ReloadHow { rolling: true, batch: Some(u32::MAX), ..how });
    let plain = |workers, ask| Case {
        workers,
        agent: false,
        refork: true,
        start: Start::FullStrength,
        asks: Asks::One(ask),
        spares: 0,
        passes_gate: false,
        servers: false,
    };
    let scales = [Ask::Scale(Wanted::More(1)), Ask::Scale(Wanted::Fewer(1))];
    let mut cases = vec![
        plain(2, Ask::Reload(how)),
        Case { passes_gate: true, ..plain(2, Ask::Reload(how)) },
        Case { refork: false, ..plain(2, all_at_once) },
        Case { agent: true, ..plain(1, rolling) },
        Case { spares: 1, ..plain(1, Ask::Reload(how)) },
        Case { spares: 1, passes_gate: true, ..plain(1, Ask::Reload(how)) },
        Case { start: Start::Nothing, agent: true, ..plain(1, rolling) },
    ];
    let cancel = Ask::Cancel(OperationKind::Reload);
    let rolling_of_two = Ask::Reload(ReloadHow { rolling: true, ..how });
    cases.extend([
        Case { asks: Asks::Two(Ask::Reload(how), cancel), ..plain(1, cancel) },
        Case { asks: Asks::Two(rolling_of_two, cancel), ..plain(2, cancel) },
        Case { asks: Asks::Two(rolling, cancel), agent: true, ..plain(1, cancel) },
        Case { asks: Asks::Two(Ask::Reload(how), Ask::Replace(how)), ..plain(1, cancel) },
        Case { asks: Asks::Two(rolling, Ask::Replace(how)), agent: true, refork: false, ..plain(1, cancel) },
        Case { asks: Asks::Two(Ask::Scale(Wanted::More(1)), Ask::Cancel(OperationKind::Scale)), ..plain(1, cancel) },
    ]);
    cases.extend(scales.map(|scale| plain(2, scale)));
    let in_a_start = [scales[0], scales[1], cancel, Ask::Replace(how)];
    cases.extend(in_a_start.map(|ask| Case { start: Start::Nothing, agent: true, ..plain(1, ask) }));
    cases
}

/// Workers whose servers close and listen again, and that say that they leave.
fn servers() -> Vec<Case> {
    let how = ReloadHow { patience: PATIENCE, ..ReloadHow::default() };
    let plain = |workers, start, asks| Case {
        workers,
        agent: false,
        refork: true,
        start,
        asks,
        spares: 0,
        passes_gate: false,
        servers: true,
    };
    let reload = |rolling| Asks::One(Ask::Reload(ReloadHow { rolling, ..how }));
    vec![
        plain(2, Start::FullStrength, Asks::Nothing),
        plain(1, Start::FullStrength, reload(false)),
        plain(1, Start::FullStrength, reload(true)),
        plain(2, Start::Nothing, Asks::Nothing),
        Case { spares: 1, ..plain(1, Start::FullStrength, Asks::Nothing) },
        Case { refork: false, ..plain(1, Start::FullStrength, Asks::Nothing) },
        Case { agent: true, ..plain(1, Start::FullStrength, Asks::Nothing) },
    ]
}

fn explore(case: Case, coverage: &mut Coverage) {
    let began = Instant::now();
    let policy = Policy { spares: case.spares, ..policy(case.agent, case.workers, case.refork) };
    let mut world = match case.start {
        Start::Nothing => World::new(policy),
        Start::FullStrength | Start::WithStray => {
            let running = if case.servers { World::serving_at } else { World::running };
            running(policy, coverage).expect("a start without faults works")
        }
    };
    world.has_servers = case.servers;
    world.strays = u32::from(matches!(case.start, Start::WithStray));
    world.asks = match case.asks {
        Asks::Nothing => [].into(),
        Asks::One(ask) => [ask].into(),
        Asks::Two(one, other) => [one, other].into(),
    };
    world.asks_left = world.asks.len() as u32;
    world.passes_gate = case.passes_gate;
    let states = walk(world, case.depth(), coverage);
    println!("{case:?}: {states} states, {:.1?}", began.elapsed());
}

#[test]
fn every_order_of_events_keeps_every_invariant() {
    let (cases, next, coverage) =
        ([cases(), operations(), servers()].concat(), AtomicUsize::new(0), Mutex::new(Coverage::default()));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut own = Coverage::default();
                    explore(case, &mut own);
                    coverage.lock().expect("no thread has panicked").add(&own);
                }
            });
        }
    });
    let coverage = coverage.into_inner().expect("no thread has panicked");
    println!("{}", coverage.table());
    assert_eq!(coverage.gaps(), [""; 0], "\n{}", coverage.table());
}

/// The contract says that a spawn is answered before anything else happens. Even a master that broke it would do no harm.
#[test]
fn even_a_late_answer_to_a_spawn_breaks_nothing() {
    let mut coverage = Coverage::default();
    for agent in [false, true] {
        let policy = policy(agent, 1, true);
        let running = World::running(policy.clone(), &mut coverage).expect("a start without faults works");
        for mut world in [World::new(policy), running] {
            world.answers_late = true;
            walk(world, DEPTH, &mut coverage);
        }
    }
}
