//! After the rows: sequences of the target go on behind them.

use crate::context::Context;
use crate::db::control::sequence::advance;
use crate::db::server::Connection;
use crate::domain::event::Event;
use crate::domain::resolve::ResolvedEntity;
use crate::error::Result;
use serde_json::json;

/// Moves every sequence that is behind the values of its column.
///
/// It is looked at in every session, since an earlier one may have ended right before this.
pub(crate) async fn advance_all(
    context: &Context,
    connection: &mut Connection,
    epoch: i64,
    entities: &[&ResolvedEntity],
) -> Result<()> {
    for entity in entities {
        for (sequence, value) in advance(connection, epoch, entity).await? {
            let message = format!("the sequence {sequence} was behind and stands at {value} now");
            context.emit(Event::info(
                "sequence",
                message,
                json!({ "entity": entity.name }),
            ));
        }
    }
    Ok(())
}
