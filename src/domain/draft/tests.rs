//! Small catalogs, written down as texts, and the drafts that come of them.

use super::*;
use crate::domain::catalog::{
    Catalog, Column, ColumnType, DatabaseIdentity, ForeignKey, RelationKind,
};
use crate::domain::mapping::parse;
use crate::domain::resolve::{Catalogs, resolve};
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads `numeric(10,2)` or `enum(a,b)`.
pub(super) fn column_type(text: &str) -> ColumnType {
    let (base, modifier) = match text.split_once('(') {
        Some((base, rest)) => (base, format!("({rest}")),
        None => (text, String::new()),
    };
    let labels = || {
        let inner = modifier.trim_matches(['(', ')']);
        inner.split(',').map(str::to_owned).collect()
    };
    let is_enum = base == "enum";
    ColumnType {
        display: text.to_owned(),
        base: base.to_owned(),
        enum_labels: is_enum.then(labels),
        modifier: if is_enum {
            String::new()
        } else {
            modifier.clone()
        },
        is_domain: false,
        is_builtin: !is_enum,
    }
}

/// Reads `name id:int4:pk parent_id:int4>parents title:text! seen_at:timestamptz=`; `!` is NOT NULL, `=` a default.
pub(super) fn relation(text: &str) -> Relation {
    let mut words = text.split_whitespace();
    let name = QualifiedName::new("public", words.next().unwrap());
    let mut table = Table {
        name: name.clone(),
        oid: 0,
        kind: RelationKind::Table,
        columns: Vec::new(),
        primary_key: Vec::new(),
        unique_columns: Vec::new(),
        referrers: Vec::new(),
        foreign_keys: Vec::new(),
        constraints: Vec::new(),
        is_partition: false,
        estimated_rows: -1,
    };
    for word in words {
        let (word, parent) = match word.split_once('>') {
            Some((word, parent)) => (word, Some(parent)),
            None => (word, None),
        };
        let (column, rest) = word.split_once(':').unwrap();
        let is_key = rest.ends_with(":pk");
        let rest = rest.trim_end_matches(":pk");
        table.columns.push(Column {
            name: column.to_owned(),
            column_type: column_type(rest.trim_end_matches(['!', '='])),
            not_null: is_key || rest.contains('!'),
            has_default: rest.contains('='),
            is_generated: false,
            identity_always: false,
            number: 0,
            default: None,
        });
        if is_key {
            table.primary_key.push(column.to_owned());
        }
        table.foreign_keys.extend(parent.map(|parent| ForeignKey {
            name: format!("{column}_fkey"),
            columns: vec![column.to_owned()],
            referenced: QualifiedName::new("public", parent),
            referenced_columns: vec!["id".to_owned()],
            is_deferrable: false,
            definition: String::new(),
        }));
    }
    Relation {
        unique_keys: Vec::new(),
        is_touched: false,
        table,
    }
}

fn known(source: &[&str], target: &[&str]) -> Known {
    Known {
        source_schema: "public".to_owned(),
        target_schema: "public".to_owned(),
        source: source.iter().map(|it| relation(it)).collect(),
        target: target.iter().map(|it| relation(it)).collect(),
        time_zone: ZoneDraft {
            name: "UTC".to_owned(),
            reason: "a test".to_owned(),
        },
        answers: BTreeMap::new(),
    }
}

fn entity<'d>(draft: &'d Draft, name: &str) -> &'d EntityDraft {
    let mut entities = draft.entities.iter();
    entities
        .find(|it| it.entity == name)
        .unwrap_or_else(|| panic!("no {name}: {draft:#?}"))
}

fn rule<'d>(entity: &'d EntityDraft, column: &str) -> &'d RuleDraft {
    let mut columns = entity.columns.iter();
    &columns
        .find(|it| it.column == column)
        .unwrap_or_else(|| panic!("no {column}: {entity:#?}"))
        .rule
}

/// What the check of the drafted file objects to, by key.
fn objections(known: &Known, draft: &Draft) -> Result<BTreeSet<String>, String> {
    let text = render(draft);
    let mapping = parse(&text).map_err(|issues| format!("{issues:?}\n{text}"))?;
    let catalog = |relations: &[Relation]| Catalog {
        identity: DatabaseIdentity {
            system_identifier: String::new(),
            database_oid: 0,
            database: String::new(),
        },
        server_version: 150_000,
        tables: relations
            .iter()
            .map(|it| (it.table.name.clone(), it.table.clone()))
            .collect(),
    };
    let (source, target) = (catalog(&known.source), catalog(&known.target));
    let resolved = resolve(
        &mapping,
        Catalogs {
            source: &source,
            target: &target,
            query_columns: &BTreeMap::new(),
        },
    );
    let issues = resolved.err().unwrap_or_default();
    Ok(issues.into_iter().map(|it| it.path).collect())
}

