//! Words in, words out: reads the command line, runs one verb and says how it ended.

mod adopt;
mod analyze;
mod args;
mod completions;
mod control;
pub mod defect;
mod demo;
mod detect;
mod doctor;
mod explain;
mod failure;
mod front;
mod grants;
mod help;
mod init;
mod logs;
mod man;
mod migrate;
mod output;
mod progress;
mod quarantine;
mod schema;
mod screen;
mod serve;
mod signals;
mod status;
mod table;
mod verify;

use args::Globals;
use clap::{CommandFactory, Parser, Subcommand};
use failure::Ended;
use front::Front;
use output::Output;
use signals::Patience;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Migrates a legacy PostgreSQL database differentially into Supabase.
#[derive(Debug, Parser)]
#[command(name = "diffmig", version, max_term_width = 100)]
#[command(arg_required_else_help = true, subcommand_required = true)]
#[command(disable_help_subcommand = true, after_help = help::of_program())]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Analyze(analyze::AnalyzeArgs),
    Adopt(adopt::AdoptArgs),
    Detect(detect::DetectArgs),
    Migrate(migrate::MigrateArgs),
    Verify(verify::VerifyArgs),
    Explain(explain::ExplainArgs),
    Status(status::StatusArgs),
    Control(control::ControlArgs),
    Logs(logs::LogsArgs),
    Quarantine(quarantine::QuarantineArgs),
    Schema(schema::SchemaArgs),
    Grants(grants::GrantsArgs),
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

type Running<'a> = Pin<Box<dyn Future<Output = Ended> + Send + 'a>>;

impl Verb {
    /// Tells what the first signal does.
    fn patience(&self) -> Patience {
        match self {
            Verb::Migrate(args) if !args.dry_run => Patience::BatchFirst,
            Verb::Status(args) if args.watch => Patience::Watching,
            Verb::Logs(args) if args.follow => Patience::Watching,
            Verb::Serve(_) => Patience::Serving,
            _ => Patience::AtOnce,
        }
    }

    /// Says what a failure leaves behind when nothing more precise is known.
    fn state(&self) -> &'static str {
        match self {
            Verb::Migrate(args) if !args.dry_run => {
                "every finished batch is committed, the open one was rolled back"
            }
            Verb::Adopt(args) if !args.dry_run => {
                "every finished batch is committed; no row of a target table was changed"
            }
            Verb::Serve(_) => "every finished batch of a session is committed",
            Verb::Demo(_) => "the throw-away servers were removed",
            _ => "nothing was changed",
        }
    }

    fn run<'a>(&'a self, front: &'a Front) -> Running<'a> {
        match self {
            Verb::Init(args) => Box::pin(init::run(front, args)),
            Verb::Doctor(args) => Box::pin(doctor::run(front, args)),
            Verb::Analyze(args) => Box::pin(analyze::run(front, args)),
            Verb::Adopt(args) => Box::pin(adopt::run(front, args)),
            Verb::Detect(args) => Box::pin(detect::run(front, args)),
            Verb::Migrate(args) => Box::pin(migrate::run(front, args)),
            Verb::Verify(args) => Box::pin(verify::run(front, args)),
            Verb::Explain(args) => Box::pin(explain::run(front, args)),
            Verb::Status(args) => Box::pin(status::run(front, args)),
            Verb::Control(args) => Box::pin(control::run(front, args)),
            Verb::Logs(args) => Box::pin(logs::run(front, args)),
            Verb::Quarantine(args) => Box::pin(quarantine::run(front, args)),
            Verb::Schema(args) => Box::pin(schema::run(front, args)),
            Verb::Grants(args) => Box::pin(grants::run(front, args)),
            Verb::Serve(args) => Box::pin(serve::run(front, args)),
            Verb::Demo(args) => Box::pin(demo::run(front, args)),
            Verb::Completions(args) => Box::pin(completions::run(front, args)),
            Verb::Man(args) => Box::pin(man::run(front, args)),
        }
    }
}

/// Returns the description of the whole command line, for completions and manual pages.
fn command() -> clap::Command {
    Cli::command()
}

/// The stack of a thread; as much as the main thread of a process usually has.
const STACK: usize = 8 * 1024 * 1024;

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    defect::watch();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::refuse(&error),
    };
    let output = Output::new(&cli.globals);
    output::start_logging(&cli.globals);
    let threads = std::thread::available_parallelism().map_or(2, |it| it.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_stack_size(STACK)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failure::conclude(&output, Err(failure::no_runtime(&error))),
    };
    let run = Arc::new((Front::new(cli.globals, output), cli.verb));
    let (front, verb) = &*run;
    let ended = defect::contain(|| {
        // A worker that waits for the network wakes its own tasks more cheaply than this thread.
        let command = runtime.spawn({
            let run = Arc::clone(&run);
            async move {
                let (front, verb) = &*run;
                signals::guard(front, verb.patience(), verb.run(front)).await
            }
        });
        match runtime.block_on(command) {
            Ok(ended) => ended,
            Err(error) => resume_unwind(error.into_panic()),
        }
    });
    let ended = ended.unwrap_or_else(|error| Err(error.into()));
    // What still runs belongs to a command that was dropped; the servers roll its work back.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let ended = ended.map_err(|stop| stop.state(verb.state()));
    failure::conclude(&front.output, ended)
}
