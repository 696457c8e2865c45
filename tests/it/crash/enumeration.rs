//! Cuts every connection at every message, before and after it, and loses the answer of every commit.
//!
//! `DIFFMIG_CRASH=all` tries every point, `DIFFMIG_CRASH=4` every fourth; a sample is tried otherwise. `DIFFMIG_CRASH_SEED` repeats a sample,
//! `DIFFMIG_CRASH_POINT` one point by the name under which it was reported.

use super::report::{Extent, Finding, conclude, extent, say, seed};
use super::scenario::EXIT_CODE;
use super::stand::{Day, Lane, Ran, Stand, wait};
use crate::support::invariants::Violation;
use crate::support::proxy::{Moment, Proxy, Rule, Seen};
use diffmig::domain::connection::Side;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// Points of a sample, per day.
const SAMPLE: usize = 10;
/// After every so many accidents, and after all of a sample, one more run must write nothing. An odd number,
/// so that every second or fourth point does not always miss it.
const RUN_AGAIN: usize = 15;
/// How often a long run says how far it is.
const PROGRESS: usize = 50;
/// Accidents that happen side by side.
const LANES: usize = 2;

/// One accident.
#[derive(Debug, Clone)]
struct Point {
    number: usize,
    name: String,
    side: Side,
    rule: Rule,
    /// Whether the process is killed as soon as the rule has fired.
    kill: bool,
}

impl Point {
    fn proxy<'a>(&self, lane: &'a Lane<'_>) -> &'a Proxy {
        match self.side {
            Side::Source => &lane.source_proxy,
            Side::Target => &lane.target_proxy,
        }
    }
}

/// How many messages all connections begin with alike: start-up and settings.
fn opening_length(trace: &[Seen]) -> usize {
    let said = |message: usize| {
        let those = trace.iter().filter(move |it| it.message == message);
        those.map(|it| (it.tag, it.statement.as_str()))
    };
    let connections = said(1).count();
    let is_alike = |message: &usize| {
        let first = said(*message).next();
        said(*message).count() == connections && said(*message).all(|it| Some(it) == first)
    };
    (1..).take_while(is_alike).count()
}

/// Makes the points of one side from what an undisturbed run has sent.
fn points_of(side: Side, trace: &[Seen]) -> Vec<Point> {
    let mut points = Vec::new();
    let mut commits = 0;
    let mut before = BTreeMap::new();
    let opening = opening_length(trace);
    for seen in trace {
        let (connection, message) = (seen.connection, seen.message);
        let previous: Option<&Seen> = before.insert(connection, seen);
        // To whoever opens a connection all of this is one failure: it does not come up.
        if connection > 1 && (2..=opening).contains(&message) {
            continue;
        }
        let mut moments = Vec::new();
        // What was sent but not carried out leaves nothing behind, so between Parse and its answer, and
        // between Bind and Execute, a cut is the same as before both.
        if previous.is_none_or(|it| it.is_answered || matches!(it.tag, 'E' | 'd')) {
            moments.push((Moment::Before, "before"));
        }
        // After a message that nobody answers comes the same silence as before the next one.
        if seen.is_answered {
            moments.push((Moment::After, "after"));
        }
        for (moment, word) in moments {
            points.push(Point {
                number: points.len(),
                name: format!(
                    "{}:{connection}:{message}:{word} ({} {})",
                    side.word(),
                    seen.tag,
                    seen.statement
                ),
                side,
                rule: Rule::CutAt {
                    connection,
                    message,
                    moment,
                },
                kill: false,
            });
        }
        if seen.is_commit {
            commits += 1;
            for kill in [false, true] {
                let word = if kill { "lost-and-killed" } else { "lost" };
                points.push(Point {
                    number: points.len(),
                    name: format!("{}:commit:{commits}:{word}", side.word()),
                    side,
                    rule: Rule::DropReplyOf { commit: commits },
                    kill,
                });
            }
        }
    }
    points
}

/// Runs undisturbed and returns every point at which something could have happened.
async fn all_points(lane: &mut Lane<'_>) -> Vec<Point> {
    lane.reset().await;
    let ran = lane.run().await;
    assert_eq!(ran.code, Some(EXIT_CODE), "{ran:?}");
    let mut points = points_of(Side::Source, &lane.source_proxy.trace());
    points.extend(points_of(Side::Target, &lane.target_proxy.trace()));
    let found = lane.check(EXIT_CODE).await;
    assert!(found.is_empty(), "{found:?}");
    points
}

