//! A schema that nobody here made, Chinook as a Django application has it: `init`, three edits, and four days.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::domain::connection::Side;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;

const SOURCE: &str = include_str!("../../fixtures/foreign/chinook.sql");
const TARGET: &str = include_str!("../../fixtures/foreign/chinook_target.sql");

/// What the draft cannot know, and what a person writes instead: the line in the draft, and the line of the mapping.
const EDITS: &[(&str, &str)] = &[
    ("delete = \"ignore\"", "delete = \"delete\""),
    (
        "# TODO kind (",
        "kind = { case = [{ when = \"p.name in ('Movies', 'TV Shows', 'Music Videos')\", then = \"video\" }], else = \"music\" }",
    ),
    (
        "# TODO duration_ms (",
        "duration_ms = { column = \"t.Milliseconds\" }",
    ),
];

/// The same facts as text from both sides, without ids of our own.
const FACTS: &[(&str, &str, &str)] = &[
    (
        "tracks",
        "select concat_ws('|', t.id, t.name, a.title, r.name, g.name, replace(replace(lower(m.name), ' ', '_'), '-', '_'), \
                t.composer, t.\"Milliseconds\", t.bytes, t.unit_price) \
         from chinook_track t join chinook_mediatype m on m.id = t.mediatype_id \
         left join chinook_album a on a.id = t.album_id left join chinook_artist r on r.id = a.artist_id \
         left join chinook_genre g on g.id = t.genre_id order by t.id",
        "select concat_ws('|', t.legacy_track_id, t.name, a.title, r.name, g.name, t.media_type, \
                t.composer, t.duration_ms, t.bytes, t.unit_price) \
         from tracks t left join albums a on a.id = t.album_id left join artists r on r.id = a.artist_id \
         left join genres g on g.id = t.genre_id order by t.legacy_track_id",
    ),
    (
        "playlist_tracks",
        "select concat_ws('|', p.name, x.track_id) from chinook_playlisttrack x \
         join chinook_playlist p on p.id = x.playlist_id order by x.playlist_id, x.track_id",
        "select concat_ws('|', p.name, t.legacy_track_id) from playlist_tracks x \
         join playlists p on p.id = x.playlist_id join tracks t on t.id = x.track_id \
         order by p.legacy_playlist_id, t.legacy_track_id",
    ),
    (
        "invoice_lines",
        "select concat_ws('|', l.id, c.firstname || ' ' || c.lastname, c.email, e.lastname, \
                to_char(i.\"InvoiceDate\" at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), i.billingcity, \
                i.\"Total\"::numeric(10,2), l.track_id, l.unit_price, l.\"Quantity\") \
         from chinook_invoiceline l join chinook_invoice i on i.id = l.invoice_id \
         join chinook_customer c on c.id = i.customer_id left join chinook_employee e on e.id = c.support_rep_id \
         order by l.id",
        "select concat_ws('|', l.legacy_invoice_line_id, c.full_name, c.email, e.last_name, \
                to_char(i.invoiced_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), i.billing_city, \
                i.total, t.legacy_track_id, l.unit_price, l.quantity) \
         from invoice_lines l join invoices i on i.id = l.invoice_id join tracks t on t.id = l.track_id \
         join customers c on c.id = i.customer_id left join employees e on e.id = c.support_rep_id \
         order by l.legacy_invoice_line_id",
    ),
    (
        "employees",
        "select concat_ws('|', e.id, e.firstname, e.lastname, b.lastname, to_char(e.birthdate at time zone 'UTC', 'YYYY-MM-DD'), \
                extract(epoch from e.hiredate)::bigint, e.postalcode) \
         from chinook_employee e left join chinook_employee b on b.id = e.reports_to_id order by e.id",
        "select concat_ws('|', e.legacy_employee_id, e.first_name, e.last_name, b.last_name, to_char(e.birth_date, 'YYYY-MM-DD'), \
                extract(epoch from e.hired_at)::bigint, e.postal_code) \
         from employees e left join employees b on b.id = e.reports_to order by e.legacy_employee_id",
    ),
    (
        "playlists",
        "select concat_ws('|', id, name, case when name in ('Movies', 'TV Shows', 'Music Videos') then 'video' else 'music' end) \
         from chinook_playlist order by id",
        "select concat_ws('|', legacy_playlist_id, name, kind) from playlists order by legacy_playlist_id",
    ),
];

/// The second day: new music is sold, a customer marries, a price changes, a playlist shrinks.
const DAY2: &str = "
    insert into chinook_artist values (276, 'Nobody We Know');
    insert into chinook_album values (348, 'First and Last', 276);
    insert into chinook_track values (3504, 'Opening', 348, 2, 1, null, 61000, null, 1.29),
                                     (3505, 'Closing', 348, 5, null, 'N. N.', 59000, 2147483647, 1.29);
    insert into chinook_playlisttrack values (9001, 1, 3504), (9002, 18, 3505);
    insert into chinook_invoice values (413, 1, '2013-12-31T23:30:00-07:00', null, 'Oslo', null, 'Norway', null, '2.58');
    insert into chinook_invoiceline values (2241, 413, 3504, 1.29, 1), (2242, 413, 3505, 1.29, 1);
    update chinook_customer set lastname = 'Gonçalves-Stone' where id = 1;
    update chinook_track set unit_price = 1.99 where id in (1, 2);
    delete from chinook_playlisttrack where playlist_id = 1 and track_id in (1, 2, 3);";

