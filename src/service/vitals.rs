//! What this process knows of itself and tells with its heartbeat, where the system says it.

use std::collections::BTreeSet;
use std::fs;

/// Tables of connections beyond this are not read: the answer is not worth it.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What a heartbeat tells of its process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// Memory in use.
    pub memory_bytes: Option<i64>,
    /// Connections over TCP.
    pub connections: Option<i32>,
}

/// Looks at this process.
pub(crate) fn of_this_process() -> Vitals {
    let status = fs::read_to_string("/proc/self/status").ok();
    Vitals {
        memory_bytes: status.as_deref().and_then(resident_bytes),
        connections: connections(),
    }
}

fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The system lists all connections of the machine; ours are those whose sockets we hold.
fn connections() -> Option<i32> {
    let held: BTreeSet<String> = fs::read_dir("/proc/self/fd")
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            Some(link.strip_suffix(']')?.to_owned())
        })
        .collect();
    let mut count = 0;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A machine without IPv6 has no second table.
        let text = fs::read_to_string(table).unwrap_or_default();
        if text.len() > MOST_BYTES {
            return None;
        }
        count += established(&text).filter(|it| held.contains(*it)).count();
    }
    i32::try_from(count).ok()
}

/// The numbers of the sockets that are connected.
fn established(table: &str) -> impl Iterator<Item = &str> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(3);
        (fields.next()? == "01").then(|| fields.nth(5))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn memory_and_connections_of_this_process_are_seen() {
        let before = of_this_process();
        assert!(
            before.memory_bytes.is_some_and(|it| it > 1_000_000),
            "{before:?}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _theirs = listener.accept().unwrap();
        let after = of_this_process().connections.unwrap();
        assert!(after >= 2, "both ends are here: {before:?} {after}");
    }

    #[test]
    fn the_resident_size_is_read() {
        assert_eq!(
            resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t  2048 kB\n"),
            Some(2_097_152)
        );
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\n"), None);
    }
}
