//! The nearest known key for an unknown one.

/// The known name nearest to `unknown`, if one is near enough to be meant.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&unknown.to_lowercase(), name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

/// Rewords serde's "unknown field" and "unknown variant" messages so that they name the nearest known one; leaves
/// every other message as it is.
///
/// Serde words them ``unknown field `x`, expected one of `a`, `b` `` (`serde::de::Error::unknown_field`).
pub fn reword(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let what = match message {
        m if m.starts_with("unknown field `") => "key",
        m if m.starts_with("unknown variant `") => "value",
        _ => return message.to_owned(),
    };
    let Some(unknown) = quoted.next() else { return message.to_owned() };
    let known: Vec<&str> = quoted.collect();
    let meant = match nearest(unknown, known.iter().copied()) {
        Some(name) => format!("did you mean \"{name}\"? "),
        None => String::new(),
    };
    format!("unknown {what} \"{unknown}\"; {meant}known here: {}", known.join(", "))
}

/// Describes where in `text` a TOML error stands and what it says, in one line.
pub fn toml_error(text: &str, error: &toml::de::Error) -> String {
    let message = reword(error.message());
    match error.span() {
        Some(span) => {
            let line = 1 + text.get(..span.start).unwrap_or(text).matches('\n').count();
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_key_finds_its_meaning() {
        assert_eq!(nearest("macth", ["match", "allow"]), Some("match"));
        assert_eq!(nearest("zebra", ["match", "allow"]), None);
    }

    #[test]
    fn unknown_fields_are_reworded() {
        let serde = "unknown field `macth`, expected one of `match`, `allow`";
        let ours = "unknown key \"macth\"; did you mean \"match\"? known here: match, allow";
        assert_eq!(reword(serde), ours);
        assert_eq!(reword("missing field `x`"), "missing field `x`");
    }
}
