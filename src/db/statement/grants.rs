//! The rights that a mapping needs, as SQL to be read and run by whoever may grant them.

use super::Statement;
use crate::domain::connection::Side;
use crate::domain::identifier::{QualifiedName, quote_identifier, quote_literal};
use crate::domain::mapping::{DeletePolicy, Mapping};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the statements that give a role what the mapping needs on one side, and nothing else.
pub fn grants(side: Side, mapping: &Mapping, role: &str) -> Vec<Statement> {
    let statements = match side {
        Side::Source => on_source(mapping, role),
        Side::Target => on_target(mapping, role),
    };
    statements.into_iter().map(Statement::new).collect()
}

fn on_source(mapping: &Mapping, role: &str) -> Vec<String> {
    let mut tables = BTreeSet::new();
    for entity in &mapping.entities {
        let names = mapping.source_tables(entity).into_iter();
        let schema = &mapping.source_schema;
        tables.extend(names.map(|name| QualifiedName::parse(name, schema)));
    }
    let tables: BTreeMap<QualifiedName, &str> =
        tables.into_iter().map(|table| (table, "select")).collect();
    let mut statements = vec![database(role, "connect")];
    statements.extend(on_tables(&tables, role));
    statements.push(row_security(&tables, role));
    statements
}

fn on_target(mapping: &Mapping, role: &str) -> Vec<String> {
    let mut tables = BTreeMap::new();
    for entity in &mapping.entities {
        let rights = match entity.delete {
            // Rows that are retired are updated.
            DeletePolicy::Ignore | DeletePolicy::Retire(_) => "select, insert, update",
            DeletePolicy::Delete => "select, insert, update, delete",
        };
        let name = mapping.target_table(entity);
        // Two entities may feed one table; the one that needs more decides.
        let known = tables.entry(name).or_insert(rights);
        if rights.len() > known.len() {
            *known = rights;
        }
    }
    let mut statements = vec![database(role, "connect, create, temporary")];
    statements.extend(on_tables(&tables, role));
    let noted = mapping
        .entities
        .iter()
        .filter_map(|it| it.adopt.table.as_ref());
    let noted = noted.map(|it| QualifiedName::parse(&it.table, &mapping.target_schema));
    let noted: BTreeMap<QualifiedName, &str> = noted
        .filter(|table| !tables.contains_key(table))
        .map(|table| (table, "select"))
        .collect();
    statements.extend(on_tables(&noted, role));
    statements.push(sequences(&tables, role));
    tables.extend(noted);
    statements.push(row_security(&tables, role));
    statements
}

/// The database is the one that the script is run in: its name is not in the mapping.
fn database(role: &str, rights: &str) -> String {
    let role = quote_literal(role);
    block(&format!(
        "begin\n  execute pg_catalog.format('grant {rights} on database %I to %I', \
         pg_catalog.current_database(), {role});\nend"
    ))
}

fn on_tables(tables: &BTreeMap<QualifiedName, &str>, role: &str) -> Vec<String> {
    let role = quote_identifier(role);
    let schemas: BTreeSet<&str> = tables.keys().map(|it| it.schema.as_str()).collect();
    let usage = schemas.into_iter().map(|schema| {
        format!(
            "grant usage on schema {} to {role};",
            quote_identifier(schema)
        )
    });
    let rights = tables
        .iter()
        .map(|(table, rights)| format!("grant {rights} on table {} to {role};", table.sql()));
    usage.chain(rights).collect()
}

/// Numbers come from the sequences of columns that are not mapped, and sequences are moved behind ids that are kept.
fn sequences(tables: &BTreeMap<QualifiedName, &str>, role: &str) -> String {
    let role = quote_literal(role);
    block(&format!(
        "declare\n  owned regclass;\nbegin\n  for owned in select distinct d.objid::regclass from pg_catalog.pg_depend d\n    \
         join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'\n    \
         where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass\n      \
         and d.deptype in ('a', 'i') and d.refobjid in (\n        {})\n  loop\n    \
         execute pg_catalog.format('grant usage, select, update on sequence %s to %I', owned, {role});\n  \
         end loop;\nend",
        references(tables)
    ))
}

/// Warns when it is run, because a mapping does not say which tables have row security.
fn row_security(tables: &BTreeMap<QualifiedName, &str>, role: &str) -> String {
    let name = quote_literal(role);
    block(&format!(
        "declare\n  hidden text;\nbegin\n  select pg_catalog.string_agg(c.oid::regclass::text, ', ') into hidden\n    \
         from pg_catalog.pg_class c, pg_catalog.pg_roles r\n    \
         where r.rolname = {name} and not r.rolbypassrls and not r.rolsuper and c.relrowsecurity and c.oid in (\n        {});\n  \
         if hidden is not null then\n    \
         raise warning 'row security is on for %, but % does not bypass it: diffmig will refuse to work', hidden, {name};\n  \
         end if;\nend",
        references(tables)
    ))
}

fn references(tables: &BTreeMap<QualifiedName, &str>) -> String {
    let names = tables
        .keys()
        .map(|table| format!("{}::regclass", quote_literal(&table.sql())));
    names.collect::<Vec<_>>().join(",\n        ")
}

/// Quotes a block so that nothing in it can end the quotes.
fn block(body: &str) -> String {
    let mut tag = "$do$".to_owned();
    while body.contains(&tag) {
        tag.insert(1, '_');
    }
    format!("do {tag}\n{body}\n{tag};")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mapping::parse;

    const TEXT: &str = "version = 1\n[source]\nschema = \"old\"\n\
        [entities.a]\nsource = { query = \"select x.id from x join b.y on y.id = x.id\", watch = [\"x\", \"b.y\"] }\n\
        key = [\"id\"]\njoin = [{ table = \"z\", as = \"z\", on = \"z.id = a.id\" }]\ntarget = \"t'1\"\n\
        [entities.a.columns]\nn = \"z.n\"\n";

    fn text(side: Side, role: &str) -> String {
        let mapping = parse(TEXT).unwrap();
        let statements = grants(side, &mapping, role);
        let texts: Vec<&str> = statements.iter().map(Statement::as_str).collect();
        texts.join("\n")
    }

    #[test]
    fn the_source_role_may_read_every_table_that_is_named_and_nothing_else() {
        let text = text(Side::Source, "reader");
        for table in ["\"old\".\"x\"", "\"b\".\"y\"", "\"old\".\"z\""] {
            let grant = format!("grant select on table {table} to \"reader\";");
            assert!(text.contains(&grant), "no {grant} in {text}");
        }
        assert_eq!(text.matches("grant usage on schema").count(), 2);
        for word in ["insert", "update", "delete", "create", "temporary", "all"] {
            assert!(!text.contains(&format!("grant {word}")), "{word}: {text}");
        }
    }

    #[test]
    fn the_target_role_may_not_delete() {
        let text = text(Side::Target, "writer");
        let grant = "grant select, insert, update on table \"public\".\"t'1\" to \"writer\";";
        assert!(text.contains(grant), "{text}");
        assert!(!text.contains("delete") && !text.contains("truncate"));
        assert!(text.contains("'\"public\".\"t''1\"'::regclass"), "{text}");
    }

    #[test]
    fn a_hostile_role_stays_inside_its_quotes() {
        let text = text(Side::Target, "a\"b'c$do$");
        assert!(text.contains("to \"a\"\"b'c$do$\";"), "{text}");
        assert!(text.contains("do $_do$"), "{text}");
        assert!(text.contains("'a\"b''c$do$'"), "{text}");
    }
}
