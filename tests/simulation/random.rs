//! Random lives: up to eight workers, random constants and faults, for minutes of their time; then faults stop.
//!
//! 20 s of the same lives each time; `EGGCTL_LONG=1` runs others for 120 s, `EGGCTL_SIM_SECONDS=n` for so long.
//! `EGGCTL_SEED=n` runs this one life and tells its moves; with `EGGCTL_SIM_SECONDS`, those from this one on.

use std::time::{Duration, Instant, SystemTime};

use eggctl::lifecycle::{Death, OperationKind, Phase, Policy, ReloadHow, Wanted};

use super::coverage::Coverage;
use super::world::{Ask, Move, PATIENCE, Verdict, World, story};

/// The first life of a default run, and the next have the next numbers: always the same lives, so that a change is told of
/// what it broke, and never, by chance, of a fault that was there before it. New lives are the long form's.
const FIRST_SEED: u64 = 1;

/// SplitMix64: a stream of numbers from a seed, good enough for dice.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What kind of life this is: how likely is what.
struct Nature {
    spawn_fails: u64,
    dies: u64,
    disconnects: u64,
    is_asked_to_close: u64,
    patient: u64,
    is_asked: u64,
}

fn life(seed: u64, coverage: &mut Coverage) -> Result<World, (Box<World>, String)> {
    let mut dice = Dice(seed);
    let policy = Policy {
        agent: dice.one_in(2),
        workers: 1 + dice.below(8) as u32,
        refork: !dice.one_in(5),
        exit_when_down: dice.one_in(2),
        spares: 0,
        cores: 1 + dice.below(6) as u32,
        boot_grace_ms: 1_000 + dice.below(20_000),
        worker_close_grace_ms: dice.below(10_000),
        agent_close_grace_ms: dice.below(10_000),
    };
    let policy = Policy { spares: if policy.refork { dice.below(3) as u32 } else { 0 }, ..policy };
    let nature = Nature {
        spawn_fails: 2 + dice.below(30),
        dies: 1 + dice.below(30),
        disconnects: 1 + dice.below(60),
        is_asked_to_close: 1 + dice.below(200),
        patient: 1 + dice.below(8),
        is_asked: 1 + dice.below(30),
    };
    let mut world = if dice.one_in(4) {
        World::new(policy)
    } else {
        let running = if dice.one_in(2) { World::serving_at } else { World::running };
        running(policy.clone(), coverage).map_err(|words| (Box::new(World::new(policy)), words))?
    };
    world.asks = asks(&mut dice, world.policy.workers).into();
    world.asks_left = dice.below(12) as u32;
    world.passes_gate = dice.one_in(6);
    world.gives_up = dice.one_in(3);
    world.has_servers |= world.lifecycle.phase() == Phase::New && dice.one_in(2);
    let steps = 20 + dice.below(600);
    for _ in 0..steps {
        if world.lifecycle.phase() == Phase::Ended {
            break;
        }
        if let Err(words) = chance(&mut world, &nature, &mut dice, coverage) {
            return Err((Box::new(world), words));
        }
    }
    world.must_end_well(dice.one_in(2), coverage)
}

/// What may be asked for in this life.
fn asks(dice: &mut Dice, workers: u32) -> Vec<Ask> {
    let how = |dice: &mut Dice| ReloadHow {
        rolling: dice.one_in(2),
        batch: dice.one_in(3).then(|| 1 + dice.below(9) as u32),
        agent: dice.one_in(3),
        patience: PATIENCE,
    };
    let count = workers + 3 - dice.below(u64::from(workers) + 3) as u32;
    let scale =
        [Wanted::Exactly(count), Wanted::More(1 + dice.below(3) as u32), Wanted::Fewer(1 + dice.below(2) as u32)];
    let reload = how(dice);
    vec![
        Ask::Reload(reload),
        Ask::Reload(how(dice)),
        Ask::ReloadByMember(how(dice)),
        Ask::Replace(how(dice)),
        Ask::Cancel(if dice.one_in(3) { OperationKind::Scale } else { OperationKind::Reload }),
        Ask::Scale(scale[dice.below(3) as usize]),
    ]
}

/// One thing happens by chance.
fn chance(world: &mut World, nature: &Nature, dice: &mut Dice, coverage: &mut Coverage) -> Verdict {
    if world.pending.is_some() {
        return world.step(Move::Answer(!dice.one_in(nature.spawn_fails)), coverage);
    }
    if dice.one_in(8) {
        world.tell_lies(coverage)?;
    }
    let death = [Death::Code(0), Death::Code(1), Death::Signal(9), Death::Signal(11)][dice.below(4) as usize];
    let left = u32::from(dice.one_in(10));
    let moves = world.moves(&[death], &[left]);
    let next = moves[dice.below(moves.len() as u64) as usize];
    let rare = match next {
        Move::Die(..) => nature.dies,
        Move::Disconnect(_) | Move::Unlisten(_) | Move::Leave(_) => nature.disconnects,
        Move::Close | Move::GiveUp => nature.is_asked_to_close,
        Move::StraysEnd => 4,
        Move::Begin
        | Move::Answer(_)
        | Move::Ready(_)
        | Move::Listen(_)
        | Move::AtGate(_)
        | Move::Drain(_)
        | Move::Wait(_) => 1,
        Move::Ask(_) => nature.is_asked,
        Move::Deadline | Move::JustBefore => nature.patient,
    };
    if dice.one_in(rare) {
        return world.step(next, coverage);
    }
    let room = world.lifecycle.next_timeout().map_or(90_000, |due| due.saturating_sub(world.now).saturating_sub(1));
    match room {
        0 => world.step(Move::Deadline, coverage),
        _ if dice.one_in(3) => world.step(Move::Wait(room), coverage),
        _ => world.step(Move::Wait(room.min(1 + dice.below(400))), coverage),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_lives_keep_every_invariant() {
    let mut coverage = Coverage::default();
    let (seed, seconds) = (number("EGGCTL_SEED"), number("EGGCTL_SIM_SECONDS"));
    if let (Some(seed), None) = (seed, seconds) {
        match life(seed, &mut coverage) {
            Ok(world) => println!("seed {seed} ends well at {} ms:\n  {}", world.now, story(&world.trail)),
            Err(failure) => fail(seed, failure),
        }
        return;
    }
    let long = number("EGGCTL_LONG") == Some(1);
    let length = Duration::from_secs(seconds.unwrap_or(if long { 120 } else { 20 }));
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let first = seed.unwrap_or_else(|| if long || seconds.is_some() { clock() } else { FIRST_SEED });
    let (began, mut lives) = (Instant::now(), 0);
    while began.elapsed() < length {
        let seed = first.wrapping_add(lives);
        life(seed, &mut coverage).unwrap_or_else(|failure| fail(seed, failure));
        lives += 1;
    }
    println!("{lives} random lives from seed {first}\n{}", coverage.table());
    assert!(lives > 100, "only {lives} lives in {length:?}");
}

fn fail<T>(seed: u64, (world, words): (Box<World>, String)) -> T {
    panic!(
        "{words}\nat {} ms, {:#?}\n{:?}\nafter:\n  {}\nagain: EGGCTL_SEED={seed} cargo test random_lives",
        world.now,
        world.lifecycle,
        world.judge,
        story(&world.trail)
    );
}