fn announced(draft: &Draft) -> BTreeSet<String> {
    let todo = draft.entities.iter().flat_map(|entity| {
        entity
            .todo
            .iter()
            .map(move |it| format!("entities.{}.{}", entity.entity, it.key))
    });
    todo.collect()
}

#[test]
fn tables_are_found_behind_prefixes_plurals_and_legacy_columns() {
    let known = known(
        &[
            "app_client id:int4:pk name:text! fax:text",
            "app_flag id:int4:pk mood:text",
            "app_luthiersetting id:int4:pk bio:text hourly_rate:int4",
            "app_nothing id:int4:pk",
        ],
        &[
            "clients id:uuid:pk name:text!",
            "history id:uuid:pk legacy_flag_id:int4 mood:text",
            "luthiers id:uuid:pk bio:text hourly_rate:int4",
            "elsewhere id:uuid:pk of:text",
        ],
    );
    let draft = draft(&known);
    let pairs: Vec<(&str, &str)> = draft
        .entities
        .iter()
        .map(|it| (it.entity.as_str(), it.source.name.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("clients", "app_client"),
            ("history", "app_flag"),
            ("luthiers", "app_luthiersetting")
        ]
    );
    assert_eq!(entity(&draft, "history").legacy["id"], "legacy_flag_id");
    let left: Vec<&str> = draft
        .unmatched_targets
        .iter()
        .map(|it| it.table.name.as_str())
        .collect();
    assert_eq!(left, ["elsewhere"]);
    let left: Vec<&str> = draft
        .unmatched_sources
        .iter()
        .map(|it| it.table.name.as_str())
        .collect();
    assert_eq!(left, ["app_nothing"]);
    assert_eq!(entity(&draft, "clients").ignore[0].column, "fax");
    assert_eq!(objections(&known, &draft), Ok(BTreeSet::new()));
}

fn persons() -> Known {
    let mut known = known(
        &[
            "person id:int4:pk firstname:text lastname:text mimeType:text prefs:text kind_id:int2>kinds status:text \
             joined:timestamp! suspended:bool! price:float8 updated:timestamp boss_id:int4>person",
            "kinds id:int4:pk name:text",
        ],
        &[
            "people id:uuid:pk full_name:text! mime_type:text preferences:jsonb kind:enum(tall,very_small)! \
             status:enum(open,done)! joined_at:timestamptz! is_active:bool! price:numeric(10,2) boss_id:uuid>people \
             person_no:text!",
        ],
    );
    let question = |table: &str, code: &str, meaning: Option<&str>| Question {
        table: QualifiedName::new("public", table),
        code: code.to_owned(),
        meaning: meaning.into_iter().map(str::to_owned).collect(),
    };
    let some = |text: &str| Some(text.to_owned());
    let kinds = vec![
        ("1".to_owned(), some("Very small")),
        ("2".to_owned(), some("Tall")),
        ("3".to_owned(), some("?")),
    ];
    known
        .answers
        .insert(question("kinds", "id", Some("name")), kinds);
    let states = vec![("Done".to_owned(), None), ("open".to_owned(), None)];
    known
        .answers
        .insert(question("person", "status", None), states);
    known
}

