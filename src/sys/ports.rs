//! Who listens on a port: /proc/net/tcp names the socket, and the process that has it open is looked for.

use std::fs;

/// The process that listens on this TCP port, as `pid 42 (`node server.js`)`, when it can be seen.
#[must_use]
pub fn owner_of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    let targets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let entries = fs::read_dir("/proc").ok()?;
    let pid = entries.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let open = fs::read_dir(entry.path().join("fd")).ok()?;
        let holds = open.flatten().any(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|link| targets.iter().any(|target| link.as_os_str() == &**target))
        });
        holds.then_some(pid)
    })?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = String::from_utf8_lossy(&command).split_terminator('\0').map(escaped).collect();
    Some(format!("pid {pid} (`{}`)", words.join(" ")))
}

fn escaped(word: &str) -> String {
    word.chars().flat_map(|one| if one.is_control() { one.escape_default().collect() } else { vec![one] }).collect()
}

/// The socket inodes of this table that listen (state 0A) on `port`.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LOCAL: usize = 1;
    const STATE: usize = 3;
    const INODE: usize = 9;
    let ending = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.get(STATE) == Some(&"0A") && row.get(LOCAL).is_some_and(|local| local.ends_with(&ending)))
        .filter_map(|row| row.get(INODE).map(ToString::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_of_this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let owner = owner_of(port).unwrap();
        assert!(owner.starts_with(&format!("pid {} ", std::process::id())), "{owner}");
        drop(listener);
        assert_eq!(owner_of(port), None);
    }
}
