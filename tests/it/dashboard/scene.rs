//! What the page is shown: a server, and a migration that takes its time.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

/// `diffmig serve`, ended when it is dropped.
pub struct Served {
    pub process: Child,
    pub url: String,
}

impl Served {
    /// Starts the server at an address and waits until it says that it is ready.
    pub async fn start(bench: &Bench, address: &str, more: &[&str]) -> Served {
        let mut arguments = vec!["serve", "--listen", address];
        arguments.extend(more);
        let mut process = bench
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        });
        let url = read.await.unwrap().trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Served { process, url }
    }

    pub async fn any(bench: &Bench) -> Served {
        Served::start(bench, "127.0.0.1:0", &[]).await
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every statement that writes into the target takes a moment, so that there is something to watch.
const TAKE_TIME: &str = "
    create function public.take_time() returns trigger language plpgsql as
        'begin perform pg_sleep(0.2); return null; end';
    do $$ declare it record; begin
        for it in select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' loop
            execute format('create trigger take_time after insert or update on public.%I
                for each statement execute function public.take_time()', it.relname);
        end loop;
    end $$";

/// Lets every statement that writes a row of the target take a while.
pub async fn take_time(bench: &Bench) {
    sqlx::raw_sql(TAKE_TIME)
        .execute(&mut bench.target().await)
        .await
        .unwrap();
}

/// A migration that takes a while; killed when it is dropped.
pub struct Slow(pub Child);

impl Slow {
    pub async fn start(bench: &Bench) -> Slow {
        take_time(bench).await;
        let process = bench.spawn(&[
            "migrate",
            "-q",
            "--batch-size",
            "100",
            "--max-concurrent",
            "1",
        ]);
        bench.waits_for("exists (select from diffmig.batch)").await;
        Slow(process)
    }

    pub async fn ended(mut self) -> Option<i32> {
        let wait = tokio::task::spawn_blocking(move || self.0.wait().unwrap().code());
        wait.await.unwrap()
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    /// Waits until a condition is true in the target; its tables may not be there yet.
    pub async fn waits_for(&self, condition: &str) {
        let mut target = self.target().await;
        for _ in 0..2_400 {
            let query = sqlx::AssertSqlSafe(format!("select {condition}"));
            if sqlx::query_scalar(query)
                .fetch_one(&mut target)
                .await
                .unwrap_or(false)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never true: {condition}");
    }

    /// The ids of the log of the only session, in order.
    pub async fn logged(&self) -> Vec<i64> {
        let ids = "select e.event_id::text from diffmig.event e where e.session_id is not null order by e.event_id";
        let lines = self.target_lines(ids).await;
        lines.iter().map(|it| it.parse().unwrap()).collect()
    }
}
