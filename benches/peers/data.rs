//! The tables that are moved, and the changes made to them.

/// What the tables are called; their key is `id` everywhere.
pub const TABLES: [&str; 2] = ["narrow", "wide"];

/// Both tables with their indexes, for source and targets alike.
pub const SCHEMA: &str = "
create table narrow (id bigint primary key, account_id bigint not null, kind integer not null,
  amount numeric(12,2) not null, booked_at timestamptz not null, note text);
create index narrow_account on narrow (account_id);
create table wide (id bigint primary key, name text not null, email text not null, status text not null,
  score double precision, amount numeric(12,2) not null, quantity integer not null, active boolean not null,
  created_at timestamptz not null, updated_at timestamptz not null, code uuid not null, born date,
  body text not null, payload jsonb not null);
create index wide_email on wide (email);";

/// The old side of the load that translates keys.
pub const KEYED_SOURCE: &str = "
create table account (id integer primary key, name text not null);
create table product (id integer primary key, title text not null);
create table entry (id integer primary key, account_id integer not null references account,
  product_id integer not null references product, amount numeric(12,2) not null, booked_at timestamptz not null);";

/// The new side of it.
pub const KEYED_TARGET: &str = "
create table account (id uuid primary key, name text not null);
create table product (id uuid primary key, title text not null);
create table entry (id uuid primary key, account_id uuid not null references account,
  product_id uuid not null references product, amount numeric(12,2) not null, booked_at timestamptz not null);
create index entry_account on entry (account_id);
create index entry_product on entry (product_id);";

/// Fills a table of [`SCHEMA`].
pub fn fill(table: &str, rows: u64) -> String {
    rows_of(table, 1, rows)
}

fn rows_of(table: &str, first: u64, last: u64) -> String {
    let values = match table {
        "narrow" => {
            "g, (g * 7919) % 200000, (g % 9)::integer, (g % 100000)::numeric / 100,
             timestamptz '2020-01-01' + g * interval '7 seconds', 'note ' || g % 1000"
        }
        _ => {
            "g, 'Name ' || g, 'person' || g || '@example.org', (array['new', 'open', 'done'])[1 + g % 3],
             sqrt(g), (g % 100000)::numeric / 100, (g % 50)::integer, g % 7 <> 0,
             timestamptz '2020-01-01' + g * interval '31 seconds',
             timestamptz '2021-01-01' + g * interval '31 seconds', md5(g::text)::uuid, date '1950-01-01' + (g % 20000)::integer,
             repeat(md5((g * 3)::text) || ' ', 6),
             jsonb_build_object('a', g % 10, 'tags', jsonb_build_array('x', g % 5), 'note', 'text ' || g % 77)"
        }
    };
    format!("insert into {table} select {values} from generate_series({first}::bigint, {last}) g;")
}

/// Fills the tables of [`KEYED_SOURCE`].
pub fn fill_keyed(rows: u64) -> String {
    let (accounts, products) = (rows / 20 + 1, rows / 50 + 1);
    format!(
        "insert into account select g, 'Account ' || g from generate_series(1, {accounts}) g;
         insert into product select g, 'Product ' || g from generate_series(1, {products}) g;
         insert into entry select g, 1 + (g::bigint * 7919) % {accounts}, 1 + (g::bigint * 104729) % {products},
           (g % 100000)::numeric / 100, timestamptz '2020-01-01' + g * interval '9 seconds' from generate_series(1, {rows}) g;"
    )
}

/// The mapping of both tables with kept keys.
pub const MAPPING: &str = r#"version = 1

[entities.narrow]
source = "narrow"
target = "narrow"
id = { column = "id", strategy = "same" }
delete = "delete"

[entities.narrow.columns]
account_id = {}
kind = {}
amount = {}
booked_at = {}
note = {}

[entities.wide]
source = "wide"
target = "wide"
id = { column = "id", strategy = "same" }
delete = "delete"

[entities.wide.columns]
name = {}
email = {}
status = {}
score = {}
amount = {}
quantity = {}
active = {}
created_at = {}
updated_at = {}
code = {}
born = {}
body = {}
payload = {}
"#;

/// The mapping that translates keys and references.
pub const KEYED_MAPPING: &str = r#"version = 1

[entities.account]
source = "account"
target = "account"
columns = { name = {} }

[entities.product]
source = "product"
target = "product"
columns = { title = {} }

[entities.entry]
source = "entry"
target = "entry"

[entities.entry.columns]
account_id = { ref = "account", by = "account_id" }
product_id = { ref = "product", by = "product_id" }
amount = {}
booked_at = {}
"#;

