//! `diffmig grants`.

use super::args::Format;
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, words};
use crate::domain::connection::Side;
use crate::domain::identifier::{printable, quote_identifier};
use crate::error::{Error, Kind};
use crate::service::grants::{RoleGrants, role_grants};
use clap::Args;
use serde::Serialize;

const EXAMPLES: &[&str] = &[
    "diffmig grants",
    "diffmig grants --source-role diffmig_reader | psql \"$OWNER_OF_THE_SOURCE\"",
    "diffmig grants --target-role diffmig_writer | psql \"$OWNER_OF_THE_TARGET\"",
];

/// The roles that are printed when none is named.
const SOURCE_ROLE: &str = "diffmig_reader";
const TARGET_ROLE: &str = "diffmig_writer";

/// Print the GRANT statements that the mapping needs; connects to nothing
///
/// Reads the mapping file alone. Without a role, both scripts are printed, for diffmig_reader and
/// diffmig_writer; with one role only its script, which can be piped to psql. Run each script in
/// its own database, as the owner of the tables.
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, &[0, 2, 15]))]
pub struct GrantsArgs {
    /// Print what this role needs in the source
    #[arg(long, value_name = "NAME")]
    source_role: Option<String>,

    /// Print what this role needs in the target
    #[arg(long, value_name = "NAME")]
    target_role: Option<String>,
}

#[derive(Debug, Serialize)]
struct GrantsReport {
    roles: Vec<RoleGrants>,
}

/// Runs the command.
pub async fn run(front: &Front, args: &GrantsArgs) -> Ended {
    let mapping = front.mapping()?;
    let mut wanted = Vec::new();
    if args.source_role.is_none() && args.target_role.is_none() {
        wanted = vec![(Side::Source, SOURCE_ROLE), (Side::Target, TARGET_ROLE)];
    }
    wanted.extend(args.source_role.as_deref().map(|it| (Side::Source, it)));
    wanted.extend(args.target_role.as_deref().map(|it| (Side::Target, it)));
    for (side, role) in &wanted {
        check(*side, role)?;
    }
    let grants: Vec<(Side, RoleGrants)> = wanted
        .into_iter()
        .map(|(side, role)| (side, role_grants(side, &mapping, role)))
        .collect();
    match front.output.format {
        Format::Table => {
            let scripts: Vec<String> = grants.iter().map(|(side, it)| script(*side, it)).collect();
            front.output.data(&scripts.join("\n"))?;
        }
        Format::Json => {
            let roles = grants.into_iter().map(|(_, it)| it).collect();
            front.output.document("grants", &GrantsReport { roles })?;
        }
        Format::Csv => front.output.sheet(&sheet(&grants))?,
    }
    Ok(Ending::Done)
}

/// Refuses what cannot be a role, before it is printed as one.
fn check(side: Side, role: &str) -> Result<(), Error> {
    if !role.is_empty() && role.len() < 64 && !role.contains('\0') {
        return Ok(());
    }
    let what = format!("--{}-role cannot be the name of a role", side.word());
    Err(Error::new(Kind::Usage, what)
        .cause("a name has 1 to 63 bytes")
        .state("nothing was started"))
}

/// The statements with comments for whoever runs them. A comment ends with its line, so names in it are escaped.
fn script(side: Side, grants: &RoleGrants) -> String {
    let role = printable(&quote_identifier(&grants.role));
    let (database, rights, last) = match side {
        Side::Source => (
            "legacy database",
            "diffmig only reads here: no right to write is given or needed.",
            String::new(),
        ),
        Side::Target => (
            "target database",
            "The right to create is for the schema diffmig, which the first run makes.",
            format!(
                "-- After the first run it may be taken back:\n\
                 -- revoke create on database ... from {role};\n"
            ),
        ),
    };
    format!(
        "-- Run this in the {database}, as the owner of the tables (Supabase: postgres).\n\
         -- {rights}\n\
         -- The role itself:\n\
         -- create role {role} login password '...';\n\
         {}\n\
         -- Where the tables have row security, the role must bypass it; the script warns when it does not:\n\
         -- alter role {role} bypassrls;\n\
         {last}",
        grants.statements.join("\n")
    )
}

fn sheet(grants: &[(Side, RoleGrants)]) -> Sheet {
    let mut sheet = Sheet::new(vec![
        words("side", "side"),
        words("role", "role"),
        words("statement", "statement"),
    ]);
    for (side, grants) in grants {
        for statement in &grants.statements {
            sheet.push(vec![
                Cell::text(side.word()),
                Cell::text(&grants.role),
                Cell::text(statement),
            ]);
        }
    }
    sheet
}
