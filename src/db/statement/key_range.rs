//! Integer keys by closed ranges: how many there are in each, and which.
//!
//! Each range is one look into the index of the keys, so that the whole costs one read of that index in its order,
//! and no row of the table is touched where the server knows that all of its page is visible.

use super::Statement;

/// A closed range of integer keys.
pub type KeyRange = (i64, i64);

/// The ranges as a relation `diffmig_range (low, high, place)`; a mapping may call its own table `r`.
fn relation(ranges: &[KeyRange]) -> String {
    let list = |bound: fn(&KeyRange) -> i64| {
        let numbers: Vec<String> = ranges.iter().map(|it| bound(it).to_string()).collect();
        format!("'{{{}}}'::bigint[]", numbers.join(","))
    };
    format!(
        "rows from (pg_catalog.unnest({}), pg_catalog.unnest({})) with ordinality as diffmig_range (low, high, place)",
        list(|it| it.0),
        list(|it| it.1)
    )
}

fn among(key: &str) -> String {
    format!("{key} >= diffmig_range.low and {key} <= diffmig_range.high")
}

/// Counts the keys of each range: its place, from 1 on, and the number. `less` lists what is not to be counted.
pub(super) fn counts(key: &str, from: &str, less: Option<&str>, ranges: &[KeyRange]) -> Statement {
    let among = among(key);
    let less = match less {
        Some(less) => format!(" - (select count(*) from {less} and {among})"),
        None => String::new(),
    };
    Statement::new(format!(
        "select diffmig_range.place, (select count(*) from {from} where {among}){less} from {}",
        relation(ranges)
    ))
}

/// The keys of some ranges as one row per 64 keys, in any order: the bucket, and a bit for each key in it.
pub(super) fn bits(
    key: &str,
    from: &str,
    condition: Option<&str>,
    ranges: &[KeyRange],
) -> Statement {
    let condition = condition.map(|it| format!(" and {it}")).unwrap_or_default();
    Statement::new(format!(
        "select diffmig_key.key >> 6, bit_or(1::bigint << (diffmig_key.key & 63)::integer) from {} \
         cross join lateral (select {key}::bigint as key from {from} where {}{condition} offset 0) diffmig_key group by 1",
        relation(ranges),
        among(key)
    ))
}