/// Changes a share of a table's rows: eight in ten updates, one insert, one deletion. `round` picks other rows.
///
/// The changed keys are left in `changed_TABLE`, for whoever applies them by hand.
pub fn change(table: &str, share: f64, round: u32) -> String {
    let dice = format!("abs(hashint8extended(id, {round}) % 1000000)");
    let share = share * 1e6;
    let (updates, ends) = (share * 0.8, share * 0.9);
    let update = match table {
        "narrow" => "amount = amount + 1, note = 'changed'",
        _ => "amount = amount + 1, body = 'changed ' || body, payload = payload || '{\"b\": 1}'",
    };
    // The new rows are spread evenly over as many numbers behind the last one.
    let insert = rows_of(table, 0, 0).replace(
        "generate_series(0::bigint, 0) g",
        &format!(
            "(select max_id + i as g from (select max(id) as max_id, count(*) as n from {table}) t, \
             generate_series(1, greatest(1, (n * {share} / 1e7)::bigint)) i) g"
        ),
    );
    format!(
        "drop table if exists changed_{table}; create table changed_{table} (id bigint primary key);
         with done as (update {table} set {update} where {dice} < {updates} returning id)
           insert into changed_{table} select id from done;
         with done as (delete from {table} where {dice} >= {updates} and {dice} < {ends} returning id)
           insert into changed_{table} select id from done;
         create temporary table last_key as select max(id) as id from {table};
         {insert}
         insert into changed_{table} select t.id from {table} t, last_key l where t.id > l.id;
         analyze changed_{table};"
    )
}

/// Applies what [`change`] left behind, as one would by hand: COPY into a temporary table, upsert, delete.
pub fn apply_by_hand(table: &str, source: &str, target: &str) -> String {
    let columns = match table {
        "narrow" => "account_id, kind, amount, booked_at, note",
        _ => {
            "name, email, status, score, amount, quantity, active, created_at, updated_at, code, born, body, payload"
        }
    };
    let settings: Vec<String> = columns
        .split(", ")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let there = if table == "narrow" { "kind" } else { "name" };
    let read = format!(
        "copy (select c.id, {} from changed_{table} c left join {table} t using (id) order by 1) to stdout (format binary)",
        columns
            .split(", ")
            .map(|column| format!("t.{column}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    format!(
        "psql -qX '{source}' -c '{read}' | psql -qX -v ON_ERROR_STOP=1 '{target}' -c 'begin' \
         -c 'create temporary table delta on commit drop as select * from {table} where false' \
         -c 'copy delta from stdin (format binary)' \
         -c 'insert into {table} select * from delta where {there} is not null \
             on conflict (id) do update set {}' \
         -c 'delete from {table} t using delta d where t.id = d.id and d.{there} is null' -c 'commit'",
        settings.join(", ")
    )
}

/// Loads [`KEYED_SOURCE`] into [`KEYED_TARGET`] as one would by hand: raw copies, maps of ordered ids, two joins.
pub fn load_keyed_by_hand(source: &str, target: &str) -> String {
    let id = |table: &str, column: &str| {
        format!(
            "(lpad(to_hex({column}), 12, $$0$$) || substr(md5($${table}$$ || {column}), 13))::uuid"
        )
    };
    let mut script = String::new();
    for (table, columns) in [
        ("account", "id integer, name text"),
        ("product", "id integer, title text"),
        (
            "entry",
            "id integer, account_id integer, product_id integer, amount numeric(12,2), booked_at timestamptz",
        ),
    ] {
        script.push_str(&format!(
            "psql -qX '{source}' -c 'copy {table} to stdout (format binary)' | psql -qX -v ON_ERROR_STOP=1 '{target}' \
             -c 'create schema if not exists raw' -c 'create unlogged table raw.{table} ({columns})' \
             -c 'copy raw.{table} from stdin (format binary)'\n"
        ));
    }
    let (account, product, entry) = (
        id("account", "id"),
        id("product", "id"),
        id("entry", "e.id"),
    );
    script.push_str(&format!(
        "psql -qX -v ON_ERROR_STOP=1 '{target}' \
         -c 'create table raw.account_map as select id, {account} as new_id from raw.account; analyze raw.account_map' \
         -c 'create table raw.product_map as select id, {product} as new_id from raw.product; analyze raw.product_map' \
         -c 'analyze raw.entry' \
         -c 'insert into account select m.new_id, a.name from raw.account a join raw.account_map m using (id) order by 1' \
         -c 'insert into product select m.new_id, p.title from raw.product p join raw.product_map m using (id) order by 1' \
         -c 'insert into entry select {entry}, a.new_id, p.new_id, e.amount, e.booked_at from raw.entry e \
             join raw.account_map a on a.id = e.account_id join raw.product_map p on p.id = e.product_id order by 1'"
    ));
    script
}
