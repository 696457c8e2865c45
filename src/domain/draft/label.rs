//! Columns whose values are codes or labels.

use super::column::Work;
use super::shape::{Class, class};
use super::{Codes, Question, RuleDraft, code};
use crate::domain::catalog::Column;

impl Work<'_> {
    /// Chooses the rule that turns codes or texts into labels.
    pub fn labels(
        &mut self,
        column: &Column,
        candidate: &Column,
        labels: &[String],
        reason: &mut String,
    ) -> RuleDraft {
        let values = match &candidate.column_type.enum_labels {
            Some(own) => Some(own.clone()),
            None if class(&candidate.column_type) == Class::Text => self.values(candidate),
            None => None,
        };
        let (rule, why) = match values {
            Some(values) => code::of_texts(&candidate.name, &values, labels),
            None if class(&candidate.column_type) == Class::Text => (
                RuleDraft::column(&candidate.name),
                "a text that is no label goes to quarantine".to_owned(),
            ),
            None => {
                let codes = match self.kinds(candidate, labels) {
                    Some(codes) => codes,
                    None => self.codes_of(candidate, labels),
                };
                (
                    RuleDraft::Codes {
                        column: candidate.name.clone(),
                        codes,
                    },
                    "codes become labels".to_owned(),
                )
            }
        };
        reason.push_str(&format!("; {why}"));
        if let RuleDraft::Codes { codes, .. } = &rule {
            if let Some(guess) = code::in_order(codes, labels) {
                reason.push_str(&format!("; {guess}"));
            }
            if codes.iter().any(|(_, label)| label.is_none()) {
                let need = format!(
                    "{}: give each code a label ({})",
                    column.name,
                    labels.join(", ")
                );
                self.need(&column.name, need);
            }
        }
        rule
    }

    pub fn values(&mut self, column: &Column) -> Option<Vec<String>> {
        let question = Question {
            table: self.draft.source.clone(),
            code: column.name.clone(),
            meaning: Vec::new(),
        };
        let answer = self.known.answers.get(&question);
        let values = answer.map(|it| it.iter().map(|(code, _)| code.clone()).collect());
        self.questions.insert(question);
        values
    }

    /// The codes of a column: from the table that explains them, if there is one, else its values.
    pub fn codes_of(&mut self, column: &Column, labels: &[String]) -> Codes {
        if let Some(question) = self.explained(column) {
            let answer = self.known.answers.get(&question).cloned();
            self.questions.insert(question);
            if let Some(codes) = answer.filter(|it| !it.is_empty()) {
                let label = |meaning: String| code::label_of(&meaning, labels);
                let pairs = codes.into_iter();
                return pairs
                    .map(|(code, meaning)| (code, meaning.and_then(label)))
                    .collect();
            }
        }
        let values = self.values(column).filter(|it| !it.is_empty());
        let values = values.unwrap_or_else(|| vec!["?".to_owned()]);
        values.into_iter().map(|code| (code, None)).collect()
    }

    /// The table that a code refers to, when it has a text that explains the code.
    fn explained(&self, column: &Column) -> Option<Question> {
        let mut keys = self.head.source.relation.table.foreign_keys.iter();
        let key = keys.find(|key| key.columns.len() == 1 && key.columns[0] == column.name)?;
        let mut tables = self.known.source.iter();
        let table = &tables.find(|it| it.table.name == key.referenced)?.table;
        let names = ["name", "label", "title", "code", "slug", "description"];
        let mut names = names.iter().filter_map(|name| table.column(name));
        let meaning = names.find(|it| class(&it.column_type) == Class::Text)?;
        Some(Question {
            table: table.name.clone(),
            code: key.referenced_columns.first()?.clone(),
            meaning: vec![meaning.name.clone()],
        })
    }
}
