//! Rules that change: which entities are read again, and which rows are written.

use super::{MAPPING, SOURCE, TARGET, night};
use crate::support::Bench;
use diffmig::domain::connection::Side;

impl Bench {
    /// How each entity is read, with the number of modified rows.
    async fn read(&self) -> Vec<String> {
        let report = self.ask(&["detect", "--mode", "xmin"], 0).await;
        let entities = report["entities"].as_array().unwrap().iter();
        let words = |it: &serde_json::Value| {
            let mode = it["mode"].as_str().unwrap();
            format!(
                "{} {mode} {}",
                it["entity"].as_str().unwrap(),
                it["modified"]
            )
        };
        entities.map(words).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_rule_reads_its_entity_only_and_modifies_the_rows_it_concerns() {
    let bench = night().await;
    let cheap = ["regions xmin 0", "people xmin 0"];
    assert_eq!(bench.read().await, cheap);
    bench.edit("# nobody reads it", "# nobody reads this");
    assert_eq!(bench.read().await, cheap, "a comment changes no row");
    // Ten of twenty people are drafts.
    bench.edit(
        "\nstatus = {}",
        "\nstatus = { codes = { draft = \"sent\", sent = \"sent\" } }",
    );
    assert_eq!(bench.read().await, ["regions xmin 0", "people full 10"]);
    let report = bench.ask(&["migrate", "--mode", "xmin"], 0).await;
    assert_eq!(report["entities"][1]["batches"]["updated"], 10, "{report}");
    assert_eq!(bench.read().await, cheap);
    let diff = bench.ask(&["schema", "diff"], 0).await;
    assert_eq!(diff["mappingPatch"], "");
    bench.edit("codes = { draft = \"sent\", sent = \"sent\" }", "");
    let diff = bench.ask(&["schema", "diff"], 0).await;
    let patch = diff["mappingPatch"].as_str().unwrap();
    assert!(
        patch.contains("-status = { codes = {") && patch.contains("+status = {  }"),
        "{patch}"
    );
    bench.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_fills_another_column_fills_it_for_every_row() {
    let bench = Bench::with_tables(
        SOURCE,
        &format!("{TARGET} alter table people add column mobile text;"),
        MAPPING,
    )
    .await;
    bench.migrate_with(&[], 0).await;
    // The bytes that leave the source are the same ones.
    bench.edit("\nphone = {", "\nmobile = {");
    assert_eq!(bench.read().await, ["regions xmin 0", "people full 20"]);
    bench.settle().await;
    let filled = "select count(*) from people where mobile = phone";
    assert_eq!(bench.in_target(filled).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_another_entity_is_translated_anew() {
    let second = "
[entities.others]
source = \"region\"
target = \"others\"
legacy = { id = \"legacy_id\" }
[entities.others.columns]
name = {}
";
    let target = format!(
        "{TARGET} create table others (like regions including all);
         alter table people drop constraint people_region_id_fkey;"
    );
    let bench = Bench::with_tables(SOURCE, &target, &format!("{MAPPING}{second}")).await;
    bench.migrate_with(&[], 0).await;
    let of_others = "select count(*) from people p join others o on o.id = p.region_id";
    assert_eq!(bench.in_target(of_others).await, 0);
    bench.edit("ref = \"regions\"", "ref = \"others\"");
    bench.settle().await;
    assert_eq!(bench.in_target(of_others).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_a_column_that_was_not_mapped_is_kept_when_it_is_mapped() {
    let bench = night().await;
    bench
        .on(
            Side::Target,
            "alter table people add column label text; update people set label = 'mine' where legacy_id = 3",
        )
        .await;
    bench.ask(&["schema", "diff", "--accept"], 0).await;
    bench.edit(
        "\nage = {}",
        "\nage = {}\nlabel = { template = \"{p.name}!\" }",
    );
    let report = bench.migrate(3).await;
    let batches = &report["entities"][1]["batches"];
    assert_eq!(batches["updated"], 19, "{report}");
    assert_eq!(batches["conflicted"], 1, "{report}");
    let kept = "select count(*) from people where label = 'mine' and legacy_id = 3";
    assert_eq!(bench.in_target(kept).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_the_target_is_kept_when_rules_and_tables_change_in_the_same_night() {
    let bench = night().await;
    bench
        .on(
            Side::Target,
            "update people set phone = '5' where legacy_id = 3;
             alter table people alter column age type bigint; alter table people add column label text",
        )
        .await;
    // What is accepted was seen by no session, and explains no row.
    bench.ask(&["schema", "diff", "--accept"], 0).await;
    bench.edit(
        "\nage = {}",
        "\nage = {}\nlabel = { template = \"{p.name}!\" }",
    );
    bench
        .on(
            Side::Source,
            "update person set name = 'new' where id in (3, 4)",
        )
        .await;
    let report = bench.migrate(3).await;
    let batches = &report["entities"][1]["batches"];
    // Every row gets its label but the one that somebody has edited.
    assert_eq!(batches["updated"], 19, "{report}");
    assert_eq!(batches["conflicted"], 1, "{report}");
    let edited = "select count(*) from people where phone = '5' and label is null and name = 'p3'";
    assert_eq!(bench.in_target(edited).await, 1);
    assert_eq!(
        bench
            .in_target("select count(*) from people where label = name || '!'")
            .await,
        19
    );
}
