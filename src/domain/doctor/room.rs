//! Whether there is room: connections and disk.

use super::{Finding, Severity, code};
use crate::domain::connection::Side;
use crate::domain::identifier::quote_identifier;

/// Connections of one server as our role sees them; limits that do not hold are nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many the server lets ordinary roles have.
    pub open_to_all: i64,
    /// How many there are, ours included.
    pub used: i64,
    /// The role's own limit, and how many it has.
    pub of_role: Option<(i64, i64)>,
    /// The database's own limit, and how many it has.
    pub of_database: Option<(i64, i64)>,
}

impl Connections {
    /// Returns how many more could be opened once our own one is closed.
    pub fn free(&self) -> i64 {
        let limits = [self.of_role, self.of_database].into_iter().flatten();
        let limits = limits.map(|(limit, used)| limit - used);
        let least = limits.chain([self.open_to_all - self.used]).min();
        least.unwrap_or(0).max(-1) + 1
    }

    fn narrowest(&self) -> &'static str {
        let left = |limit: Option<(i64, i64)>| limit.map_or(i64::MAX, |(limit, used)| limit - used);
        let (role, database) = (left(self.of_role), left(self.of_database));
        match self.open_to_all - self.used {
            server if server <= role.min(database) => "the server's max_connections",
            _ if role <= database => "the role's connection limit",
            _ => "the database's connection limit",
        }
    }
}

/// Returns how many connections a migration takes at most, one for a moment included.
pub fn needed(side: Side, max_concurrent: i64) -> i64 {
    match side {
        Side::Source => max_concurrent + 2,
        Side::Target => 2 * max_concurrent + 6,
    }
}

/// Judges whether a migration finds enough connections.
pub fn judge_connections(
    side: Side,
    role: &str,
    found: &Connections,
    max_concurrent: i64,
) -> Option<Finding> {
    let (free, wanted, least) = (found.free(), needed(side, max_concurrent), needed(side, 1));
    // With one worker none is opened for a moment while all the others are in use.
    let least = least - i64::from(side == Side::Source);
    if free >= wanted {
        return None;
    }
    let text = format!(
        "{free} connections are free ({}); a migration takes up to {wanted} with --max-concurrent {max_concurrent}, \
         and {least} with 1",
        found.narrowest()
    );
    let finding = Finding::new(code::TOO_FEW_CONNECTIONS, side, text);
    if free < least {
        let finding = match found.narrowest() {
            "the role's connection limit" => finding.mended_by(format!(
                "alter role {} connection limit {};",
                quote_identifier(role),
                wanted + found.of_role.map_or(0, |(_, used)| used)
            )),
            _ => finding.mended_by("-- end connections that are idle, or raise max_connections"),
        };
        return Some(finding);
    }
    let fits = (1..max_concurrent).rfind(|it| needed(side, *it) <= free);
    let fits = fits.unwrap_or(1);
    Some(
        finding
            .weighing(Severity::Warning)
            .mended_by(format!("diffmig migrate --max-concurrent {fits}")),
    )
}

/// What a ledger row takes with its index, in bytes.
pub const LEDGER_ROW_BYTES: u64 = 130;

/// What the load adds to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Bytes of the source tables for rows that the ledgers do not know yet.
    pub table_bytes: u64,
    /// Rows that the ledgers do not know yet.
    pub rows: u64,
}

impl Load {
    /// Adds a table of which the ledger may know some rows already.
    pub fn add(&mut self, bytes: u64, rows: u64, known: Option<u64>) {
        let left = rows.saturating_sub(known.unwrap_or(0));
        // A table that nobody counted counts as a whole until its first migration.
        let share = match (rows, known) {
            (0, None) => bytes,
            (0, Some(_)) => 0,
            _ => u64::try_from(u128::from(bytes) * u128::from(left) / u128::from(rows))
                .unwrap_or(bytes),
        };
        self.table_bytes = self.table_bytes.saturating_add(share);
        self.rows = self.rows.saturating_add(left);
    }

    /// Returns the bytes for rows, indexes and ledgers.
    pub fn bytes(&self) -> u64 {
        self.table_bytes + self.rows.saturating_mul(LEDGER_ROW_BYTES)
    }
}

/// Disks of a hosted project begin with this.
const SMALLEST_DISK: u64 = 8 * 1024 * 1024 * 1024;
/// What a Free project may hold.
const FREE_PROJECT: u64 = 500 * 1024 * 1024;
/// How often a disk may be enlarged in a day.
const ENLARGEMENTS_A_DAY: u32 = 4;

