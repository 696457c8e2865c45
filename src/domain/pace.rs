//! How fast a session is, what holds it up, and when it will be done: said only as far as it is known.

use serde::Serialize;

/// Two estimates further apart than this factor are shown as a range.
const AGREE: f64 = 1.25;
/// Entities of a wave that run side by side, as long as nobody chooses another number.
const SIDE_BY_SIDE: f64 = 3.0;
/// A share of the time from which on locks are what holds a session up.
const LOCKED: f64 = 0.3;

/// After so many seconds without a batch, a connection that waits for a lock is what holds the session up.
const STANDS_STILL: f64 = 3.0;

/// What the batches of the last minute add up to; times in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recent {
    /// Rows in them.
    pub rows: f64,
    /// Seconds since the first of them began.
    pub secs: f64,
    /// Seconds since the last of them began to be committed.
    pub silent_secs: f64,
    /// How long they took to be applied.
    pub apply: f64,
    /// How long their writers waited for rows.
    pub idle: f64,
    /// How long their rows took to come from the source.
    pub source: f64,
    /// How long hashing and packing took.
    pub hash: f64,
    /// How long locks were waited for in tries that failed.
    pub lock: f64,
    /// Whether anything of that was measured.
    pub is_measured: bool,
}

impl Recent {
    /// Returns the rate in rows per second; nothing when no batch was committed lately.
    pub fn rows_per_sec(&self) -> Option<f64> {
        (self.rows > 0.0 && self.secs > 0.0).then(|| self.rows / self.secs)
    }
}

/// What holds a session up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Rows come slowly from the source.
    Source,
    /// The target takes its time to write.
    Target,
    /// Our own work on the rows.
    Hashing,
    /// Somebody else's lock in the target.
    Lock,
}

impl Limit {
    /// Returns how people say it.
    pub fn words(self) -> &'static str {
        match self {
            Limit::Source => "source",
            Limit::Target => "target",
            Limit::Hashing => "hashing",
            Limit::Lock => "waiting for a lock",
        }
    }
}

/// Tells what holds a session up, from the batches of the last minute and from connections that wait for a lock now.
pub fn limit(recent: &Recent, waiting: i64) -> Option<Limit> {
    let spent = recent.apply + recent.idle;
    let stands_still = recent.rows == 0.0 || recent.silent_secs > STANDS_STILL;
    if waiting > 0 && stands_still || recent.lock > LOCKED * spent && recent.lock > 0.0 {
        return Some(Limit::Lock);
    }
    if !recent.is_measured {
        return None;
    }
    if recent.apply >= recent.idle {
        return Some(Limit::Target);
    }
    match recent.hash > recent.source {
        true => Some(Limit::Hashing),
        false => Some(Limit::Source),
    }
}

/// An entity with rows to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// Its wave.
    pub wave: i32,
    /// Rows to go.
    pub rows: f64,
    /// Rows per second in earlier sessions, if there were any.
    pub before: Option<f64>,
}

/// When it will be done: seconds from now, at best and at worst; equal when all that is known agrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eta {
    /// By the kinder estimate.
    pub low_secs: f64,
    /// By the other.
    pub high_secs: f64,
}

/// Estimates when a session will be done, from its rate of the last minute and from earlier sessions.
///
/// Nothing when there is neither.
pub fn eta(left: &[Left], rows_per_sec: Option<f64>) -> Option<Eta> {
    let rows: f64 = left.iter().map(|it| it.rows).sum();
    let now = rows_per_sec
        .filter(|rate| *rate > 0.0)
        .map(|rate| rows / rate);
    let (one, other) = match (now, by_history(left)) {
        (None, None) => return None,
        (Some(one), None) | (None, Some(one)) => (one, one),
        (Some(now), Some(before)) => (now, before),
    };
    let (low_secs, high_secs) = (one.min(other), one.max(other));
    match now {
        // Small differences say nothing; what happens now is then the better guess.
        Some(now) if high_secs <= low_secs * AGREE => Some(Eta {
            low_secs: now,
            high_secs: now,
        }),
        _ => Some(Eta {
            low_secs,
            high_secs,
        }),
    }
}

