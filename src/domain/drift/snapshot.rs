//! What one side looked like: the tables that the mapping names, and the names of those beside them.

use crate::domain::catalog::{Catalog, DatabaseIdentity, Table};
use crate::domain::identifier::QualifiedName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A table that the mapping does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherTable {
    /// Its name.
    pub name: QualifiedName,
    /// Its oid.
    pub oid: i64,
}

/// The structure of one side; no rows and no counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSnapshot {
    /// The database; oids and column numbers mean something only within the same one.
    pub identity: DatabaseIdentity,
    /// The tables that the mapping names.
    pub tables: Vec<Table>,
    /// The other tables of the same schemas.
    pub others: Vec<OtherTable>,
}

impl CatalogSnapshot {
    /// Takes the structure out of a catalog; `named` are the tables that the mapping names.
    pub fn of(catalog: &Catalog, named: &BTreeSet<QualifiedName>) -> CatalogSnapshot {
        let (mut tables, mut others) = (Vec::new(), Vec::new());
        for (name, table) in &catalog.tables {
            if named.contains(name) {
                tables.push(Table {
                    estimated_rows: 0,
                    referrers: Vec::new(),
                    ..table.clone()
                });
            } else if !table.is_partition {
                others.push(OtherTable {
                    name: name.clone(),
                    oid: table.oid,
                });
            }
        }
        CatalogSnapshot {
            identity: catalog.identity.clone(),
            tables,
            others,
        }
    }

    /// Returns the digest of the structure: the first half of blake3 over its JSON, hexadecimal.
    pub fn digest(&self) -> String {
        // Writing names and numbers into memory cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        blake3::hash(&text).to_hex()[..32].to_owned()
    }

    /// Makes a catalog of it, for a mapping of that time.
    pub fn to_catalog(&self, server_version: i32) -> Catalog {
        let tables = self.tables.iter().map(|it| (it.name.clone(), it.clone()));
        Catalog {
            identity: self.identity.clone(),
            server_version,
            tables: tables.collect(),
        }
    }

    /// Finds a table that the mapping named.
    pub fn table(&self, name: &QualifiedName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }

    /// Tells whether a table was there, named by the mapping or not.
    pub fn knows(&self, name: &QualifiedName) -> bool {
        self.table(name).is_some() || self.others.iter().any(|it| it.name == *name)
    }

    /// Finds the name of a table by its oid.
    pub fn name_of(&self, oid: i64) -> Option<&QualifiedName> {
        let tables = self.tables.iter().map(|it| (it.oid, &it.name));
        let mut all = tables.chain(self.others.iter().map(|it| (it.oid, &it.name)));
        all.find_map(|(own, name)| (own == oid).then_some(name))
    }
}
