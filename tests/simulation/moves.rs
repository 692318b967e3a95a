//! What can happen next, and what is asked for.

use eggctl::lifecycle::{CancelledBy, Death, Event, Phase, RequestId, Role};

use super::coverage::Coverage;
use super::world::{Ask, Move, PATIENCE, Process, Verdict, World};

impl World {
    /// Everything that can happen now. `deaths`: the ways to die that are tried.
    pub fn moves(&self, deaths: &[Death], strays: &[u32]) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.pending.is_some() {
            moves.extend([Move::Answer(true), Move::Answer(false)]);
            if !self.answers_late {
                return moves;
            }
        }
        if self.lifecycle.phase() == Phase::New {
            moves.push(Move::Begin);
        }
        for process in &self.processes {
            let held = self.lifecycle.is_held(process.id);
            if process.open && !process.ready && (!held || self.passes_gate && !process.at_gate) {
                moves.push(self.becomes_ready(process));
            }
            self.moves_of_servers(process, &mut moves);
            if process.open && (held || self.may_ask(process)) && !process.at_gate && !self.passes_gate {
                moves.push(Move::AtGate(process.id));
            }
            if process.open && process.asked_to_drain && !process.drained {
                moves.push(Move::Drain(process.id));
            }
            if process.open {
                moves.push(Move::Disconnect(process.id));
            }
            for &left in strays {
                moves.extend(deaths.iter().map(|&death| Move::Die(process.id, death, left)));
            }
        }
        if self.strays > 0 {
            moves.push(Move::StraysEnd);
        }
        if self.closes < 3 {
            moves.push(Move::Close);
            moves.extend((self.gives_up && self.lifecycle.phase() != Phase::New).then_some(Move::GiveUp));
        }
        if self.asks_left > 0 {
            moves.extend(self.asks.iter().map(|ask| Move::Ask(*ask)));
        }
        if let Some(due) = self.lifecycle.next_timeout() {
            moves.push(Move::Deadline);
            if due > self.now {
                moves.push(Move::JustBefore);
            }
        }
        moves
    }

    /// Does it make a difference that this worker, which is not held, asks for the served address? It does where a spare may
    /// take its place.
    pub fn may_ask(&self, process: &Process) -> bool {
        let boots = process.open && !process.ready && process.termed_at.is_none() && !process.asked_to_drain;
        let is_refork = process.role != Role::Agent && self.judge.is_running() && self.judge.is_holder(process.id);
        self.policy.spares > 0 && is_refork && boots && !process.at_gate
    }

    pub fn ask(&mut self, ask: Ask, coverage: &mut Coverage) -> Verdict {
        self.asks_left = self.asks_left.saturating_sub(1);
        self.last_request += 1;
        let request = match ask {
            Ask::ReloadByMember(_) => RequestId::NOBODY,
            Ask::Reload(_) | Ask::Scale(_) | Ask::Replace(_) | Ask::Cancel(_) => {
                self.judge.operations.requests.push(RequestId(self.last_request));
                RequestId(self.last_request)
            }
        };
        self.judge.operations.giving_up = match ask {
            Ask::Cancel(_) => Some(CancelledBy::Request),
            Ask::Replace(_) => Some(CancelledBy::Reload),
            Ask::Reload(_) | Ask::ReloadByMember(_) | Ask::Scale(_) => None,
        };
        let event = match ask {
            Ask::Reload(how) | Ask::ReloadByMember(how) => Event::Reload { request, how },
            Ask::Replace(how) => Event::Replace { request, how },
            Ask::Cancel(kind) => Event::Cancel { request, kind },
            Ask::Scale(wanted) => Event::Scale { request, wanted, patience: PATIENCE },
        };
        self.tell(event, coverage)?;
        // It may have been refused.
        self.judge.operations.giving_up = None;
        Ok(())
    }
}
