//! `diffmig serve`.

use super::args::Format;
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::output::Output;
use crate::api::{DoorOptions, Opener, Tokens, listen};
use crate::config::load;
use crate::context::{Context, Server};
use crate::error::{Error, Kind, Result};
use clap::Args;
use serde::Serialize;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXAMPLES: &[&str] = &[
    "diffmig serve",
    "diffmig serve --listen 127.0.0.1:0 --token-file /run/secrets/diffmig-tokens",
    "diffmig serve --listen 10.0.0.5:8787 --behind-tls --allow-host migrate.example --token-file tokens",
];
const CODES: &[u8] = &[0, 1, 2, 15, 130];
/// The largest token file that is read, in bytes.
const MAX_TOKEN_FILE: u64 = 64 * 1024;

/// Serve the REST API and the dashboard; docs/rest-api.md describes them
///
/// On loopback nobody needs a token unless there is a token file; anybody with an account on this machine can then
/// start and stop migrations. Ends with 0 after the first signal: a session that runs in this process is paused at its
/// next batch boundary first. The second signal rolls its open batch back.
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct ServeArgs {
    /// Where to listen; port 0 takes any free port, and the address is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,

    /// Ask for a token of this file: lines of read:TOKEN or operator:TOKEN; only its owner may read it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Also answer under this host name, such as that of a proxy; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// A proxy with TLS stands in front: allow --listen on other addresses than loopback, with a token file only
    #[arg(long, requires = "token_file")]
    behind_tls: bool,

    /// Writes (POST) that are accepted within a minute
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    writes_per_minute: u32,
}

/// Where the server listens.
#[derive(Serialize)]
struct Ready {
    url: String,
    address: SocketAddr,
}

/// Runs the command.
pub async fn run(front: &Front, args: &ServeArgs) -> Ended {
    if !args.listen.ip().is_loopback() && !args.behind_tls {
        let what = format!("{} is not a loopback address", args.listen);
        return Err(Error::new(Kind::Usage, what)
            .cause("tokens and data would cross the network unprotected")
            .state("nothing was started")
            .next("put a proxy with TLS in front and say --behind-tls --token-file FILE, or listen on 127.0.0.1")
            .into());
    }
    let tokens = match &args.token_file {
        Some(path) => read_tokens(path)?,
        None => Tokens::default(),
    };
    let input = front.input();
    let settings = load(&input)?;
    let opener: Opener = Arc::new(move |events, interrupt| {
        let input = input.clone();
        Box::pin(async move { Context::open(load(&input)?, events, interrupt).await })
    });
    let options = DoorOptions {
        source: Server::new(settings.source, ""),
        target: Server::new(settings.target, ""),
        opener,
        interrupt: front.interrupt.clone(),
        tokens,
        allowed_hosts: args.allow_host.clone(),
        writes_per_minute: args.writes_per_minute,
    };
    let listening = listen(args.listen, options).await?;
    say_ready(&front.output, listening.address)?;
    listening.serve().await;
    front.output.remark("stopped");
    Ok(Ending::Done)
}

fn say_ready(output: &Output, address: SocketAddr) -> Result<(), super::failure::Stop> {
    let url = format!("http://{address}");
    match output.format {
        Format::Json => output.document_line("serve", &Ready { url, address }),
        _ => output.data(&format!("{url}\n")),
    }
}

fn read_tokens(path: &Path) -> Result<Tokens> {
    let refused = |cause: String| {
        let what = format!("the token file {} is not accepted", path.display());
        Error::new(Kind::Usage, what)
            .cause(cause)
            .state("nothing was started")
    };
    let metadata = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let cause = "others than its owner may read or change it".to_owned();
        return Err(refused(cause).next(format!("chmod 600 {}", path.display())));
    }
    if metadata.len() > MAX_TOKEN_FILE {
        return Err(refused(format!("it is larger than {MAX_TOKEN_FILE} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Tokens::parse(&text).map_err(|problem| {
        refused(problem).next("write lines like operator:TOKEN; openssl rand -hex 32 makes a token")
    })
}
