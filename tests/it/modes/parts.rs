//! One entity in parts that several readers take side by side.

use crate::support::Bench;
use diffmig::domain::connection::Side;
use diffmig::domain::detection::{DetectMode, Detection};
use diffmig::service::detect::{DetectRequest, detect};

/// Keys with huge gaps and a hot tail, texts that no language sorts like that, and keys of two columns.
const SOURCE: &str = "
    create table gap (id bigint primary key, name text);
    insert into gap select case when n < 2000 then n * 4000000000000000 - 8000000000000000000 else n end, 'gap' from generate_series(1, 4000) n;
    create table word (id text collate \"en-x-icu\" primary key, name text);
    insert into word select case n % 4 when 0 then 'ä' when 1 then 'Z' when 2 then '' else 'a''\\' end || md5(n::text), 'word' from generate_series(1, 3000) n;
    create table pair (a int, b text, name text, primary key (a, b));
    insert into pair select n % 3, md5(n::text), 'pair' from generate_series(1, 3000) n;
    create table loose (id int unique, name text);
    insert into loose select n, 'loose' from generate_series(1, 3000) n;";

const TARGET: &str = "
    create table gap (id uuid primary key, name text);
    create table word (id uuid primary key, name text);
    create table pair (id uuid primary key, name text);
    create table loose (id uuid primary key, name text);";

const MAPPING: &str = r#"
[entities.gap]
source = "gap"
target = "gap"
delete = "delete"
columns = { name = "name" }
[entities.word]
source = "word"
target = "word"
delete = "delete"
columns = { name = "name" }
[entities.pair]
source = "pair"
target = "pair"
delete = "delete"
columns = { name = "name" }
[entities.loose]
source = "loose"
target = "loose"
key = ["id"]
delete = "delete"
columns = { name = "name" }
"#;

/// New rows, some of them in one run; updates everywhere; and deletions.
const CHANGES: &str = "
    insert into gap select n, 'new' from generate_series(5000, 7500) n;
    insert into gap values (-9223372036854775808, 'low'), (9223372036854775807, 'high');
    update gap set name = 'other' where id % 7 = 0; delete from gap where id % 11 = 0;
    insert into word select 'm' || n, 'new' from generate_series(1, 1500) n;
    update word set name = 'other' where id like '%7'; delete from word where id like '%a';
    insert into pair select 1, 'n' || n, 'new' from generate_series(1, 50) n;
    update pair set name = 'other' where b like '%7'; delete from pair where a = 2;
    update loose set name = 'other' where id % 5 = 0; delete from loose where id > 2900;";

async fn detected(bench: &Bench, readers: usize) -> (Detection, Vec<String>) {
    let context = bench.context().await;
    let request = DetectRequest {
        mode: DetectMode::Full,
        max_concurrent: readers,
        part_rows: 500,
        store: true,
        ..DetectRequest::default()
    };
    let detection = detect(&context, &request).await.unwrap();
    let sql = format!(
        "select entity, kind, key::text, last_key::text, row_count::text from diffmig.change \
         where detection_id = '{}' order by entity, ordinal",
        detection.detection_id
    );
    let changes = bench.target_lines(&sql).await;
    (detection, changes)
}

/// Changes without what depends on where the parts are: runs.
fn singles(changes: &[String]) -> Vec<&String> {
    changes.iter().filter(|it| it.ends_with("-|1")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_find_together_what_one_reader_finds() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate_with(&[], 0).await;
    bench.on(Side::Source, CHANGES).await;
    let (one, in_order) = detected(&bench, 1).await;
    for readers in [2, 5] {
        let (many, in_parts) = detected(&bench, readers).await;
        for (one, many) in one.entities.iter().zip(&many.entities) {
            let mut many = many.clone();
            assert_eq!(many.reading.rows_read, one.reading.rows_read);
            many.reading = one.reading.clone();
            assert_eq!(*one, many);
            assert!(one.new + one.modified > 0 && one.deleted > 0, "{one:?}");
        }
        // In whatever order they were read, they are applied in that of the keys.
        let (in_order, in_parts) = (singles(&in_order), singles(&in_parts));
        let kept: Vec<_> = in_parts.iter().filter(|it| in_order.contains(it)).collect();
        assert_eq!(in_order.iter().collect::<Vec<_>>(), kept);
    }
    let ordinals =
        "select count(distinct ordinal >> 40)::text from diffmig.change where entity = 'gap'";
    assert!(bench.text_in_target(ordinals).await.parse::<u32>().unwrap() > 4);

    let (many, _) = detected(&bench, 4).await;
    let id = many.detection_id.to_string();
    let deletes = ["gap", "word", "pair", "loose"].map(|it| format!("--allow-deletes={it}=3000"));
    let mut arguments = vec!["--detection-id", &id];
    arguments.extend(deletes.iter().map(String::as_str));
    bench.migrate_with(&arguments, 0).await;
    bench.ask(&["verify"], 0).await;
}
