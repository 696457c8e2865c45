//! Names taken apart into words, so that `shop_client` and `clients`, `mimeType` and `mime_type` can be compared.

/// Takes a name apart at underscores, other signs and changes from lower to upper case; words are in lower case.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let starts = c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        if (starts || !c.is_alphanumeric()) && words.last().is_some_and(|it| !it.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Words whose plural says nothing about their singular.
const IRREGULAR: &[(&str, &str)] = &[
    ("people", "person"),
    ("children", "child"),
    ("men", "man"),
    ("women", "woman"),
    ("series", "series"),
    ("news", "news"),
    ("movies", "movie"),
];

/// Returns the singular of an English word, as far as its ending tells.
pub fn singular(word: &str) -> String {
    if let Some((_, one)) = IRREGULAR.iter().find(|(many, _)| *many == word) {
        return (*one).to_owned();
    }
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes", "zes"] {
        if word.len() > ending.len() && word.ends_with(ending) {
            return word[..word.len() - 2].to_owned();
        }
    }
    let stays = ["ss", "us", "is"].iter().any(|end| word.ends_with(end));
    match word.strip_suffix('s') {
        Some(stem) if !stays && stem.len() > 1 => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// Joins words without what may stand between them, each in its singular.
pub fn joined(words: &[String]) -> String {
    words.iter().map(|word| singular(word)).collect()
}

/// Words that old and new schemas use for the same thing; the first of a line stands for all of it.
const ALIKE: &[&[&str]] = &[
    &[
        "updated", "modified", "changed", "update", "upd", "edited", "change",
    ],
    &["created", "inserted", "added", "creation", "create"],
    &[
        "position", "order", "sort", "ordering", "rank", "pos", "sequence",
    ],
    &["kind", "type"],
    &["phone", "tel", "telephone"],
    &["email", "mail"],
    &["postalcode", "zip", "zipcode", "postcode"],
    &["quantity", "qty"],
    &["description", "descr", "desc"],
    &["no", "num", "nr", "number"],
    &["address", "addr"],
    &["amount", "amt"],
    &["message", "msg"],
    &["language", "lang"],
    &["picture", "image", "img", "photo"],
    &["sex", "gender"],
    &["last", "surname"],
];

/// Replaces a word by the one that stands for all words like it.
pub fn common(word: &str) -> String {
    let word = singular(word);
    let line = ALIKE.iter().find(|line| line.contains(&word.as_str()));
    line.map_or(word, |line| line[0].to_owned())
}

/// Tells how alike two texts are, from 0 to 1; beginnings count more than ends.
pub fn likeness(one: &str, other: &str) -> f64 {
    strsim::jaro_winkler(one, other)
}

/// The words with which columns begin that hold the key of another system.
const LEGACY: &[&str] = &[
    "legacy", "old", "former", "orig", "original", "import", "imported",
];

/// What a column that holds the key of another system says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyName {
    /// The words between: `client` of `legacy_client_id`; none for `legacy_id`.
    pub of: Vec<String>,
    /// Whether it names a table instead of a row: `legacy_table`.
    pub is_table: bool,
}

/// Reads a name such as `legacy_client_id`, `old_id` or `legacy_table`.
pub fn legacy(name: &str) -> Option<LegacyName> {
    let mut words = words(name);
    let begins = words
        .first()
        .is_some_and(|it| LEGACY.contains(&it.as_str()));
    if !begins || words.len() < 2 {
        return None;
    }
    words.remove(0);
    let last = words.last().cloned().unwrap_or_default();
    let is_table = matches!(last.as_str(), "table" | "source" | "system" | "entity");
    if is_table || matches!(last.as_str(), "id" | "key" | "pk" | "no") {
        words.pop();
        return Some(LegacyName {
            of: words,
            is_table,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_apart_into_words() {
        assert_eq!(words("shop_luthierSetting"), ["shop", "luthier", "setting"]);
        assert_eq!(words("mimeType"), ["mime", "type"]);
        assert_eq!(words("ID"), ["id"]);
        assert_eq!(words("__a--b  c2"), ["a", "b", "c2"]);
        assert_eq!(words("\"\""), Vec::<String>::new());
        assert_eq!(
            joined(&words("invoice_lines")),
            joined(&words("InvoiceLine"))
        );
    }

    #[test]
    fn plurals_become_singulars() {
        for (many, one) in [
            ("categories", "category"),
            ("addresses", "address"),
            ("boxes", "box"),
            ("status", "status"),
            ("people", "person"),
            ("clients", "client"),
            ("class", "class"),
            ("s", "s"),
        ] {
            assert_eq!(singular(many), one);
        }
    }

    #[test]
    fn a_legacy_column_says_whose_key_it_holds() {
        let of = |name: &str| legacy(name).map(|it| (it.of.join("_"), it.is_table));
        assert_eq!(of("legacy_client_id"), Some(("client".to_owned(), false)));
        assert_eq!(of("legacy_id"), Some((String::new(), false)));
        assert_eq!(of("legacy_table"), Some((String::new(), true)));
        assert_eq!(of("old_price"), None);
        assert_eq!(of("legacy"), None);
        assert_eq!(of("client_id"), None);
    }
}
