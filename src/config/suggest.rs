//! "Did you mean": the known word nearest to one that is not known.

/// The candidate within a third of `word`'s length in edits (insert, delete, replace, swap of neighbours); the first
/// of equals. Words of more than 80 characters have none: they are not typing errors.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(81).collect();
    let allowed = (word.len() / 3).clamp(1, 4);
    if word.len() > 80 {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len().abs_diff(word.len()) > allowed {
            continue;
        }
        let distance = distance(&word, &candidate.chars().collect::<Vec<_>>());
        if distance <= allowed && best.is_none_or(|(shortest, _)| distance < shortest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut cost = (last[j] + usize::from(l != r)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let regions = ["us-east-1", "us-east-2", "eu-west-1"];
        assert_eq!(nearest("us-est-1", regions), Some("us-east-1"));
        assert_eq!(nearest("ue-east-2", regions), Some("us-east-2"));
        assert_eq!(nearest("ap-south-1", regions), None);
        assert_eq!(nearest("", regions), None);
    }

    #[test]
    fn swapped_letters_count_once() {
        assert_eq!(distance(&['a', 'b'], &['b', 'a']), 1);
        assert_eq!(nearest("olg", ["log"]), Some("log"));
    }
}
