//! Where the members' inspectors listen, when `NODE_OPTIONS` or a flag of node asks for one in all of them. Node's own
//! cluster counts the port up: its primary has the one that is named, the workers the ones after it. Two members of one port
//! would be one member, since a node that cannot have the port ends.

use crate::lifecycle::Role;

/// Where node listens when nothing else is named.
const DEFAULT: u16 = 9229;
/// Where the count goes on after the last port, as in Node's cluster.
const FIRST: u32 = 1024;
const LAST: u32 = 65_535;

/// The port that is named, in this text of `NODE_OPTIONS` or in these flags, which come after it. `None`: no inspector is
/// asked for, or one at any free port, which needs no count.
#[must_use]
pub fn base(node_options: &str, flags: &[String]) -> Option<u16> {
    let mut base = None;
    let mut words = words(node_options).into_iter().chain(flags.iter().cloned()).peekable();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        // Node takes `_` for `-` in the names of flags.
        let named = match name.replace('_', "-").as_str() {
            "--inspect" | "--inspect-brk" | "--inspect-wait" | "--inspect-brk-node" => value.and_then(port_of),
            "--inspect-port" | "--debug-port" => match value {
                Some(value) => port_of(value),
                None => words.peek().and_then(|next| port_of(next)),
            },
            _ => continue,
        };
        base = named.or(base).or(Some(DEFAULT));
    }
    base.filter(|port| *port != 0)
}

/// `NODE_OPTIONS` as Node reads it: words between spaces, with quotes that keep spaces and a backslash inside of those.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quoted => word.extend(letters.next()),
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            letter => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The port of `PORT`, `HOST:PORT` or `[HOST]:PORT`; `None` where only a host is named.
fn port_of(value: &str) -> Option<u16> {
    let after_host = value.rsplit_once(']').map_or(value, |(_, after)| after);
    after_host.rsplit_once(':').map_or(after_host, |(_, port)| port).parse().ok()
}

/// The port of this member: the agent's is the base, where Node's primary would have it, worker 1's the next, and the spares
/// follow the workers. Where a living member has it (the worker that is being replaced), it is the first that none has.
#[must_use]
pub fn port(base: u16, role: Role, workers: u32, is_taken: impl Fn(u16) -> bool) -> u16 {
    let own = match role {
        Role::Agent => 0,
        Role::Worker { kind: _, slot } => slot + 1,
        Role::Spare { kind: _, place } => workers + 1 + place,
    };
    let at = |count: u32| {
        let number = u32::from(base) + count;
        let number = if number > LAST { FIRST + (number - LAST - 1) % (LAST - FIRST + 1) } else { number };
        u16::try_from(number).unwrap_or(base)
    };
    let others = workers + 1..LAST;
    [own].into_iter().chain(others).map(at).find(|port| !is_taken(*port)).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Kind;

    #[test]
    fn the_port_is_what_node_itself_would_take() {
        for (options, flags, expected) in [
            ("", &[][..], None),
            ("--max-old-space-size=100 --no-inspect", &[], None),
            ("--inspect", &[], Some(9229)),
            ("--inspect-brk", &[], Some(9229)),
            ("--inspect-wait=7000", &[], Some(7000)),
            ("--inspect=9400", &[], Some(9400)),
            ("--inspect_brk=9400", &[], Some(9400)),
            ("--inspect=0.0.0.0:9401", &[], Some(9401)),
            ("--inspect=localhost", &[], Some(9229)),
            ("--inspect=[::1]:9402", &[], Some(9402)),
            ("--inspect=[::1]", &[], Some(9229)),
            ("--inspect --inspect-port=9403", &[], Some(9403)),
            ("--inspect-port 9404 --inspect", &[], Some(9404)),
            (r#"--require "/a b/\"c.js" "--inspect=9405""#, &[], Some(9405)),
            ("--inspect=9400", &["--inspect=9500"], Some(9500)),
            ("", &["--trace-warnings", "--inspect-brk=9600"], Some(9600)),
            ("--inspect=0", &[], None),
            ("--inspect=9400 --inspect-port=0", &[], None),
        ] {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            assert_eq!(base(options, &flags), expected, "{options} {flags:?}");
        }
    }

    #[test]
    fn each_member_has_a_port_of_its_own_and_a_successor_the_next_that_is_free() {
        let worker = |slot| Role::Worker { kind: Kind(0), slot };
        let spare = Role::Spare { kind: Kind(0), place: 0 };
        let ports = |taken: &[u16]| {
            [Role::Agent, worker(0), worker(1), spare].map(|role| port(9229, role, 2, |port| taken.contains(&port)))
        };
        assert_eq!(ports(&[]), [9229, 9230, 9231, 9232]);
        assert_eq!(ports(&[9229, 9230, 9231, 9232]), [9233; 4]);
        assert_eq!(ports(&[9230, 9232, 9233]), [9229, 9234, 9231, 9234]);
    }

    #[test]
    fn after_the_last_port_the_count_goes_on_at_1024() {
        let worker = |slot| Role::Worker { kind: Kind(0), slot };
        assert_eq!([0, 1, 2].map(|slot| port(65_533, worker(slot), 3, |_| false)), [65_534, 65_535, 1024]);
    }
}
