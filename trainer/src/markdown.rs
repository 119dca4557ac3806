//! Words from outside in Markdown: names of files, patients and sources stay words, and a row stays a row.

/// `text` as one cell of a table, or one line: what Markdown would take for its own is escaped, line breaks are spaces.
///
/// GitHub splits a row at `|` even within backticks, so these are escaped as well.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '|' | '`' | '\\' | '*' | '<' => out.extend(['\\', letter]),
            // A link; brackets by themselves are none.
            ']' if letters.peek() == Some(&'(') => out.push_str("\\]"),
            letter if letter.is_control() || "\u{2028}\u{2029}".contains(letter) => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// A row of a table; each cell is [`escaped`].
pub fn row<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|cell| escaped(cell.as_ref())).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The first two lines of a table.
pub fn head<S: AsRef<str>>(names: &[S]) -> String {
    row(names) + "|" + &"---|".repeat(names.len()) + "\n"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cell_is_not_markdown() {
        assert_eq!(escaped("a|b `c` *d* <e> [f](g) [h] i\\j"), "a\\|b \\`c\\` \\*d\\* \\<e> [f\\](g) [h] i\\\\j");
        assert_eq!(escaped("two\r\nlines\tand a tab"), "two  lines and a tab");
        assert_eq!(row(["a", "b|c"]), "| a | b\\|c |\n");
        assert_eq!(head(&["a", "b"]), "| a | b |\n|---|---|\n");
    }

    proptest! {
        /// Read as GitHub reads it: cells end at a `|` that no backslash stands before, and a backslash gives back what follows.
        #[test]
        fn a_row_has_as_many_cells_as_were_given(cells in prop::collection::vec("[ -~|`\\\\\r\n]{0,12}", 1..6)) {
            let row = row(&cells);
            prop_assert_eq!(row.lines().count(), 1);
            let (mut found, mut cell, mut letters) = (vec![], String::new(), row.trim_end().chars());
            while let Some(letter) = letters.next() {
                match letter {
                    '\\' => cell.extend(letters.next()),
                    '|' => found.push(std::mem::take(&mut cell)),
                    letter => cell.push(letter),
                }
            }
            prop_assert_eq!(found.len(), cells.len() + 1);
            for (found, given) in found[1..].iter().zip(&cells) {
                let given = given.replace(['\r', '\n'], " ");
                prop_assert_eq!(found, &format!(" {given} "));
            }
        }
    }
}