#[test]
fn columns_get_the_rule_that_their_types_need() {
    let known = persons();
    let some = |text: &str| Some(text.to_owned());
    let draft = draft(&known);
    let people = entity(&draft, "people");
    let column = |name: &str| RuleDraft::column(name);
    assert_eq!(*rule(people, "mime_type"), column("mimeType"));
    assert_eq!(*rule(people, "joined_at"), column("joined"));
    assert_eq!(
        *rule(people, "preferences"),
        RuleDraft::JsonParse {
            column: "prefs".into()
        }
    );
    assert_eq!(
        *rule(people, "kind"),
        RuleDraft::Codes {
            column: "kind_id".into(),
            codes: vec![
                ("1".into(), some("very_small")),
                ("2".into(), some("tall")),
                ("3".into(), None)
            ]
        }
    );
    assert_eq!(
        *rule(people, "status"),
        RuleDraft::Column {
            column: "status".into(),
            normalize: vec!["trim", "lower"]
        }
    );
    let expr = |name: &str| match rule(people, name) {
        RuleDraft::Expr { sql, .. } => sql.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(expr("is_active"), "not p.suspended");
    assert_eq!(expr("price"), "round(p.price::numeric, 2)");
    assert!(
        matches!(rule(people, "full_name"), RuleDraft::Template { template, .. } if template == "{p.firstname} {p.lastname}")
    );
    assert!(
        matches!(rule(people, "boss_id"), RuleDraft::Ref { entity, by, .. } if entity == "people" && by == "boss_id")
    );
    assert_eq!(people.updated_at.as_deref(), Some("updated"));
    assert_eq!(people.id.time.as_deref(), Some("joined"));
    assert_eq!(draft.time_zone, Some(known.time_zone.clone()));
    let open: Vec<&str> = people.todo.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(open, ["columns.kind", "columns"]);
    assert_eq!(objections(&known, &draft).unwrap(), announced(&draft));
}

#[test]
fn tables_of_the_same_shape_need_no_edit_and_circles_are_broken() {
    let tables = [
        "makers id:int4:pk name:text! best_id:int4>items updated_at:timestamptz",
        "items id:int4:pk title:text! maker_id:int4!>makers tags:_text price:numeric(10,2)",
    ];
    let known = known(&tables, &tables);
    let draft = draft(&known);
    let makers = entity(&draft, "makers");
    assert_eq!(makers.id.strategy, "same");
    assert!(matches!(
        rule(makers, "best_id"),
        RuleDraft::Ref { is_soft: true, .. }
    ));
    assert!(matches!(
        rule(entity(&draft, "items"), "maker_id"),
        RuleDraft::Ref { is_soft: false, .. }
    ));
    assert!(
        draft
            .entities
            .iter()
            .all(|it| it.todo.is_empty() && it.ignore.is_empty()),
        "{draft:#?}"
    );
    assert_eq!(objections(&known, &draft), Ok(BTreeSet::new()));
}

#[test]
fn what_a_person_should_look_at_is_said() {
    let known = known(
        &[
            "app_person id:int4:pk email:text archived:bool!",
            "app_note id:int4:pk body:text",
        ],
        &[
            "persons id:uuid:pk>users email:text deleted_at:timestamptz",
            "notes id:uuid:pk body:text person_id:uuid!>persons",
        ],
    );
    let draft = draft(&known);
    let persons = entity(&draft, "persons");
    assert!(
        persons
            .id
            .reason
            .contains("CHECK: a foreign key to public.users"),
        "{persons:#?}"
    );
    assert_eq!(
        persons.hints,
        [
            "delete = { retire = { deleted_at = \"now\" } }",
            "where = \"not p.archived\", if such rows stay behind"
        ]
    );
    let notes = entity(&draft, "notes");
    assert!(
        notes.todo[0]
            .need
            .contains("no source column is a key of what feeds persons"),
        "{notes:#?}"
    );
    assert_eq!(objections(&known, &draft).unwrap(), announced(&draft));
}

/// Names as people choose them, and names that would break a file, a comment or an expression.
const NAMES: &[&str] = &[
    "id",
    "name",
    "client_id",
    "legacy_id",
    "legacy_client_id",
    "legacy_table",
    "updated_at",
    "created_at",
    "status",
    "kind",
    "kind_id",
    "is_active",
    "suspended",
    "order",
    "mimeType",
    "a.b",
    "q\"uote",
    "back\\slash",
    "line\nversion = 2",
    "# no",
    "first_name",
    "last_name",
    "full_name",
    "target_id",
    "target_type_id",
    "{brace}",
    "öl",
    "Select",
    "",
];
const TABLES: &[&str] = &[
    "app_client",
    "clients",
    "app_item",
    "items",
    "Order",
    "a.b c",
    "line\n[x]",
    "t\"q",
    "ü",
];
const TYPES: &[&str] = &[
    "int2",
    "int4",
    "int8",
    "text",
    "varchar(10)",
    "uuid",
    "timestamp",
    "timestamptz",
    "date",
    "bool",
    "jsonb",
    "json",
    "numeric(5,2)",
    "float8",
    "bytea",
    "_text",
    "interval",
    "enum(a,b)",
    "enum(b,c c)",
    "inet",
];

fn any_relation(name: &'static str) -> impl Strategy<Value = Relation> {
    let column = (
        0..NAMES.len(),
        0..TYPES.len(),
        any::<[bool; 3]>(),
        0..TABLES.len() * 3,
    );
    (vec(column, 1..9), 0_usize..3).prop_map(move |(columns, key_count)| {
        let mut relation = relation("x");
        relation.table.name.name = name.to_owned();
        for (at, of, [not_null, has_default, is_generated], parent) in columns {
            if NAMES[at].is_empty() || relation.table.column(NAMES[at]).is_some() {
                continue;
            }
            relation.table.columns.push(Column {
                name: NAMES[at].to_owned(),
                column_type: column_type(TYPES[of]),
                not_null,
                has_default,
                is_generated: is_generated && has_default && !not_null,
                identity_always: false,
                number: 0,
                default: None,
            });
            relation
                .table
                .foreign_keys
                .extend(TABLES.get(parent).map(|parent| ForeignKey {
                    name: "f".to_owned(),
                    columns: vec![NAMES[at].to_owned()],
                    referenced: QualifiedName::new("public", *parent),
                    referenced_columns: vec!["id".to_owned()],
                    is_deferrable: false,
                    definition: String::new(),
                }));
        }
        let columns = relation
            .table
            .columns
            .iter_mut()
            .filter(|it| !it.is_generated)
            .take(key_count);
        for column in columns {
            column.not_null = true;
            relation.table.primary_key.push(column.name.clone());
        }
        relation
    })
}

fn any_side() -> impl Strategy<Value = Vec<Relation>> {
    let names = proptest::sample::subsequence(TABLES.to_vec(), 1..5);
    names.prop_flat_map(|names| names.into_iter().map(any_relation).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn a_draft_always_parses_and_announces_every_problem(source in any_side(), target in any_side()) {
        let mut known = known(&[], &[]);
        (known.source, known.target) = (source, target);
        let draft = draft(&known);
        // Nothing is written when no pair is found.
        if draft.entities.is_empty() {
            return Ok(());
        }
        let found = objections(&known, &draft);
        prop_assert_eq!(found.clone(), Ok(announced(&draft)), "{}", render(&draft));
    }
}

#[test]
fn generic_references_find_their_entities_through_content_types() {
    let mut known = known(
        &[
            "auth_user id:int4:pk email:text",
            "shop_ticket id:int4:pk title:text",
            "shop_entry id:int4:pk target_type_id:int4! target_id:int4!",
            "django_content_type id:int4:pk app_label:text! model:text!",
        ],
        &[
            "profiles id:uuid:pk legacy_user_id:int4 email:text",
            "tickets id:uuid:pk title:text",
            "entries id:uuid:pk target_kind:enum(profile,ticket)! target_id:uuid!",
        ],
    );
    let answer =
        |known: &mut Known, table: &str, code: &str, meaning: &[&str], codes: &[(&str, &str)]| {
            let question = Question {
                table: QualifiedName::new("public", table),
                code: code.to_owned(),
                meaning: meaning.iter().map(|it| (*it).to_owned()).collect(),
            };
            let text = |it: &&str| Some((*it).to_owned()).filter(|it| !it.is_empty());
            let codes = codes
                .iter()
                .map(|(code, meaning)| ((*code).to_owned(), text(meaning)));
            known.answers.insert(question, codes.collect());
        };
    let types = [
        ("7", "auth_user"),
        ("8", "shop_ticket"),
        ("9", "shop_entry"),
    ];
    answer(
        &mut known,
        "django_content_type",
        "id",
        &["app_label", "model"],
        &types,
    );
    let drafted = draft(&known);
    let wanted: Vec<&str> = drafted
        .questions
        .iter()
        .map(|it| it.code.as_str())
        .collect();
    assert_eq!(wanted, ["id", "target_type_id"]);
    answer(
        &mut known,
        "shop_entry",
        "target_type_id",
        &[],
        &[("7", ""), ("8", "")],
    );
    let drafted = draft(&known);
    let entries = entity(&drafted, "entries");
    let some = |text: &str| Some(text.to_owned());
    assert!(
        matches!(rule(entries, "target_id"), RuleDraft::Poly { map, .. }
            if *map == [("7".to_owned(), some("profiles")), ("8".to_owned(), some("tickets"))]),
        "{entries:#?}"
    );
    assert!(
        matches!(rule(entries, "target_kind"), RuleDraft::Codes { codes, .. }
            if *codes == [("7".to_owned(), some("profile")), ("8".to_owned(), some("ticket"))]),
        "{entries:#?}"
    );
    assert_eq!(objections(&known, &drafted), Ok(BTreeSet::new()));
}
