//! Named places at which a test can kill, crash or delay this process.
//!
//! They exist only with the cargo feature `failpoints`; without it [`pass`] is nothing at all. The
//! environment arms them: `DIFFMIG_FAILPOINTS="batch.before_commit=kill@3;delete.before=sleep:2000"`.
//! The deeds are `kill`, `panic`, `sleep:MILLISECONDS` and `wait:FILE` (makes the file and waits until somebody
//! removes it), done once, at the n-th passage (`@n`, 1 by default).

/// Passes a named place of an async function.
macro_rules! pass {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::armed::passed($name).await;
    };
}
pub(crate) use pass;

#[cfg(feature = "failpoints")]
pub mod armed {
    //! The places and what is armed at them.

    use rustix::process::{Signal, getpid, kill_process};
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// Every place there is.
    pub const POINTS: &[&str] = &[
        "lease.acquired",
        "snapshot.exported",
        "detect.after_chunk",
        "stage.mid_copy",
        "batch.after_fence",
        "batch.after_upsert",
        "batch.before_commit",
        "batch.after_commit_before_ack",
        "fk.after_null_pass",
        "delete.before",
        "session.before_complete",
        "session.after_complete",
    ];

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Deed {
        Kill,
        Panic,
        Sleep(Duration),
        Wait(PathBuf),
    }

    #[derive(Debug)]
    struct Armed {
        name: &'static str,
        deed: Deed,
        at: u32,
        passed: AtomicU32,
    }

    static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
        let text = std::env::var("DIFFMIG_FAILPOINTS").unwrap_or_default();
        // A place that is misspelt would make a test pass that tested nothing.
        parse(&text).unwrap_or_else(|fault| panic!("DIFFMIG_FAILPOINTS: {fault}"))
    });

    fn parse(text: &str) -> Result<Vec<Armed>, String> {
        let parts = text.split(';').filter(|part| !part.is_empty());
        parts.map(parse_one).collect()
    }

    fn parse_one(text: &str) -> Result<Armed, String> {
        let (name, deed) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` has no `=`"))?;
        let mut known = POINTS.iter().copied();
        let name = known
            .find(|known| *known == name)
            .ok_or_else(|| format!("there is no place `{name}`"))?;
        let (deed, at) = deed.split_once('@').unwrap_or((deed, "1"));
        let unknown = || format!("`{text}` cannot be understood");
        let at = at.parse().map_err(|_| unknown())?;
        let deed = match deed.split_once(':') {
            None if deed == "kill" => Deed::Kill,
            None if deed == "panic" => Deed::Panic,
            Some(("sleep", millis)) => Deed::Sleep(Duration::from_millis(
                millis.parse().map_err(|_| unknown())?,
            )),
            Some(("wait", file)) if !file.is_empty() => Deed::Wait(file.into()),
            _ => return Err(unknown()),
        };
        Ok(Armed {
            name,
            deed,
            at,
            passed: AtomicU32::new(0),
        })
    }

    /// Does what is armed at a place.
    pub(crate) async fn passed(name: &str) {
        debug_assert!(POINTS.contains(&name), "{name} is not in the list");
        for armed in ARMED.iter().filter(|armed| armed.name == name) {
            if armed.passed.fetch_add(1, Ordering::SeqCst) + 1 != armed.at {
                continue;
            }
            match &armed.deed {
                Deed::Kill => {
                    let _ = kill_process(getpid(), Signal::KILL);
                    std::future::pending::<()>().await;
                }
                Deed::Panic => panic!("failpoint {name}"),
                Deed::Sleep(pause) => tokio::time::sleep(*pause).await,
                Deed::Wait(file) => wait_at(file).await,
            }
        }
    }

    async fn wait_at(file: &Path) {
        std::fs::write(file, []).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        while file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn places_are_armed_by_name_deed_and_passage() {
            let armed =
                parse("batch.before_commit=kill@3;delete.before=sleep:20;lease.acquired=wait:/x")
                    .unwrap();
            let shown: Vec<_> = armed
                .into_iter()
                .map(|it| (it.name, it.deed, it.at))
                .collect();
            let pause = Deed::Sleep(Duration::from_millis(20));
            let wanted = [
                ("batch.before_commit", Deed::Kill, 3),
                ("delete.before", pause, 1),
                ("lease.acquired", Deed::Wait("/x".into()), 1),
            ];
            assert_eq!(shown, wanted);
            assert!(parse("").unwrap().is_empty());
        }

        #[test]
        fn misspelt_places_and_deeds_are_refused() {
            for text in [
                "batch.befor_commit=kill",
                "delete.before",
                "delete.before=explode",
                "delete.before=kill@x",
                "delete.before=sleep:",
                "delete.before=wait:",
            ] {
                assert!(parse(text).is_err(), "{text} was accepted");
            }
        }
    }
}
