//! Verification: the target, row by row, against what the mapping makes of the source.

pub mod certificate;
mod entity;
mod merge;
mod record;

pub use record::{LastVerification, last_verification};

use crate::context::{Context, Selection};
use crate::db::control::schema::{self, Installed};
use crate::db::source::Snapshot;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::verification::{
    CERTIFICATE_FORMAT, Certificate, EntityAccount, Finding, VerifiedSide,
};
use crate::error::{Error, Kind, Result};
use crate::service::detect::watched;
use crate::service::give_way::{Patience, Watch};
use crate::service::outage::Rider;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tokio::sync::Mutex;

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// Which entities.
    pub selection: Selection,
    /// A share of the keys in percent; `None` for all.
    pub sample: Option<f64>,
    /// Entities compared at the same time.
    pub max_concurrent: usize,
}

/// The account of one entity with the rows that differ, in key order; at most
/// [`KEPT_FINDINGS`](crate::domain::verification::KEPT_FINDINGS) of them.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityVerification {
    /// The account.
    #[serde(flatten)]
    pub account: EntityAccount,
    /// The rows that differ.
    pub findings: Vec<Finding>,
}

/// The result.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The source's clock at its snapshot.
    pub snapshot_at: DateTime<Utc>,
    /// The oldest transaction that ran on the source then.
    pub horizon: i64,
    /// The share of the keys.
    pub sample: Option<f64>,
    /// The entities in mapping order.
    pub entities: Vec<EntityVerification>,
}

impl Verification {
    /// Tells whether every row was proved.
    pub fn is_proved(&self) -> bool {
        self.entities.iter().all(|it| it.account.is_proved())
    }

    /// Returns how many rows differ.
    pub fn differences(&self) -> u64 {
        let entities = self.entities.iter();
        entities.map(|it| it.account.differences()).sum()
    }

    /// Makes the certificate of it.
    pub fn certificate(&self, context: &Context) -> Certificate {
        let catalogs = &context.catalogs;
        Certificate {
            format: CERTIFICATE_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot_at: self.snapshot_at,
            horizon: self.horizon,
            mapping_digest: context.mapping.digest.clone(),
            source: VerifiedSide {
                identity: catalogs.0.identity.clone(),
                server_version: catalogs.0.server_version,
            },
            target: VerifiedSide {
                identity: catalogs.1.identity.clone(),
                server_version: catalogs.1.server_version,
            },
            sample: self.sample,
            proved: self.is_proved(),
            entities: self.entities.iter().map(|it| it.account.clone()).collect(),
            digest: String::new(),
        }
        .sealed()
    }
}

/// Compares source and target; nothing is changed on either.
///
/// # Errors
/// A side cannot be read whole, or an account does not add up: then nothing is said about any entity.
pub async fn verify(context: &Context, request: &VerifyRequest) -> Result<Verification> {
    let patience = Patience::default();
    let rider = Rider {
        context,
        lease: None,
        patience: &patience,
    };
    let verified = rider
        .ride_out(|| verify_once(context, request, &patience))
        .await?;
    record::record(context, &verified).await;
    Ok(verified)
}

async fn verify_once(
    context: &Context,
    request: &VerifyRequest,
    patience: &Patience,
) -> Result<Verification> {
    let entities = context.select(&request.selection)?;
    let ledgers = ledgers(context).await?;
    let snapshot = Snapshot::take(&context.source, &watched(&entities)).await?;
    let watch = Watch::start(context, snapshot.holders(), patience);
    let pass = entity::Pass {
        context,
        snapshot: &snapshot,
        ledgers: &ledgers,
        sample: request.sample,
    };
    let queue = Mutex::new(VecDeque::from(entities.clone()));
    let workers = (0..request.max_concurrent.max(1)).map(|_| entity::work(&pass, &queue));
    let done: Vec<Vec<EntityVerification>> = futures::future::try_join_all(workers).await?;
    let mut done: Vec<EntityVerification> = done.into_iter().flatten().collect();
    done.sort_by_key(|it| position(context, &it.account.entity));
    let clock = snapshot.clock().clone();
    drop(watch);
    snapshot.release().await?;
    look_again(context, &entities, &ledgers, patience, &mut done).await?;
    Ok(Verification {
        snapshot_at: clock.now,
        horizon: clock.horizon,
        sample: request.sample,
        entities: done,
    })
}

fn position(context: &Context, entity: &str) -> Option<usize> {
    context.entities.iter().position(|it| it.name == entity)
}

/// Reads rows that differed once more on both sides: source and target have no common snapshot, so a row that was
/// changed and migrated meanwhile looked like a difference.
async fn look_again(
    context: &Context,
    entities: &[&ResolvedEntity],
    ledgers: &[String],
    patience: &Patience,
    done: &mut [EntityVerification],
) -> Result<()> {
    if done.iter().all(|it| it.findings.is_empty()) {
        return Ok(());
    }
    let snapshot = Snapshot::take(&context.source, &watched(entities)).await?;
    let _watch = Watch::start(context, snapshot.holders(), patience);
    let pass = entity::Pass {
        context,
        snapshot: &snapshot,
        ledgers,
        sample: None,
    };
    for it in done.iter_mut().filter(|it| !it.findings.is_empty()) {
        entity::look_again(&pass, it).await?;
    }
    snapshot.release().await
}

async fn ledgers(context: &Context) -> Result<Vec<String>> {
    let mut control = context.target.open().await?;
    match schema::look(&mut control).await? {
        Installed::Present { .. } => schema::ledgers(&mut control).await,
        Installed::Absent => Err(Error::new(
            Kind::ControlState,
            "nothing was migrated into this target yet",
        )
        .cause("it has no schema diffmig")
        .state("nothing was changed")
        .next("run diffmig migrate first")),
    }
}
