//! A report as CSV: <https://www.rfc-editor.org/rfc/rfc4180>, with a line that names the columns.

use std::borrow::Cow;

use super::wire::columns;
use crate::tenancy::usage::{Dimension, Row};

/// The line that names the columns.
pub fn header(by: &[Dimension]) -> String {
    columns(by).join(",") + "\r\n"
}

/// The line of a row. What is null is empty.
pub fn line(row: &Row, by: &[Dimension]) -> String {
    let mut cells = Vec::new();
    for dimension in by {
        cells.push(cell(&row.group.value(*dimension).unwrap_or_default()).into_owned());
        let name = match dimension {
            Dimension::Team => &row.team_name,
            Dimension::Key => &row.key_name,
            _ => continue,
        };
        cells.push(cell(name.as_deref().unwrap_or_default()).into_owned());
    }
    let tokens = [row.input_tokens, row.output_tokens, row.cache_read_tokens, row.cache_write_tokens];
    cells.push(row.requests.to_string());
    cells.extend(tokens.map(|tokens| tokens.to_string()));
    cells.push(row.cost.map(|cost| cost.to_string()).unwrap_or_default());
    cells.push(row.unpriced.to_string());
    cells.join(",") + "\r\n"
}

/// A text as it stands in a line. Programs for tables take what begins so for a formula and work it out:
/// <https://owasp.org/www-community/attacks/CSV_Injection>. An apostrophe before it keeps them from it.
fn cell(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let needs_quotes = text.contains([',', '"', '\r', '\n']);
    if !is_formula && !needs_quotes {
        return Cow::Borrowed(text);
    }
    let guard = if is_formula { "'" } else { "" };
    let text = format!("{guard}{text}");
    if needs_quotes { Cow::Owned(format!("\"{}\"", text.replace('"', "\"\""))) } else { Cow::Owned(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_has_to_be_and_never_a_formula() {
        assert_eq!(cell("Data & Analytics"), "Data & Analytics");
        assert_eq!(cell("a, \"b\"\nc"), "\"a, \"\"b\"\"\nc\"");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@SUM(A1,A2)"), "\"'@SUM(A1,A2)\"");
        for start in ["+", "-", "\t"] {
            assert!(cell(&format!("{start}1")).starts_with('\''));
        }
        assert_eq!(cell(""), "");
    }
}
