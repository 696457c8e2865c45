//! A small migration with everything that makes order matter: a circle, a self reference, a chain,
//! a filter, deletions, rows that the target refuses and rows that wait for them.

use crate::support::invariants::{Invariants, Rule, Sole};

/// Reads one of the files beside this module.
pub fn file(name: &str) -> String {
    let path = format!("{}/tests/it/crash/sql/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The exit code of both days: rows are set aside on either.
pub const EXIT_CODE: i32 = 3;

/// Entities whose rows are deleted when they are gone; the others retire them.
const DELETED: [&str; 2] = ["topics", "lines"];

/// Entity, what must be there (source), what is there (target), what is set aside (source).
const RULES: [(&str, &str, &str, &str); 6] = [
    (
        "teams",
        "select id::text, name, lead_id::text from team",
        "select t.legacy_id::text, t.name, m.legacy_id::text from teams t left join members m on m.id = t.lead_id",
        "select null, null where false",
    ),
    (
        "members",
        "select id::text, team_id::text, nullif(lower(email), ''), joined_on::text from member",
        "select t.legacy_id::text, p.legacy_id::text, t.email, t.joined_on::text from members t join teams p on p.id = t.team_id",
        "select null, null where false",
    ),
    (
        "topics",
        "select id::text, parent_id::text, title from topic",
        "select t.legacy_id::text, p.legacy_id::text, t.title from topics t left join topics p on p.id = t.parent_id",
        "select null, null where false",
    ),
    (
        "orders",
        "select id::text, member_id::text, code, amount::text, note from orders where amount >= 0",
        "select t.legacy_id::text, m.legacy_id::text, t.code, t.amount::text, t.note from orders t join members m on m.id = t.member_id",
        "select id::text, 'quarantined' from orders where amount < 0",
    ),
    (
        "lines",
        "select l.id::text, l.order_id::text, l.position::text, l.quantity::text \
         from line l join orders o on o.id = l.order_id where o.amount >= 0 and l.quantity > 0",
        "select t.legacy_id::text, o.legacy_id::text, t.position::text, t.quantity::text \
         from lines t join orders o on o.id = t.order_id",
        "select l.id::text, case when o.amount >= 0 then 'quarantined' else 'held' end \
         from line l left join orders o on o.id = l.order_id where l.quantity <= 0 or o.id is null or o.amount < 0",
    ),
    (
        "tags",
        "select code, label from tag where not hidden",
        "select t.legacy_code, t.label from tags t",
        "select null, null where false",
    ),
];

/// What must hold on either day.
pub fn invariants() -> Invariants {
    let rules = RULES.iter().map(|(entity, wanted, found, set_aside)| {
        let key = if *entity == "tags" {
            "legacy_code"
        } else {
            "legacy_id::text"
        };
        Rule {
            entity: (*entity).to_owned(),
            target_table: format!("public.{entity}"),
            id_column: "id".to_owned(),
            wanted: (*wanted).to_owned(),
            found: format!("{found} where t.is_active"),
            sole: Some(Sole {
                set_aside: (*set_aside).to_owned(),
                retired: format!("select {key} from {entity} where not is_active"),
                deletes: DELETED.contains(entity),
            }),
        }
    });
    Invariants {
        rules: rules.collect(),
    }
}