/// Returns how often a hosted disk has to grow by half, were it as full now as it may be (90 %).
fn enlargements(present: u64, added: u64) -> u32 {
    let mut disk = (present / 9 * 10).max(SMALLEST_DISK);
    let mut times = 0;
    while disk / 10 * 9 < present.saturating_add(added) && times < 20 {
        disk += disk / 2;
        times += 1;
    }
    times
}

/// Judges the bytes that the load adds.
pub fn judge_disk(load: Load, database_bytes: u64, is_hosted: bool) -> Finding {
    let added = load.bytes();
    let mut text = format!(
        "the load adds about {} to the target ({} of rows and indexes, {} for {} ledger rows), \
         and as much to its log for a while; the database has {} now",
        size(added),
        size(load.table_bytes),
        size(added - load.table_bytes),
        load.rows,
        size(database_bytes)
    );
    if !is_hosted {
        return Finding::new(code::DISK_ESTIMATE, Side::Target, text);
    }
    let total = database_bytes.saturating_add(added);
    if total > FREE_PROJECT {
        text.push_str("; a Free project (500 MB) becomes read-only");
    }
    let times = enlargements(database_bytes, added);
    let finding = |text: String| Finding::new(code::DISK_ESTIMATE, Side::Target, text);
    match times {
        0 => finding(text),
        1..=ENLARGEMENTS_A_DAY => finding(format!(
            "{text}; the disk may have to grow {times} times on the way (by half at 90 %, at most {ENLARGEMENTS_A_DAY} \
             times a day), and is read-only at 95 %"
        ))
        .weighing(Severity::Warning)
        .mended_by("-- enlarge the disk in the project's settings before the first load"),
        _ => finding(format!(
            "{text}; that is more than a disk grows in a day (by half at 90 %, at most {ENLARGEMENTS_A_DAY} times), and at \
             95 % it is read-only"
        ))
        .weighing(Severity::Warning)
        .mended_by("-- enlarge the disk in the project's settings before the first load"),
    }
}

/// Writes bytes as people say them.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(open_to_all: i64, used: i64) -> Connections {
        Connections {
            open_to_all,
            used,
            of_role: None,
            of_database: None,
        }
    }

    #[test]
    fn the_narrowest_limit_decides_how_many_connections_are_free() {
        let mut found = connections(57, 12);
        assert_eq!(found.free(), 46);
        assert_eq!(judge_connections(Side::Target, "w", &found, 3), None);
        found.of_role = Some((4, 1));
        assert_eq!(found.free(), 4);
        let finding = judge_connections(Side::Target, "w", &found, 3).unwrap();
        assert_eq!(finding.severity, Severity::Blocker);
        assert_eq!(finding.mend, ["alter role \"w\" connection limit 13;"]);
    }

    #[test]
    fn fewer_workers_are_advised_where_they_suffice() {
        let finding = judge_connections(Side::Target, "w", &connections(57, 48), 3).unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.mend, ["diffmig migrate --max-concurrent 2"]);
        let finding = judge_connections(Side::Source, "r", &connections(10, 9), 3).unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        let finding = judge_connections(Side::Source, "r", &connections(10, 10), 3).unwrap();
        assert_eq!(finding.severity, Severity::Blocker);
    }

    #[test]
    fn a_hosted_disk_grows_by_half_and_not_for_ever() {
        const GB: u64 = 1024 * 1024 * 1024;
        assert_eq!(enlargements(GB, GB), 0);
        assert_eq!(enlargements(GB, 9 * GB), 1);
        assert_eq!(enlargements(9 * GB, 100), 1);
        let load = |gigabytes: u64| Load {
            table_bytes: gigabytes * GB,
            rows: 1,
        };
        let severity = |gigabytes, hosted| judge_disk(load(gigabytes), GB, hosted).severity;
        assert_eq!(severity(1, true), Severity::Note);
        assert_eq!(severity(9, true), Severity::Warning);
        assert_eq!(severity(900, false), Severity::Note);
        let much = judge_disk(load(900), GB, true);
        assert!(
            much.found.contains("more than a disk grows in a day"),
            "{much:?}"
        );
        assert_eq!(size(1536), "1.5 kB");
        assert_eq!(size(12), "12 bytes");
    }
}
