//! What every verb has at hand: flags, output, and the ways to the databases.

use super::args::Globals;
use super::output::Output;
use super::progress::Progress;
use crate::config::environment::Parts;
use crate::config::{Settings, SettingsInput, environment, load};
use crate::context::{Context, Interrupt, Server, Survey};
use crate::domain::connection::ConnectionSpec;
use crate::domain::mapping::Mapping;
use crate::error::Result;

/// The front end of one process.
#[derive(Debug)]
pub struct Front {
    /// Flags of every command.
    pub globals: Globals,
    /// Where words go.
    pub output: Output,
    /// How an end is asked for.
    pub interrupt: Interrupt,
}

impl Front {
    /// Begins with nobody asking for an end.
    pub fn new(globals: Globals, output: Output) -> Front {
        Front {
            globals,
            output,
            interrupt: Interrupt::default(),
        }
    }

    /// Returns what the command line says about settings.
    pub fn input(&self) -> SettingsInput {
        SettingsInput {
            config: self.globals.config.clone(),
            source_url: self.globals.source_url.clone(),
            target_url: self.globals.target_url.clone(),
            insecure: self.globals.insecure,
        }
    }

    /// Connects to both databases and shows progress from now on.
    ///
    /// # Errors
    /// Settings, connections or the mapping.
    pub async fn open(&self) -> Result<(Context, Progress)> {
        self.open_with(load(&self.input())?).await
    }

    /// Looks at both databases, for commands that want to know what of the mapping does not fit.
    ///
    /// # Errors
    /// Settings or connections.
    pub async fn survey(&self) -> Result<Survey> {
        let taken = Box::pin(Survey::take(load(&self.input())?)).await;
        taken.map_err(|error| error.state("nothing was started"))
    }

    /// As [`Front::open`], with settings from elsewhere.
    ///
    /// # Errors
    /// Connections or the mapping.
    pub async fn open_with(&self, settings: Settings) -> Result<(Context, Progress)> {
        let progress = Progress::start(&self.output);
        let opening = Context::open(settings, progress.events(), self.interrupt.clone());
        let context = Box::pin(opening).await?;
        Ok((context, progress))
    }

    /// Finds both databases without a mapping.
    ///
    /// # Errors
    /// A missing or malformed URL.
    pub fn pair(&self) -> Result<(ConnectionSpec, ConnectionSpec)> {
        environment::load_pair(&self.input())
    }

    /// Reads the settings one by one, for whoever goes on when one of them is wrong.
    ///
    /// # Errors
    /// A variable that would change both connections.
    pub fn parts(&self) -> Result<Parts> {
        environment::load_parts(&self.input())
    }

    /// Reads the mapping alone, for commands that connect to nothing.
    ///
    /// # Errors
    /// The file is missing or has problems.
    pub fn mapping(&self) -> Result<Mapping> {
        environment::load_mapping(&self.globals.config)
    }

    /// Finds the target alone, for commands that read only the control tables.
    ///
    /// # Errors
    /// A missing or malformed URL.
    pub fn target(&self) -> Result<Server> {
        Ok(Server::new(environment::load_target(&self.input())?, ""))
    }
}
