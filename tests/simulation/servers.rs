//! Workers that show by listening that they are ready, close their servers, listen again, and say that they leave: what they do,
//! and what the judge holds against a master that replaces them too early, too late or not at all, or closes their socket.

use eggctl::lifecycle::{Address, Event, Listen, MemberId, Millis, Role, Worth};

use super::coverage::Coverage;
use super::world::{Move, Process, Verdict, World};

/// Where the application serves.
const SERVICE: Address = Address(0);
const LISTEN: Listen = Listen { address: SERVICE, worth: Worth::Service, decides: true, lasts: true };
/// How long a worker may stay away.
const AWAY_MS: Millis = 1_000;

impl Process {
    /// It is ready, and has not ceased to be.
    pub fn serves(&self) -> bool {
        self.ready && self.open && self.away_since.is_none() && !self.has_left
    }

    fn is_worker(&self) -> bool {
        self.role != Role::Agent
    }

    /// Nobody has asked it to go.
    fn is_untouched(&self) -> bool {
        self.open && self.termed_at.is_none() && !self.asked_to_drain
    }
}

impl World {
    /// What servers of one that does not live are said to do.
    pub fn lies_of_servers(&self, id: MemberId) -> [Event; 3] {
        let closes = Event::Closes { member: id, address: SERVICE };
        [Event::Listens { member: id, listen: LISTEN }, closes, Event::Leaves(id)]
    }

    /// How this one becomes ready.
    pub fn becomes_ready(&self, process: &Process) -> Move {
        if self.has_servers && process.is_worker() { Move::Listen(process.id) } else { Move::Ready(process.id) }
    }

    /// What servers may do now, beside making their workers ready.
    pub fn moves_of_servers(&self, process: &Process, moves: &mut Vec<Move>) {
        if !(self.has_servers && process.is_worker() && process.open && process.ready) {
            return;
        }
        moves.push(if process.listens { Move::Unlisten(process.id) } else { Move::Listen(process.id) });
        if !process.has_left {
            moves.push(Move::Leave(process.id));
        }
    }

    /// It is ready, by its own word or by listening.
    pub fn is_ready(&mut self, id: MemberId, coverage: &mut Coverage) -> Verdict {
        let held = self.lifecycle.is_held(id);
        if let Some(process) = self.process_mut(id) {
            process.ready = true;
            process.passed_gate = held;
            let listens = process.listens;
            self.is_deserted &= !listens;
        }
        self.judge_seats(Some(id));
        self.tell(Event::Ready(id), coverage)?;
        self.judge_up();
        Ok(())
    }

    pub fn listen(&mut self, id: MemberId, coverage: &mut Coverage) -> Verdict {
        self.deserted_since = None;
        let mut is_back = false;
        if let Some(process) = self.process_mut(id) {
            process.listens = true;
            if !process.has_left && process.is_untouched() {
                is_back = process.away_since.take().is_some();
            }
        }
        if is_back {
            self.is_deserted = false;
            self.judge_seats(Some(id));
        }
        self.tell(Event::Listens { member: id, listen: LISTEN }, coverage)?;
        if is_back {
            self.judge_up();
        }
        Ok(())
    }

    pub fn unlisten(&mut self, id: MemberId, coverage: &mut Coverage) -> Verdict {
        self.note_fault(id);
        let now = self.now;
        let mut ceases = false;
        if let Some(process) = self.process_mut(id) {
            process.listens = false;
            ceases = process.serves() && process.is_untouched();
            if ceases {
                process.away_since = Some(now);
            }
        }
        if ceases {
            self.judge.saw_next_leave(id);
            if self.processes.iter().all(|process| !process.listens) {
                self.deserted_since = Some(now);
            }
        }
        self.tell(Event::Closes { member: id, address: SERVICE }, coverage)
    }

    pub fn leave(&mut self, id: MemberId, coverage: &mut Coverage) -> Verdict {
        self.note_fault(id);
        let (now, is_running) = (self.now, self.judge.is_running());
        let is_noticed = |process: &&Process| is_running && process.ready && process.is_untouched();
        if self.process(id).as_ref().is_some_and(is_noticed) {
            self.loses_its_place(id, now);
        }
        self.tell(Event::Leaves(id), coverage)
    }

    fn loses_its_place(&mut self, id: MemberId, now: Millis) {
        if let Some(process) = self.process_mut(id) {
            process.has_left = true;
        }
        self.judge.saw_next_leave(id);
        self.judge.saw_leave(id, now);
    }

    /// The log says that it stayed away.
    pub fn judge_left_address(&mut self, id: MemberId) -> Verdict {
        must!(self.judge.is_running() && self.judge.is_holder(id), "{id:?} has no seat to lose");
        must!(self.stayed_away(id), "{id:?} is taken for gone, and is not, or too early");
        self.loses_its_place(id, self.now);
        Ok(())
    }

    /// Has it been away for exactly as long as it may?
    pub fn stayed_away(&self, id: MemberId) -> bool {
        self.process(id).is_some_and(|process| {
            let due = process.away_since.map(|since| since + AWAY_MS);
            process.has_left || due == Some(self.now) || self.answers_late && due < Some(self.now)
        })
    }

    pub fn judge_deserted(&mut self) -> Verdict {
        let due = self.deserted_since.map(|since| since + self.policy.boot_grace_ms);
        must!(due == Some(self.now) || self.answers_late, "the socket is closed at {}, due {due:?}", self.now);
        self.is_deserted = true;
        Ok(())
    }

    /// What must be so after every turn.
    pub fn judge_servers(&self) -> Verdict {
        for process in self.processes.iter().filter(|process| process.is_untouched() && !process.has_left) {
            let late = process.away_since.is_some_and(|since| self.now >= since + AWAY_MS);
            let is_closing = self.judge.is_closing();
            must!(!late || is_closing || self.answers_late, "{process:?} stays away, and nobody takes its place");
        }
        if !(self.has_servers && self.judge.is_running() && self.policy.refork) {
            return Ok(());
        }
        let worker = |role: Role| matches!(role, Role::Worker { slot, .. } if slot < self.policy.workers);
        let serves = |id| self.process(id).is_some_and(Process::serves);
        let vacant = |holder: Option<(MemberId, Millis)>| !holder.is_some_and(|holder| serves(holder.0));
        let is_due = self.judge.seats().any(|seat| worker(seat.role) && vacant(seat.holder));
        // While one serves, it has the socket.
        let is_open = self.processes.iter().any(|process| process.listens && process.serves());
        let deserted_at = self.deserted_since.map(|since| since + self.policy.boot_grace_ms);
        let may_close = self.is_deserted || deserted_at.is_some_and(|at| self.now > at);
        let is_kept = is_open || self.lifecycle.keeps(SERVICE);
        must!(!is_due || may_close || is_kept, "a worker is due, and the socket is not kept");
        Ok(())
    }
}