/// The third day: somebody leaves, an invoice is cancelled with its lines, a media type is corrected.
const DAY3: &str = "
    update chinook_genre set name = 'Rock & Roll' where id = 1;
    update chinook_employee set reports_to_id = 1 where id = 3;
    insert into chinook_employee values (9, 'Newcomer', 'Ann', null, 6, null, '2014-01-02T00:00:00Z');
    update chinook_track set mediatype_id = 3 where id = 3504;
    delete from chinook_invoiceline where invoice_id = 413;
    delete from chinook_invoice where id = 413;
    delete from chinook_playlisttrack where track_id = 3505;
    delete from chinook_track where id = 3505;
    update chinook_invoice set \"Total\" = '0.00' where id = (select min(id) from chinook_invoice);";

/// The fourth day: what was gone comes back with its old key, and a playlist goes with all that was on it.
const DAY4: &str = "
    insert into chinook_invoice values (413, 2, '2014-01-03T10:00:00Z', null, null, null, null, null, '1.29');
    insert into chinook_invoiceline values (2241, 413, 3504, 1.29, 1);
    delete from chinook_playlisttrack where playlist_id = 17;
    delete from chinook_playlist where id = 17;
    update chinook_album set title = title;";

type Found = BTreeMap<String, (i64, i64, i64)>;

fn wanted(list: &[(&str, i64, i64, i64)]) -> Found {
    let list = list.iter();
    list.map(|(entity, new, modified, deleted)| ((*entity).to_owned(), (*new, *modified, *deleted)))
        .collect()
}

async fn detected(bench: &Bench) -> Found {
    let report = bench.ask(&["detect"], 0).await;
    let entities = report["entities"].as_array().unwrap().iter();
    let found = entities.map(|it| {
        let number = |field: &str| it[field].as_i64().unwrap();
        let counts = (number("new"), number("modified"), number("deleted"));
        (it["entity"].as_str().unwrap().to_owned(), counts)
    });
    found.filter(|(_, counts)| *counts != (0, 0, 0)).collect()
}

async fn lines(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
    rows.fetch_all(connection).await.unwrap()
}

/// Both sides say the same, by queries that know nothing of the mapping, and diffmig proves it.
async fn is_exact(bench: &Bench, day: &str) {
    let (mut source, mut target) = (bench.source().await, bench.target().await);
    for (what, from, to) in FACTS {
        let (wanted, found) = (lines(&mut source, from).await, lines(&mut target, to).await);
        assert!(!wanted.is_empty(), "{day} {what}");
        assert_eq!(found, wanted, "{day} {what}");
    }
    let report = bench.ask(&["verify"], 0).await;
    assert_eq!(report["proved"], true, "{day}: {report}");
    assert_eq!(detected(bench).await, Found::new(), "{day}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_schema_is_migrated_with_a_draft_and_three_edits() {
    let bench = Bench::with_tables(SOURCE, TARGET, "").await;
    std::fs::remove_file(bench.mapping_path()).unwrap();
    let report = bench.ask(&["init"], 0).await;
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    let mut text = std::fs::read_to_string(bench.mapping_path()).unwrap();
    // Before the edits every command refuses the file and names the columns.
    let said = bench.say(&["migrate", "--dry-run"]).await;
    assert_eq!(said.code, Some(13), "{said:?}");
    assert!(
        said.stderr.contains("`kind`") && said.stderr.contains("`duration_ms`"),
        "{said:?}"
    );
    for (drafted, edited) in EDITS {
        let mut drafts = text.lines().filter(|line| line.starts_with(drafted));
        let line = drafts
            .next()
            .unwrap_or_else(|| panic!("no {drafted} in\n{text}"))
            .to_owned();
        assert_eq!(drafts.next(), None, "{drafted}");
        text = text.replace(&line, edited);
    }
    std::fs::write(bench.mapping_path(), text).unwrap();

    let all: i64 = detected(&bench).await.values().map(|it| it.0).sum();
    assert_eq!(all, 33 + 45 + 25 + 569 + 18 + 1420 + 8 + 48 + 68 + 370);
    bench.migrate(0).await;
    is_exact(&bench, "day 1").await;

    bench.on(Side::Source, DAY2).await;
    let day2 = wanted(&[
        ("artists", 1, 0, 0),
        ("albums", 1, 0, 0),
        ("customers", 0, 1, 0),
        ("invoices", 1, 0, 0),
        ("invoice_lines", 2, 0, 0),
        ("playlist_tracks", 2, 0, 3),
        ("tracks", 2, 2, 0),
    ]);
    assert_eq!(detected(&bench).await, day2);
    bench.migrate(0).await;
    is_exact(&bench, "day 2").await;

    bench.on(Side::Source, DAY3).await;
    let day3 = wanted(&[
        ("employees", 1, 1, 0),
        ("genres", 0, 1, 0),
        ("invoices", 0, 1, 1),
        ("invoice_lines", 0, 0, 2),
        ("playlist_tracks", 0, 0, 1),
        ("tracks", 0, 1, 1),
    ]);
    assert_eq!(detected(&bench).await, day3);
    bench.migrate(0).await;
    is_exact(&bench, "day 3").await;

    bench.on(Side::Source, DAY4).await;
    let day4 = wanted(&[
        ("invoices", 1, 0, 0),
        ("invoice_lines", 1, 0, 0),
        ("playlist_tracks", 0, 0, 7),
        ("playlists", 0, 0, 1),
    ]);
    assert_eq!(detected(&bench).await, day4);
    bench.migrate(0).await;
    is_exact(&bench, "day 4").await;
}
