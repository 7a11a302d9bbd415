//! A guest's text for people: one line, printable, bounded.

/// Longest reason or note of an attempt, in characters: it is a line in a table.
pub(crate) const MAX_REASON: usize = 1_000;

/// `text` as one line of at most `max` characters; line breaks and tabs become spaces, other control characters go.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    let mut count = 0;
    for c in text.trim().chars() {
        let c = match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() || is_direction(c) => continue,
            c => c,
        };
        if c == ' ' && line.ends_with(' ') {
            continue;
        }
        if count == max {
            line.push('…');
            break;
        }
        line.push(c);
        count += 1;
    }
    line
}

/// Characters that reorder what stands beside them, with which a plugin could forge a log line.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(one_line(" a\r\n\tb\u{1b}[31mc\u{202e} ", 100), "a b[31mc");
    }

    #[test]
    fn a_cut_line_says_so() {
        assert_eq!(one_line("abcdef", 3), "abc…");
        assert_eq!(one_line("abc", 3), "abc");
    }

    proptest! {
        #[test]
        fn a_line_is_short_and_printable(text in any::<String>(), max in 0usize..50) {
            let line = one_line(&text, max);
            prop_assert!(line.chars().count() <= max + 1);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
