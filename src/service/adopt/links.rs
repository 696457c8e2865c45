//! Which target row belongs to which source key, judged in temporary tables.

use super::{Pass, ties};
use crate::db::TupleStream;
use crate::db::control::batch::build;
use crate::db::copy::copy_in;
use crate::db::server::Connection;
use crate::db::source;
use crate::db::statement::Statement;
use crate::db::statement::adopt::AdoptStatements;
use crate::db::statement::source::SourceStatements;
use crate::domain::mapping::IdStrategy;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::tuple::{HEADER, TRAILER, Tuple, put_field};
use crate::error::{Error, Kind, Result};

/// About how many bytes of keys are sent at a time.
const CHUNK: usize = 1024 * 1024;

/// Gathers the claims of all entities in scope, then judges them, parents first.
pub(super) async fn gather(
    pass: &Pass<'_>,
    source: &mut Connection,
    view: &mut Connection,
) -> Result<()> {
    let gathered = pass.gathered();
    let tied = || pass.scope.iter().filter(|it| !ties(it).is_empty());
    let all = &pass.context.entities;
    let of = |entity| AdoptStatements::new(entity, all, &gathered, &pass.ledgers);
    for entity in tied() {
        let statements = of(entity);
        stage_keys(entity, &statements, source, view).await?;
        for statement in [statements.claims(), statements.create_links()] {
            build(view, "gathering claims on target rows", &statement).await?;
        }
    }
    for entity in tied() {
        let statements = of(entity);
        let judging: Vec<Statement> = [
            Some(statements.owned()),
            Some(statements.links()),
            statements.match_rows(),
            Some(statements.known()),
        ]
        .into_iter()
        .flatten()
        .collect();
        for statement in judging {
            build(view, "judging claims on target rows", &statement).await?;
        }
    }
    Ok(())
}

/// Copies the source's keys to where target rows are looked for, with the values of `match`.
async fn stage_keys(
    entity: &ResolvedEntity,
    statements: &AdoptStatements<'_>,
    source: &mut Connection,
    view: &mut Connection,
) -> Result<()> {
    let is_matched = !entity.adoption.natural_key.is_empty();
    if entity.id_strategy != IdStrategy::Same && !is_matched {
        return Ok(());
    }
    let of_source = SourceStatements::new(entity);
    let (rows, fault) = match is_matched {
        true => {
            let fault = of_source.key_fields + of_source.compared_fields;
            (of_source.all(), Some(fault))
        }
        false => (of_source.key_list(), None),
    };
    let places = statements.needed_places();
    build(view, "staging keys", &statements.create_keys()).await?;
    let copy = statements.copy_keys();
    let mut stream: TupleStream<'_> = source::rows(source, &rows, &entity.name).await?;
    let mut buffer = HEADER.to_vec();
    while let Some(tuple) = stream.next().await? {
        push(&mut buffer, tuple, &places, fault)?;
        if buffer.len() >= CHUNK {
            send(view, &copy, &mut buffer).await?;
        }
    }
    send(view, &copy, &mut buffer).await
}

/// Appends the needed fields of a row that has no fault.
fn push(
    buffer: &mut Vec<u8>,
    tuple: Tuple<'_>,
    places: &[usize],
    fault: Option<usize>,
) -> Result<()> {
    let unreadable = |_| Error::new(Kind::Unexpected, "a row of the source cannot be read");
    let fields = tuple.fields().collect::<std::result::Result<Vec<_>, _>>();
    let fields = fields.map_err(unreadable)?;
    let field = |place: usize| fields.get(place).copied().flatten();
    if fault.is_some_and(|place| field(place).is_some()) {
        return Ok(());
    }
    let count = i16::try_from(places.len()).unwrap_or(i16::MAX);
    buffer.extend_from_slice(&count.to_be_bytes());
    for place in places {
        put_field(buffer, field(*place));
    }
    Ok(())
}

async fn send(view: &mut Connection, copy: &Statement, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(TRAILER);
    copy_in(view, copy, buffer).await?;
    buffer.truncate(HEADER.len());
    Ok(())
}