fn chosen(points: Vec<Point>) -> Vec<Point> {
    if let Ok(name) = std::env::var("DIFFMIG_CRASH_POINT") {
        let named = |point: &Point| point.name.split(' ').next() == Some(name.as_str());
        return points.into_iter().filter(named).collect();
    }
    let step = match extent() {
        Extent::OneOf(1) => return points,
        Extent::OneOf(step) => step,
        Extent::Sample => points.len() / SAMPLE,
    };
    let seed = seed("DIFFMIG_CRASH_SEED");
    say(&format!("DIFFMIG_CRASH_SEED={seed}"));
    let first = usize::try_from(seed % u64::try_from(step).unwrap()).unwrap();
    points.into_iter().skip(first).step_by(step).collect()
}

fn wrong(ran: &Ran) -> Option<Violation> {
    let is_fine =
        !ran.hung && !ran.said.contains("panicked") && matches!(ran.code, Some(EXIT_CODE | 10));
    (!is_fine).then(|| Violation {
        invariant: "exit",
        what: format!("{ran:?}"),
    })
}

/// Lets one accident happen; tells whether it did, and what was wrong after.
async fn suffer(lane: &mut Lane<'_>, point: &Point) -> (bool, Vec<Violation>) {
    lane.reset().await;
    point.proxy(lane).arm(point.rule);
    let mut child = lane.spawn();
    let mut found = Vec::new();
    let first = if point.kill {
        tokio::select! {
            () = point.proxy(lane).fired() => child.start_kill().unwrap(),
            _ = child.wait() => {}
        }
        wait(child).await
    } else {
        let ran = wait(child).await;
        found.extend(wrong(&ran));
        ran
    };
    let fired = point.proxy(lane).has_fired();
    lane.disarm();
    if first.code != Some(EXIT_CODE) {
        let second = lane.run().await;
        if second.code != Some(EXIT_CODE) {
            found.push(Violation {
                invariant: "exit",
                what: format!("the same command again ended otherwise: {second:?}"),
            });
        }
    }
    found.extend(lane.check_rows(EXIT_CODE).await);
    if extent() == Extent::Sample || point.number.is_multiple_of(RUN_AGAIN) {
        found.extend(lane.check_run_again(EXIT_CODE).await);
    }
    (fired, found)
}

async fn enumerate(day: Day) {
    let stand = Stand::start().await;
    let mut lanes = Vec::new();
    for name in ["a", "b"].iter().take(LANES) {
        lanes.push(stand.lane(name, day).await);
    }
    let points = all_points(&mut lanes[0]).await;
    let total = points.len();
    let queue = Mutex::new(VecDeque::from(chosen(points)));
    let took = std::time::Instant::now();
    let work = lanes.iter_mut().map(async |lane| {
        let (mut fired, mut findings) = (0, Vec::new());
        loop {
            let Some(point) = queue.lock().unwrap().pop_front() else {
                return (fired, findings);
            };
            let (has_fired, found) = suffer(lane, &point).await;
            fired += usize::from(has_fired);
            if fired.is_multiple_of(PROGRESS) {
                say(&format!("{day:?}: {fired} in this lane"));
            }
            for violation in &found {
                say(&format!("{day:?} {}: {violation}", point.name));
            }
            findings.extend(found.into_iter().map(|violation| Finding {
                place: format!("{day:?} {}", point.name),
                violation,
            }));
        }
    });
    let done = futures::future::join_all(work).await;
    let fired = done.iter().map(|(fired, _)| fired).sum();
    let findings: Vec<Finding> = done.into_iter().flat_map(|(_, found)| found).collect();
    say(&format!(
        "{day:?}: {fired} of {total} points in {:?}",
        took.elapsed()
    ));
    assert!(fired > 0, "no accident happened");
    conclude("points", fired, &findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_survives_a_cut_at_any_message() {
    enumerate(Day::First).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_day_survives_a_cut_at_any_message() {
    enumerate(Day::Second).await;
}
