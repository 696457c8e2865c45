//! A hot standby as the source.

use super::{found, shop};
use crate::support::Bench;
use crate::support::tables::{execute, text};
use diffmig::domain::connection::Side;
use diffmig::sandbox::{Binaries, Sandbox, Server, ServerOptions, Shutdown};
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Duration;

/// Makes a standby of a server; the primary itself runs the base backup, as the account that owns both.
async fn standby_of(primary: &Server, admin: &mut PgConnection) -> (Sandbox, Server) {
    let binaries = Binaries::find_for("source").await.unwrap();
    let program = binaries.dir().join("pg_basebackup");
    let sandbox = Sandbox::create(binaries).unwrap();
    let options = ServerOptions {
        superuser: primary.superuser().to_owned(),
        ..ServerOptions::default()
    };
    let standby = sandbox.start("standby", &options).await.unwrap();
    standby.stop(Shutdown::Fast).await.unwrap();
    let data = standby.data_dir();
    let copy = format!(
        "copy (select 1) to program $$rm -rf '{0}' && '{1}' -D '{0}' -R -X stream -c fast -h '{2}' -p {3} -U '{4}' \
         && echo \"unix_socket_directories = '{5}'\" >> '{0}/postgresql.auto.conf'$$",
        data.display(),
        program.display(),
        primary.socket_dir().display(),
        primary.port(),
        primary.superuser(),
        standby.socket_dir().display(),
    );
    execute(admin, &copy).await;
    standby.start().await.unwrap();
    (sandbox, standby)
}

/// Waits until the standby has replayed what the primary has written.
async fn catch_up(primary: &mut PgConnection, bench: &Bench) {
    let written = text(primary, "select pg_current_wal_lsn()::text").await;
    let replayed = format!("select (pg_last_wal_replay_lsn() >= '{written}')::text");
    for _ in 0..600 {
        if text(&mut bench.source().await, &replayed).await == "true" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the standby does not catch up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_read_like_its_primary_until_it_is_promoted() {
    let mut bench = shop().await;
    let mut admin = bench.source().await;
    let mut late = bench.source().await;
    let (_sandbox, standby) = standby_of(&bench.workshop.source, &mut admin).await;
    let _primary = std::mem::replace(&mut bench.workshop.source, standby);

    execute(
        &mut late,
        "begin; update item set name = 'late' where id = 4",
    )
    .await;
    execute(
        &mut admin,
        "insert into item values (50, 'new', 1); delete from item where id = 2; update item set name = 'x' where id = 1",
    )
    .await;
    catch_up(&mut admin, &bench).await;
    assert_eq!(bench.found("xmin").await, found("xmin", 2, 1, 1, 1));
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    execute(&mut late, "commit").await;
    catch_up(&mut admin, &bench).await;
    assert_eq!(bench.found("xmin").await.3, 1);
    bench.settles("xmin").await;

    // From here on its transactions are others than those of the primary.
    let promote = sqlx::query(AssertSqlSafe("select pg_promote()".to_owned()));
    promote.execute(&mut bench.source().await).await.unwrap();
    bench.full_because("restored or failed over").await;
    bench
        .on(Side::Source, "update item set name = 'after' where id = 3")
        .await;
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    assert_eq!(bench.found("xmin").await.2, 0);
    bench.settles("xmin").await;
}
