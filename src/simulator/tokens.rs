//! The tokenizer of the simulator: a piece is the white space before it and at most four bytes of a word, cut between
//! characters; white space at the very end is a piece. Joined, the pieces are the text, so counting, cutting at a limit and
//! streaming agree with one another.

/// The pieces of `text`, in order.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at(piece_length(rest));
        rest = tail;
        Some(piece)
    })
}

/// How many tokens `text` is.
pub(crate) fn count(text: &str) -> u64 {
    pieces(text).map(|_| 1).sum()
}

/// The longest start of `text` of at most `limit` tokens, and how many those are.
pub(crate) fn truncate(text: &str, limit: u64) -> (&str, u64) {
    let (mut end, mut used) = (0, 0);
    for piece in pieces(text) {
        if used == limit {
            break;
        }
        end += piece.len();
        used += 1;
    }
    (&text[..end], used)
}

fn piece_length(text: &str) -> usize {
    let space = text.len() - text.trim_start().len();
    let mut word = 0;
    for character in text[space..].chars() {
        let width = character.len_utf8();
        if character.is_whitespace() || (word > 0 && word + width > 4) {
            break;
        }
        word += width;
    }
    space + word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text_and_a_word_is_at_least_one() {
        for text in ["", " ", "a b", "  internationalisation é\n", "日本語 😀 x "] {
            assert_eq!(pieces(text).collect::<String>(), text);
        }
        assert_eq!([count(""), count("a b c"), count("abcd"), count("abcde"), count("a ")], [0, 3, 1, 2, 2]);
    }

    #[test]
    fn truncation_stops_at_the_limit() {
        assert_eq!(truncate("one two three", 2), ("one two", 2));
        assert_eq!(truncate("one", 9), ("one", 1));
    }
}
