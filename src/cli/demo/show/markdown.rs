//! A check run's Markdown as lines for a terminal: what GitHub's page shows, without its look.
//!
//! Only what our own check runs use: headings, tables, lists, bold, code, folded details, escapes.

use anstyle::{AnsiColor, Style};

use crate::escape::terminal_block;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const CODE: Style = AnsiColor::Cyan.on_default();

/// The lines of a text. Details are folded, as on a page just opened.
pub fn lines(text: &str) -> Vec<String> {
    let mut page = Page { out: vec![], header: None, folded: false, fenced: false };
    for line in terminal_block(text).lines() {
        page.line(line);
    }
    page.out
}

struct Page {
    out: Vec<String>,
    /// Titles of the columns of the table we are in.
    header: Option<Vec<String>>,
    folded: bool,
    fenced: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        if line.starts_with("```") {
            self.fenced = !self.fenced;
        } else if self.fenced {
            self.push(format!("{DIM}{line}{DIM:#}"));
        } else if line.contains("<details>") {
            self.folded = true;
            let title = between(line, "<summary>", "</summary>");
            self.push(format!("▸ {}", inline(title)));
        } else if line.contains("</details>") {
            self.folded = false;
        } else if line.starts_with('|') {
            self.row(line);
        } else {
            self.header = None;
            self.plain(line);
        }
    }

    fn plain(&mut self, line: &str) {
        let heading = line.trim_start_matches('#');
        if line == "---" {
            self.push(format!("{DIM}{}{DIM:#}", "─".repeat(40)));
        } else if heading.len() < line.len() && heading.starts_with(' ') {
            let text =
                inline(heading.trim()).replace(&format!("{BOLD}"), "").replace(&format!("{BOLD:#}"), "");
            self.push(format!("{BOLD}{text}{BOLD:#}"));
        } else {
            self.push(inline(line));
        }
    }

    /// A table's row as its first cell, and the others below it with the titles of their columns.
    fn row(&mut self, line: &str) {
        let cells = cells(line);
        let Some(header) = &self.header else {
            self.header = Some(cells);
            return;
        };
        if cells.iter().all(|c| c.chars().all(|c| matches!(c, '-' | ':'))) {
            return;
        }
        let titled = header.iter().zip(&cells).skip(1).filter(|(_, c)| !c.is_empty());
        let rest: Vec<String> = titled.map(|(title, c)| format!("    {title}: {}", inline(c))).collect();
        let first = inline(cells.first().map_or("", String::as_str));
        self.push(first);
        rest.into_iter().for_each(|l| self.push(l));
    }

    /// No line in folded details, no two empty lines.
    fn push(&mut self, line: String) {
        let title = line.starts_with('▸');
        let twice = line.is_empty() && self.out.last().is_none_or(String::is_empty);
        if (!self.folded || title) && !twice {
            self.out.push(line);
        }
    }
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let after = text.split_once(open).map_or("", |(_, after)| after);
    after.split_once(close).map_or(after, |(inside, _)| inside)
}

/// Cells of a row; an escaped pipe does not end one.
fn cells(line: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut escaped = false;
    for c in line.trim().trim_start_matches('|').chars() {
        match out.last_mut() {
            Some(cell) if c != '|' || escaped => cell.push(c),
            _ => out.push(String::new()),
        }
        escaped = c == '\\' && !escaped;
    }
    // What follows the last pipe is no cell.
    if out.last().is_some_and(|last| last.trim().is_empty()) {
        out.pop();
    }
    out.iter().map(|c| c.trim().to_owned()).collect()
}

/// Bold, code, escapes and character references.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let (mut bold, mut rest) = (false, text);
    while let Some(c) = rest.chars().next() {
        let (shown, taken) = token(c, rest, &mut bold);
        out.push_str(&shown);
        // `token` takes at least the first character, and ends at a character.
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// What the start of `rest` shows as, and how many bytes of it that is.
fn token(c: char, rest: &str, bold: &mut bool) -> (String, usize) {
    let references = [("&#8203;", ""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"), ("&quot;", "\"")];
    if let Some((name, shown)) = references.iter().find(|(name, _)| rest.starts_with(name)) {
        return ((*shown).to_owned(), name.len());
    }
    if rest.starts_with("**") {
        *bold = !*bold;
        return (if *bold { format!("{BOLD}") } else { format!("{BOLD:#}") }, 2);
    }
    match (c, rest.chars().nth(1)) {
        ('\\', Some(next)) if next.is_ascii_punctuation() => (next.to_string(), 2),
        ('`', _) => code(rest),
        _ => (c.to_string(), c.len_utf8()),
    }
}

/// A code span between equally long runs of backticks.
fn code(rest: &str) -> (String, usize) {
    let fence = rest.len() - rest.trim_start_matches('`').len();
    let (ticks, after) = rest.split_at(fence);
    match after.split_once(ticks) {
        Some((inside, _)) => {
            let shown = inside.trim().replace("\\|", "|");
            (format!("{CODE}{shown}{CODE:#}"), fence + inside.len() + fence)
        }
        None => (ticks.to_owned(), fence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<String> {
        lines(text).iter().map(|l| anstream::adapter::strip_str(l).to_string()).collect()
    }

    #[test]
    fn shows_what_the_page_shows() {
        let text = "### ❌ **No**\n\n\n| Control | Missing |\n|---|---|\n| **A** b\\|c | x@&#8203;y \\_z\\_ `a \\| b` |\n\n\
                    <details><summary>Passed (1)</summary>\n\n- hidden\n\n</details>\n\n---\n```text\n**raw**\n```\nend";
        let shown = plain(text);
        let want = [
            "❌ No",
            "",
            "A b|c",
            "    Missing: x@y _z_ a | b",
            "",
            "▸ Passed (1)",
            "",
            &"─".repeat(40),
            "**raw**",
            "end",
        ];
        assert_eq!(shown, want);
    }

    #[test]
    fn terminal_escapes_stay_harmless() {
        assert!(!plain("a \u{1b}[31m b").concat().contains('\u{1b}'));
    }
}
