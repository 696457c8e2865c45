//! Facts of the core become bars on a terminal, lines elsewhere, and nothing when it should be quiet.

use super::output::Output;
use super::table::{count, rounded, seconds};
use crate::domain::event::{Event, Level, Progress as Step};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often a line says how far it is where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Warnings that are shown even when nobody asked for more: without them a wait or a change of course
/// would look like a fault.
const CHANGES_THE_COURSE: &[&str] = &["lease", "mapping", "reconnect", "schema"];

/// The display of a running command.
#[derive(Debug)]
pub struct Progress {
    events: UnboundedSender<Event>,
    stop: oneshot::Sender<()>,
    display: JoinHandle<()>,
}

impl Progress {
    /// Begins to show whatever is sent.
    pub fn start(output: &Output) -> Progress {
        let (events, received) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let display = tokio::spawn(Display::new(output.clone()).run(received, stopped));
        Progress {
            events,
            stop,
            display,
        }
    }

    /// Returns the channel for facts.
    pub fn events(&self) -> UnboundedSender<Event> {
        self.events.clone()
    }

    /// Shows what was sent so far and takes the bars away.
    pub async fn finish(self) {
        drop(self.events);
        let _ = self.stop.send(());
        let _ = self.display.await;
    }
}

/// One entity in one phase.
#[derive(Debug)]
struct Work {
    step: Step,
    began: Instant,
    bar: Option<ProgressBar>,
}

struct Display {
    output: Output,
    bars: Option<MultiProgress>,
    works: BTreeMap<String, Work>,
    phase: &'static str,
    phase_began: Instant,
}

fn style() -> ProgressStyle {
    let template =
        "{prefix:18} {msg:6} {bar:24} {human_pos}/{human_len} rows, {per_sec}, ETA {eta}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "per_sec",
            |state: &indicatif::ProgressState, to: &mut dyn std::fmt::Write| {
                let _ = write!(to, "{} rows/s", rounded(state.per_sec()));
            },
        )
}

impl Display {
    fn new(output: Output) -> Display {
        let target = || MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bars = (output.bars && !output.quiet).then(target);
        Display {
            output,
            bars,
            works: BTreeMap::new(),
            phase: "",
            phase_began: Instant::now(),
        }
    }

    async fn run(mut self, mut received: UnboundedReceiver<Event>, stopped: oneshot::Receiver<()>) {
        let mut tick =
            tokio::time::interval_at(tokio::time::Instant::now() + LINE_EVERY, LINE_EVERY);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                event = received.recv() => match event {
                    Some(event) => self.show(event),
                    None => break,
                },
                _ = tick.tick() => self.line(),
                _ = &mut stopped => {
                    while let Ok(event) = received.try_recv() {
                        self.show(event);
                    }
                    break;
                }
            }
        }
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn print(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => self.output.remark(line),
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Advanced(step) => self.advance(step),
            Event::Begun { .. } => {}
            Event::Logged {
                level,
                entity,
                operation,
                message,
                ..
            } => {
                let shown = match self.output.verbose {
                    0 => CHANGES_THE_COURSE.contains(&operation),
                    1 => level >= Level::Warn,
                    _ => true,
                };
                if shown {
                    let entity = entity.unwrap_or_default();
                    self.print(&format!(
                        "{:5}  {entity}  {operation}  {message}",
                        level.word()
                    ));
                }
            }
        }
    }

    fn advance(&mut self, step: Step) {
        if step.phase != self.phase {
            self.phase = step.phase;
            self.phase_began = Instant::now();
        }
        let known = self.works.get(&step.entity);
        if known.is_none_or(|work| work.step.phase != step.phase) {
            let work = Work {
                step: step.clone(),
                began: Instant::now(),
                bar: None,
            };
            if let Some(old) = self.works.insert(step.entity.clone(), work) {
                old.bar.iter().for_each(ProgressBar::finish_and_clear);
            }
        }
        let Some(work) = self.works.get_mut(&step.entity) else {
            return;
        };
        let just_finished = step.finished && !(work.step.finished && work.step == step);
        work.step = step;
        if let Some(bars) = &self.bars {
            if work.step.finished {
                work.bar
                    .take()
                    .iter()
                    .for_each(ProgressBar::finish_and_clear);
            } else {
                let step = &work.step;
                let bar = work.bar.get_or_insert_with(|| {
                    let bar = bars.add(ProgressBar::new(step.rows_total).with_style(style()));
                    bar.set_prefix(step.entity.clone());
                    bar.set_message(step.phase);
                    bar
                });
                bar.set_length(step.rows_total);
                bar.set_position(step.rows_done);
            }
        }
        if just_finished && self.output.verbose > 0 {
            let took = seconds(work.began.elapsed().as_secs_f64());
            let line = format!(
                "{} of {} finished: {} rows in {took}",
                work.step.phase,
                work.step.entity,
                count(work.step.rows_done)
            );
            self.print(&line);
        }
    }

    /// Says in one line how far the present phase is, where there are no bars.
    fn line(&self) {
        if self.bars.is_some() || self.output.quiet || self.works.is_empty() {
            return;
        }
        let now: Vec<&Work> = self
            .works
            .values()
            .filter(|work| work.step.phase == self.phase)
            .collect();
        let done: u64 = now.iter().map(|work| work.step.rows_done).sum();
        let total: u64 = now.iter().map(|work| work.step.rows_total).sum();
        let finished = now.iter().filter(|work| work.step.finished).count();
        let line = status_line(done, total, self.phase_began.elapsed());
        let at_work: Vec<&str> = now
            .iter()
            .filter(|work| !work.step.finished)
            .map(|work| work.step.entity.as_str())
            .collect();
        let at_work = match at_work.is_empty() {
            true => String::new(),
            false => format!(", at work: {}", at_work.join(", ")),
        };
        self.output.remark(&format!(
            "{}: {line}; {finished} entities finished{at_work}",
            self.phase
        ));
    }
}

/// Says how far it is, how fast, and how long it will take.
fn status_line(done: u64, total: u64, elapsed: Duration) -> String {
    let mut line = format!("{} of {} rows", count(done), count(total));
    if total > 0 {
        line.push_str(&format!(
            " ({} %)",
            u128::from(done) * 100 / u128::from(total)
        ));
    }
    let secs = elapsed.as_secs_f64();
    if done > 0 && secs > 0.0 {
        let rate = as_float(done) / secs;
        let eta = as_float(total.saturating_sub(done)) / rate;
        line.push_str(&format!(", {} rows/s", rounded(rate)));
        if total > done {
            line.push_str(&format!(", ETA {}", seconds(eta)));
        }
    }
    line
}

/// Turns a count into a number to divide; the last digits do not matter to people.
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_share_rate_and_eta() {
        assert_eq!(
            status_line(12_000, 48_000, Duration::from_secs(10)),
            "12,000 of 48,000 rows (25 %), 1,200 rows/s, ETA 30 s"
        );
        assert_eq!(status_line(0, 0, Duration::from_secs(5)), "0 of 0 rows");
    }
}
