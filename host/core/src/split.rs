//! A big notification in parts at natural borders: the items of a JSON array, else lines, else characters.

use bytes::Bytes;

/// Splits `content` into parts of at most `max` bytes. Content that fits is one part.
///
/// Parts of a JSON array are JSON arrays of its items, in order. Everything else is cut after line breaks, and a
/// line longer than `max` between characters (or bytes, where it is not UTF-8). An array whose single item exceeds
/// `max` is cut as text. Joining the parts of a text gives the content back.
pub fn split(content: &Bytes, content_type: &str, max: usize) -> Vec<Bytes> {
    let max = max.max(1);
    if content.len() <= max {
        return vec![content.clone()];
    }
    if is_json(content_type)
        && let Some(parts) = split_array(content, max)
    {
        return parts;
    }
    split_text(content, max)
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

fn split_array(content: &Bytes, max: usize) -> Option<Vec<Bytes>> {
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_slice(content).ok()?;
    let mut parts = Vec::new();
    let mut part = String::from("[");
    for item in items {
        let item = item.get();
        // The brackets around and the comma before it.
        if item.len() + 2 > max {
            return None;
        }
        if part.len() > 1 && part.len() + 1 + item.len() + 1 > max {
            part.push(']');
            parts.push(std::mem::replace(&mut part, String::from("[")).into());
        }
        if part.len() > 1 {
            part.push(',');
        }
        part.push_str(item);
    }
    part.push(']');
    parts.push(part.into());
    Some(parts)
}

fn split_text(content: &Bytes, max: usize) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut rest = content.clone();
    while rest.len() > max {
        let window = rest.get(..max).unwrap_or_default();
        let cut = match window.iter().rposition(|b| *b == b'\n') {
            Some(line_break) => line_break + 1,
            None => character_border(&rest, max),
        };
        parts.push(rest.split_to(cut));
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

/// The last position at or before `max` that does not cut a UTF-8 character; `max` itself where there is none.
fn character_border(bytes: &[u8], max: usize) -> usize {
    let continues = |at: usize| bytes.get(at).is_some_and(|b| b & 0b1100_0000 == 0b1000_0000);
    let start = max.saturating_sub(3).max(1);
    (start..=max).rev().find(|at| !continues(*at)).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(content: &str, content_type: &str, max: usize) -> Vec<String> {
        let parts = split(&Bytes::copy_from_slice(content.as_bytes()), content_type, max);
        parts.iter().map(|p| String::from_utf8(p.to_vec()).unwrap()).collect()
    }

    #[test]
    fn an_array_is_split_between_its_items() {
        let found = parts(r#"[1, {"a": 2}, "three", 4]"#, "application/json", 12);
        assert_eq!(found, ["[1,{\"a\": 2}]", "[\"three\",4]"]);
    }

    #[test]
    fn lines_stay_whole() {
        assert_eq!(parts("one\ntwo\nthree\n", "text/plain", 8), ["one\ntwo\n", "three\n"]);
    }

    #[test]
    fn an_item_larger_than_a_part_is_cut_as_text() {
        assert_eq!(parts(r#"["aaaaaaaaaa"]"#, "application/json", 8).concat(), r#"["aaaaaaaaaa"]"#);
    }

    proptest! {
        #[test]
        fn text_parts_join_to_the_content(text in "[aö\n]{0,60}", max in 1usize..20) {
            let found = split(&Bytes::from(text.clone()), "text/plain", max);
            prop_assert!(found.iter().all(|p| p.len() <= max));
            prop_assert_eq!(found.concat(), text.into_bytes());
        }

        #[test]
        fn characters_stay_whole_where_they_fit(text in "[aö€]{0,40}", max in 4usize..20) {
            for part in split(&Bytes::from(text.clone()), "text/plain", max) {
                prop_assert!(std::str::from_utf8(&part).is_ok());
            }
        }

        #[test]
        fn array_parts_hold_all_items_in_order(items in proptest::collection::vec(0u32..100_000, 0..60), max in 10usize..40) {
            let content = Bytes::from(serde_json::to_vec(&items).unwrap());
            let mut joined: Vec<u32> = Vec::new();
            for part in split(&content, "application/json", max) {
                prop_assert!(part.len() <= max.max(content.len().min(max)));
                joined.extend(serde_json::from_slice::<Vec<u32>>(&part).unwrap());
            }
            prop_assert_eq!(joined, items);
        }
    }
}
