//! Text of others, made fit for one line.

/// Makes one line of at most `max` characters: control characters and runs of white space become one space.
///
/// What a receiver or a producer wrote must not start a line of its own in a log or steer a terminal.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    for word in words.filter(|word| !word.is_empty()) {
        let gap = usize::from(length > 0);
        if length + gap >= max {
            break;
        }
        line.extend(std::iter::repeat_n(' ', gap));
        line.extend(word.chars().take(max - length - gap));
        length += gap + word.chars().count();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_white_space_become_one_space() {
        assert_eq!(one_line(" no\r\n\r\nsuch\t\x1b[31mroom\0 ", 80), "no such [31mroom");
        assert_eq!(one_line("\n\n", 80), "");
    }

    #[test]
    fn it_is_cut_at_a_character() {
        assert_eq!(one_line("ünïcödé", 3), "ünï");
        assert_eq!(one_line("ab cd", 3), "ab");
        assert_eq!(one_line("ab cd", 4), "ab c");
        assert_eq!(one_line("abcd e", 2), "ab");
        assert_eq!(one_line("ab", 0), "");
    }
}
