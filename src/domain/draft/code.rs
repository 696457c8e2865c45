//! Codes of the source and the labels that they may mean.

use super::name::words;
use super::{Codes, RuleDraft};

fn plain(text: &str) -> String {
    words(text).concat()
}

/// Finds the label that a text means: by its letters, whatever their case and what stands between them.
pub(super) fn label_of(text: &str, labels: &[String]) -> Option<String> {
    let wanted = plain(text);
    let found = labels.iter().find(|label| plain(label) == wanted);
    found.filter(|_| !wanted.is_empty()).cloned()
}

/// Finds labels by their first letter, when that tells all codes apart.
fn by_initial(codes: &[String], labels: &[String]) -> Option<Codes> {
    let mut pairs = Codes::new();
    for code in codes {
        let letter = code.trim().to_lowercase();
        let mut found = labels
            .iter()
            .filter(|it| it.to_lowercase().starts_with(&letter));
        let label = found.next()?;
        if letter.chars().count() != 1 || found.next().is_some() {
            return None;
        }
        pairs.push((code.clone(), Some(label.clone())));
    }
    (!pairs.is_empty()).then_some(pairs)
}

/// Chooses the rule for a text whose values are known.
pub(super) fn of_texts(column: &str, values: &[String], labels: &[String]) -> (RuleDraft, String) {
    if values.iter().all(|it| labels.contains(it)) {
        let reason = "its texts are the labels".to_owned();
        return (RuleDraft::column(column), reason);
    }
    let lowered = |it: &String| labels.contains(&it.trim().to_lowercase());
    if values.iter().all(lowered) {
        let rule = RuleDraft::Column {
            column: column.to_owned(),
            normalize: vec!["trim", "lower"],
        };
        return (rule, "its texts are the labels in another case".to_owned());
    }
    let column = column.to_owned();
    if let Some(codes) = by_initial(values, labels) {
        let reason = "letters with which the labels begin; CHECK them".to_owned();
        return (RuleDraft::Codes { column, codes }, reason);
    }
    let pairs = values.iter();
    let codes: Codes = pairs.map(|it| (it.clone(), label_of(it, labels))).collect();
    (
        RuleDraft::Codes { column, codes },
        "texts that become labels".to_owned(),
    )
}

/// Says which label each code would have if both were in the same order; codes beyond the labels are left out.
pub(super) fn in_order(codes: &Codes, labels: &[String]) -> Option<String> {
    let open = codes.iter().filter(|(_, label)| label.is_none());
    let mut numbers: Vec<usize> = open.filter_map(|(code, _)| code.parse().ok()).collect();
    numbers.sort_unstable();
    let first = *numbers.first().filter(|it| **it <= 1)?;
    let pairs = numbers.iter().filter_map(|number| {
        let label = labels.get(number - first)?;
        Some(format!("{number} = {}", super::render::quoted(label)))
    });
    let pairs: Vec<String> = pairs.collect();
    Some(format!(
        "in the order of the labels: {{ {} }}",
        pairs.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn texts_find_their_labels_and_numbers_do_not() {
        let labels = texts(&["draft", "in_work", "done"]);
        let rule = |values: &[&str]| of_texts("s", &texts(values), &labels).0;
        assert_eq!(rule(&["done", "draft"]), RuleDraft::column("s"));
        assert_eq!(
            rule(&["Done", "draft "]),
            RuleDraft::Column {
                column: "s".into(),
                normalize: vec!["trim", "lower"]
            }
        );
        let some = |it: &str| Some(it.to_owned());
        let codes = |codes: Codes| RuleDraft::Codes {
            column: "s".into(),
            codes,
        };
        assert_eq!(
            rule(&["In Work", "X9"]),
            codes(vec![
                ("In Work".into(), some("in_work")),
                ("X9".into(), None)
            ])
        );
        let letters = texts(&["female", "male"]);
        assert_eq!(
            of_texts("s", &texts(&["F", "m"]), &letters).0,
            codes(vec![
                ("F".into(), some("female")),
                ("m".into(), some("male"))
            ])
        );
    }

    #[test]
    fn an_order_is_only_suggested_for_numbers_that_have_one() {
        let labels = texts(&["a", "b"]);
        let open = |codes: &[&str]| codes.iter().map(|it| ((*it).to_owned(), None)).collect();
        let suggested = in_order(&open(&["1", "2"]), &labels);
        assert_eq!(
            suggested.as_deref(),
            Some("in the order of the labels: { 1 = \"a\", 2 = \"b\" }")
        );
        assert_eq!(
            in_order(&open(&["99", "0"]), &labels).as_deref(),
            Some("in the order of the labels: { 0 = \"a\" }")
        );
        assert_eq!(in_order(&open(&["7"]), &labels), None);
        assert_eq!(in_order(&open(&["x"]), &labels), None);
    }
}