/// Entities of a wave run side by side, and waves one after the other. Nothing unless nearly all rows are of entities
/// that were migrated before.
fn by_history(left: &[Left]) -> Option<f64> {
    let rows: f64 = left.iter().map(|it| it.rows).sum();
    let known: f64 = left
        .iter()
        .filter(|it| it.before.is_some())
        .map(|it| it.rows)
        .sum();
    if rows == 0.0 || known < 0.9 * rows {
        return None;
    }
    let mut waves: Vec<i32> = left.iter().map(|it| it.wave).collect();
    waves.sort_unstable();
    waves.dedup();
    let secs = waves.iter().map(|wave| {
        let of_wave = left.iter().filter(|it| it.wave == *wave);
        let secs = of_wave.filter_map(|it| it.before.map(|rate| it.rows / rate));
        let (longest, sum) = secs.fold((0.0_f64, 0.0), |(longest, sum), it| {
            (longest.max(it), sum + it)
        });
        longest.max(sum / SIDE_BY_SIDE)
    });
    Some(secs.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(wave: i32, rows: f64, before: Option<f64>) -> Left {
        Left { wave, rows, before }
    }

    #[test]
    fn nothing_known_gives_no_number() {
        assert_eq!(eta(&[left(1, 500.0, None)], None), None);
        assert_eq!(eta(&[left(1, 500.0, None)], Some(0.0)), None);
        // Half of the rows belong to an entity that never ran.
        let half = [left(1, 500.0, Some(10.0)), left(1, 500.0, None)];
        assert_eq!(eta(&half, None), None);
        assert_eq!(Recent::default().rows_per_sec(), None);
        assert_eq!(limit(&Recent::default(), 0), None);
    }

    #[test]
    fn estimates_that_disagree_are_a_range_and_others_one_number() {
        let rows = [left(1, 1_000.0, Some(50.0))];
        let at = |rate| eta(&rows, Some(rate)).map(|it| (it.low_secs, it.high_secs));
        assert_eq!(at(100.0), Some((10.0, 20.0)));
        assert_eq!(at(25.0), Some((20.0, 40.0)));
        assert_eq!(at(48.0).map(|it| it.0 == it.1), Some(true));
        let before = eta(&rows, None).unwrap();
        assert_eq!((before.low_secs, before.high_secs), (20.0, 20.0));
    }

    #[test]
    fn waves_come_one_after_the_other_and_their_entities_side_by_side() {
        let rows = [
            left(1, 100.0, Some(10.0)),
            left(1, 50.0, Some(10.0)),
            left(2, 30.0, Some(10.0)),
        ];
        assert_eq!(eta(&rows, None).unwrap().low_secs, 13.0);
        let many = vec![left(1, 10.0, Some(10.0)); 9];
        assert_eq!(eta(&many, None).unwrap().low_secs, 3.0);
    }

    #[test]
    fn what_takes_the_time_is_the_limit() {
        let recent = Recent {
            rows: 100.0,
            secs: 10.0,
            apply: 1_000.0,
            is_measured: true,
            ..Recent::default()
        };
        assert_eq!(limit(&recent, 0), Some(Limit::Target));
        let idle = |source, hash| Recent {
            idle: 5_000.0,
            source,
            hash,
            ..recent
        };
        assert_eq!(limit(&idle(4_000.0, 900.0), 0), Some(Limit::Source));
        assert_eq!(limit(&idle(900.0, 4_000.0), 0), Some(Limit::Hashing));
        let locked = Recent {
            lock: 800.0,
            ..recent
        };
        assert_eq!(limit(&locked, 0), Some(Limit::Lock));
        assert_eq!(limit(&Recent::default(), 1), Some(Limit::Lock));
        // One connection waits for a moment, and the others go on.
        assert_eq!(limit(&recent, 1), Some(Limit::Target));
        let still = Recent {
            silent_secs: 10.0,
            ..recent
        };
        assert_eq!(limit(&still, 1), Some(Limit::Lock));
    }
}
