//! Generic references: a column that says of which table, and one with the key there.

use super::column::Work;
use super::entity::Head;
use super::shape::{Class, class};
use super::{Codes, ColumnDraft, Question, RuleDraft, code};
use crate::domain::catalog::Column;
use crate::domain::key::KeyType;

impl Work<'_> {
    /// Finds pairs of a type and a key, such as `target_type_id` and `target_id`.
    pub(super) fn fill_generic(&mut self) {
        for (at, column) in self.open() {
            if class(&column.column_type) != Class::Uuid {
                continue;
            }
            let wanted = self.head.target.shapes[at].core.concat();
            let Some((kind, id)) = self.pair_of(&wanted) else {
                continue;
            };
            let key_type = KeyType::from_base_type(&id.column_type.base);
            let map = self.entities_of(&kind, key_type);
            if map.iter().any(|(_, entity)| entity.is_none()) {
                let names: Vec<&str> = self.heads.iter().map(|it| it.name.as_str()).collect();
                let need = format!(
                    "{}: name the entity of each type, or take the type out ({})",
                    column.name,
                    names.join(", ")
                );
                self.need(&column.name, need);
            }
            self.draft.columns.push(ColumnDraft {
                column: column.name.clone(),
                reason: format!("a generic reference: `{}` says of what", kind.name),
                rule: RuleDraft::Poly {
                    type_column: kind.name,
                    id_column: id.name,
                    map,
                },
                score: 0.7,
            });
        }
    }

    /// The source columns with type and key of one name.
    fn pair_of(&self, wanted: &str) -> Option<(Column, Column)> {
        let side = self.head.source;
        let columns = || side.relation.table.columns.iter().zip(&side.shapes);
        let kind = columns().find(|(column, shape)| {
            let about = shape.core.split_last().filter(|(last, _)| *last == "kind");
            about.is_some_and(|(_, about)| !about.is_empty() && about.concat() == wanted)
                && column.name.ends_with("id")
        })?;
        let id = columns().find(|(column, shape)| {
            shape.core.concat() == wanted
                && KeyType::from_base_type(&column.column_type.base).is_some()
        })?;
        Some((kind.0.clone(), id.0.clone()))
    }

    /// The entity of each type, as far as Django's table of content types knows it.
    fn entities_of(&mut self, kind: &Column, key_type: Option<KeyType>) -> Codes {
        let codes = self.codes_of(kind, &[]);
        let tables = self.content_types();
        let entity = |code: &str| {
            let feeders = self.feeders(&tables, code);
            let fits = |it: &&&Head<'_>| {
                it.key_types.first().copied() == key_type && it.key_types.len() == 1
            };
            Some(feeders.iter().find(fits)?.name.clone())
        };
        codes
            .into_iter()
            .map(|(code, _)| (code.clone(), entity(&code)))
            .collect()
    }

    /// The entities that are fed by the table of a content type; those that are called like it come first.
    fn feeders(&self, tables: &Codes, code: &str) -> Vec<&Head<'_>> {
        let found = tables.iter().find(|(it, _)| it == code);
        let Some(table) = found.and_then(|(_, table)| table.as_deref()) else {
            return Vec::new();
        };
        let heads = self.heads.iter();
        let mut heads: Vec<&Head<'_>> = heads
            .filter(|it| it.source.relation.table.name.name == table)
            .collect();
        heads.sort_by_key(|it| {
            !it.source
                .names
                .iter()
                .any(|name| it.target.names.contains(name))
        });
        heads
    }

    /// Django's content types: the id of each, and the table of its model.
    fn content_types(&mut self) -> Codes {
        let mut tables = self.known.source.iter().map(|it| &it.table);
        let names = ["app_label", "model"];
        let Some(table) = tables.find(|it| {
            names.iter().all(|name| it.column(name).is_some()) && it.primary_key.len() == 1
        }) else {
            return Codes::new();
        };
        let question = Question {
            table: table.name.clone(),
            code: table.primary_key[0].clone(),
            meaning: names.iter().map(|it| (*it).to_owned()).collect(),
        };
        let answer = self.known.answers.get(&question).cloned();
        self.questions.insert(question);
        answer.unwrap_or_default()
    }

    /// The labels of a column that says the type of a generic reference: named after the entity, or after its source.
    pub(super) fn kinds(&mut self, column: &Column, labels: &[String]) -> Option<Codes> {
        let rules = self.draft.columns.iter();
        let mut maps = rules.filter_map(|it| match &it.rule {
            RuleDraft::Poly {
                type_column, map, ..
            } if *type_column == column.name => Some(map.clone()),
            _ => None,
        });
        let codes = maps.next()?;
        let tables = self.content_types();
        let label = |code: &str| {
            let feeders = self.feeders(&tables, code);
            let names = feeders
                .iter()
                .flat_map(|it| it.target.names.iter().chain(&it.source.names));
            names
                .into_iter()
                .find_map(|name| code::label_of(name, labels))
        };
        let codes = codes.into_iter();
        Some(
            codes
                .map(|(code, _)| (code.clone(), label(&code)))
                .collect(),
        )
    }
}
