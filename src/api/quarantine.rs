//! Rows that are set aside, with their reasons.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::input::{Asked, Checked, short, within};
use crate::service::quarantine::{
    QuarantineFilter, QuarantineStatus, ReasonTotal, SetAside, of_word, page,
};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// How rows stand.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    /// `open`, `held` and `conflict`: what somebody should look at.
    #[default]
    Unsettled,
    /// All, history included.
    Any,
    /// Cannot be applied.
    Open,
    /// Waits for a parent.
    Held,
    /// Both sides changed.
    Conflict,
    /// Accepted as it is.
    Waived,
    /// Set aside once, and no longer.
    Resolved,
}

impl Standing {
    fn statuses(self) -> &'static [QuarantineStatus] {
        let word = match self {
            Standing::Unsettled => "unsettled",
            Standing::Any => "any",
            Standing::Open => "open",
            Standing::Held => "held",
            Standing::Conflict => "conflict",
            Standing::Waived => "waived",
            Standing::Resolved => "resolved",
        };
        of_word(word).unwrap_or_default()
    }
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// Only rows of this entity.
    #[param(min_length = 1, max_length = 200, nullable = false)]
    entity: Option<String>,
    /// Only rows with this text in their reason, or with this SQLSTATE.
    #[param(min_length = 1, max_length = 200, nullable = false)]
    reason: Option<String>,
    /// Only rows that stand so.
    #[param(inline)]
    status: Standing,
    /// How many rows at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: i64,
    /// `nextCursor` of the page before.
    #[param(min_length = 1, max_length = 4000, nullable = false)]
    cursor: Option<String>,
}

impl Default for QuarantineQuery {
    fn default() -> Self {
        QuarantineQuery {
            entity: None,
            reason: None,
            status: Standing::Unsettled,
            limit: 100,
            cursor: None,
        }
    }
}

impl QuarantineQuery {
    /// Reads the cursor: entity and key of the last row that was shown.
    fn after(&self) -> Result<Option<(String, Value)>, Refusal> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let after: Option<(String, Value)> = serde_json::from_str(cursor).ok();
        // The database keeps no such character; a key that was shown has none.
        let after = after.filter(|(_, key)| key.is_array() && !cursor.contains("\\u0000"));
        let wrong = || Refusal::field("cursor", "must be the nextCursor of a page");
        after.map(Some).ok_or_else(wrong)
    }
}

impl Checked for QuarantineQuery {
    fn check(&self) -> Result<(), Refusal> {
        for (name, text) in [("entity", &self.entity), ("reason", &self.reason)] {
            if let Some(text) = text {
                short(name, text, 200)?;
            }
        }
        if let Some(cursor) = &self.cursor {
            short("cursor", cursor, 4_000)?;
        }
        self.after()?;
        within("limit", self.limit, 1, 1_000)
    }
}

/// A page of rows that are set aside, by entity and key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct QuarantinePage {
    /// The rows; of their values only the keys.
    rows: Vec<SetAside>,
    /// All rows that are meant, counted by reason.
    totals: Vec<ReasonTotal>,
    /// Where the next page begins; `null` on the last one.
    next_cursor: Option<String>,
}

/// List rows that are set aside
#[utoipa::path(get, path = "/api/migration/quarantine", tag = "rows", params(QuarantineQuery),
    responses((status = 200, description = "A page of rows", body = QuarantinePage)))]
pub(super) async fn quarantine(
    State(door): State<Arc<Door>>,
    Asked(query): Asked<QuarantineQuery>,
) -> Answer<Json<QuarantinePage>> {
    let _place = door.question().await?;
    let after = query.after()?;
    let filter = QuarantineFilter {
        entity: query.entity.clone(),
        reason: query.reason.clone(),
    };
    let statuses = query.status.statuses();
    let (mut rows, totals) = page(
        &door.target,
        &filter,
        statuses,
        after.as_ref(),
        query.limit + 1,
    )
    .await?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next_cursor = last.map(|it| json!([it.entity, it.key]).to_string());
    Ok(Json(QuarantinePage {
        rows,
        totals,
        next_cursor,
    }))
}
