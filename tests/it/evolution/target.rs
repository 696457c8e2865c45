//! Changes of the target.

use super::night;
use diffmig::domain::connection::Side;

#[tokio::test(flavor = "multi_thread")]
async fn renamed_and_dropped_target_columns_are_followed() {
    let bench = night().await;
    bench
        .on(
            Side::Target,
            "alter table people rename phone to mobile; alter table people rename age to years;
             alter table people drop column region_id; alter table people rename legacy_id to old_id",
        )
        .await;
    let wanted = [
        "breaking target people.legacy_id column_renamed",
        "breaking target people.phone column_renamed",
        "breaking target people.age column_renamed",
        "breaking target people.region_id column_dropped",
        "harmless target people.people_region_id_fkey foreign_key_dropped",
    ];
    assert_eq!(bench.drift(13).await, wanted);
    bench
        .refuses(&[
            "column phone of public.people was renamed to mobile",
            "column region_id of public.people was dropped",
        ])
        .await;
    bench.follow(&[], 0).await;
    for line in [
        "mobile = { column = \"p.phone\", normalize = [\"digits\"] }",
        "years = \"age\"",
        "legacy = { id = \"old_id\" }",
        "ignore = [\"note\", \"region_id\"]",
    ] {
        let text = bench.mapping_text();
        assert!(text.contains(line), "{text}");
    }
    bench
        .on(
            Side::Source,
            "update person set phone = '1', age = 99 where id = 9",
        )
        .await;
    let said = bench.migrate(0).await;
    let batches = &said["entities"][1]["batches"];
    assert_eq!(
        (&batches["updated"], &batches["conflicted"]),
        (&1.into(), &0.into()),
        "{said}"
    );
    bench.settle().await;
    let moved = "select count(*) from people where old_id = 9 and mobile = '1' and years = 99";
    assert_eq!(bench.in_target(moved).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn required_columns_need_a_value_and_others_need_nothing() {
    let bench = night().await;
    bench
        .on(
            Side::Target,
            "alter table people add column remark text, add column made_at timestamptz not null default now();
             create table notes (id uuid primary key)",
        )
        .await;
    let wanted = [
        "harmless target people.remark column_added",
        "harmless target people.made_at column_added",
        "harmless target notes table_added",
    ];
    assert_eq!(bench.drift(0).await, wanted);
    bench.settle().await;
    bench
        .on(
            Side::Target,
            "alter table people add column note text not null default '', add column origin text not null default '';
             alter table people alter note drop default, alter origin drop default",
        )
        .await;
    let wanted = [
        "breaking target people.note column_added",
        "breaking target people.origin column_added",
    ];
    assert_eq!(bench.drift(13).await, wanted);
    bench
        .refuses(&[
            "column origin of public.people is new",
            "add a rule for `origin`",
        ])
        .await;
    // The source has a column of the one name; for the other somebody has to say.
    let suggestion = bench.follow(&[], 13).await;
    let text = bench.mapping_text();
    assert!(
        text.contains("\nnote = {}\n") && text.contains("ignore = []"),
        "{text}"
    );
    assert!(text.contains("\n# origin = { const = ... }"), "{text}");
    let sql = suggestion["sql"]["text"].as_str().unwrap();
    assert!(
        sql.contains(
            "\n-- alter table \"public\".\"people\" alter column \"origin\" drop not null;"
        ),
        "{sql}"
    );
    bench.edit(
        "\n# origin = { const = ... }",
        "\norigin = { const = \"legacy\" } #",
    );
    bench.settle().await;
    let filled = "select count(*) from people where origin = 'legacy' and note = 'n' || legacy_id";
    assert_eq!(bench.in_target(filled).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_to_another_table_is_refused_until_it_is_accepted() {
    let bench = night().await;
    bench
        .on(
            Side::Target,
            "create table areas (id uuid primary key, name text); insert into areas select id, name from regions;
             alter table people drop constraint people_region_id_fkey,
               add constraint people_region_id_fkey foreign key (region_id) references areas (id)",
        )
        .await;
    let wanted = [
        "breaking target people.people_region_id_fkey foreign_key_changed",
        "harmless target areas table_added",
    ];
    assert_eq!(bench.drift(13).await, wanted);
    bench
        .refuses(&[
            "people.columns.region_id writes ids of `regions`",
            "schema diff --accept",
        ])
        .await;
    let accepted = bench.ask(&["schema", "diff", "--accept"], 0).await;
    assert_eq!(accepted["accepted"], true);
    bench
        .on(Side::Source, "update person set region_id = 1 where id = 1")
        .await;
    bench.settle().await;
    bench
        .on(
            Side::Target,
            "alter table people drop constraint people_region_id_fkey;
             alter table people add constraint again foreign key (region_id) references regions on delete cascade;
             alter table people add constraint grown check (age < 1000), add constraint other check (legacy_id > 0)",
        )
        .await;
    let found = bench.drift(13).await;
    let wanted = [
        "loss target people.grown constraint_added",
        "harmless target people.other constraint_added",
        "harmless target people.people_region_id_fkey foreign_key_changed",
    ];
    assert_eq!(found, wanted);
    // What may set rows aside is said, and stops nothing.
    let said = bench.settle().await;
    assert!(
        said.stderr.contains("rows that break it are set aside"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_the_mapping_writes_are_followed_or_wanted_back() {
    let bench = night().await;
    bench.edit(
        "\nmood = {}",
        "\nmood = { codes = { calm = \"sad\", loud = \"loud\" } }",
    );
    bench.settle().await;
    bench
        .on(
            Side::Target,
            "alter type mood rename value 'sad' to 'blue';
             alter table people alter name type varchar(10)",
        )
        .await;
    let wanted = [
        "breaking target people.mood label_renamed",
        "loss target people.name column_retyped",
    ];
    assert_eq!(bench.drift(13).await, wanted);
    bench
        .refuses(&["label sad of the enum of mood of public.people was renamed to blue"])
        .await;
    let suggestion = bench.follow(&[], 0).await;
    let sql = suggestion["sql"]["text"].as_str().unwrap();
    assert!(
        sql.contains("\n-- alter table \"public\".\"people\" alter column \"name\" type"),
        "{sql}"
    );
    bench.settle().await;
    bench
        .on(
            Side::Target,
            "create type fewer as enum ('blue', 'calm');
             alter table people alter mood type fewer using mood::text::fewer;
             drop type mood; alter type fewer rename to mood",
        )
        .await;
    let found = bench.drift(13).await;
    assert_eq!(
        found[0], "breaking target people.mood label_removed",
        "{found:?}"
    );
    bench.refuses(&["has lost label loud"]).await;
    bench.follow(&[], 0).await;
    bench
        .on(
            Side::Source,
            "alter type mood rename value 'loud' to 'noisy'; update person set mood = 'noisy' where id = 1",
        )
        .await;
    assert!(
        bench
            .drift(13)
            .await
            .contains(&"loss source person.mood label_renamed".to_owned())
    );
    bench.follow(&[], 0).await;
    bench.settle().await;
    let moods = "select string_agg(mood || ' ' || n, ',' order by mood) from (select mood::text, count(*) as n from people group by 1) m";
    assert_eq!(bench.text_in_target(moods).await, "blue 19,loud 1");
}
