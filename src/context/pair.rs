//! Both databases before there is a mapping.

use super::{Connection, Server, refuse_same_database};
use crate::domain::connection::ConnectionSpec;
use crate::error::Result;

/// A connection to either database.
pub struct Pair {
    /// The legacy database.
    pub source: Connection,
    /// The Supabase database.
    pub target: Connection,
}

impl Pair {
    /// Connects to both databases; `schemas` are what unqualified names mean in source and target.
    ///
    /// # Errors
    /// No connection, a pooler in transaction mode, or the same database twice (exit 14).
    pub async fn open(
        specs: (ConnectionSpec, ConnectionSpec),
        schemas: (&str, &str),
    ) -> Result<Pair> {
        let source = Server::new(specs.0, schemas.0);
        let target = Server::new(specs.1, schemas.1);
        let (mut reader, mut writer) = tokio::try_join!(source.open(), target.open())?;
        tokio::try_join!(
            source.refuse_pooler(&mut reader),
            target.refuse_pooler(&mut writer)
        )?;
        refuse_same_database(&mut reader, &mut writer).await?;
        Ok(Pair {
            source: reader,
            target: writer,
        })
    }
}
