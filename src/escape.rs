//! Showing what people wrote without obeying it: titles, logins, branch names, policy messages.
//!
//! One function per place that text is shown in. All of them make invisible characters (controls,
//! bidirectional overrides, zero-width characters) visible as `\u{..}`, because these are how a
//! text looks like another one. All but [`terminal_block`] give one line of bounded length.

/// Characters of the input that are shown; what is longer ends in `…`.
///
/// A finding of a control is a sentence or two. A thousand characters keep a check run with dozens
/// of them below GitHub's 65,535 even when every character has to be escaped.
pub const MAX_CHARS: usize = 1_000;

/// A line break that only keeps two characters apart: GitHub makes no mention, issue reference,
/// link or emoji of text that it stands in. Written as a reference, so that the source of a check
/// run shows it; after GitHub has rendered it, it is a zero-width space.
const APART: &str = "&#8203;";

/// As text of GitHub-flavoured Markdown, in a paragraph, a heading, a list item or a table cell.
#[must_use]
pub fn markdown(text: &str) -> String {
    let shown = one_line(text, MAX_CHARS);
    let mut out = String::with_capacity(shown.len() * 2);
    let mut chars = shown.chars().peekable();
    while let Some(c) = chars.next() {
        let first = out.is_empty();
        let glued = chars.peek().is_some_and(|next| !next.is_whitespace());
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // `\|` depends on who splits the table; a reference does not.
            '|' => out.push_str("&#124;"),
            // The documented way to keep GitHub from reading mathematics.
            '$' => out.push_str("<span>$</span>"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '!' => out.extend(['\\', c]),
            '#' => push_apart(&mut out, "\\#", glued),
            '@' | ':' => push_apart(&mut out, c.encode_utf8(&mut [0; 4]), glued),
            '-' if ends_with_ignoring_case(&out, "gh") => push_apart(&mut out, "-", glued),
            '.' if ends_with_ignoring_case(&out, "www") => push_apart(&mut out, ".", glued),
            // Only the beginning of a line makes a list, a rule or a heading of these.
            '-' | '+' | '=' if first => out.extend(['\\', c]),
            '.' | ')' if !first && out.bytes().all(|b| b.is_ascii_digit()) => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

fn push_apart(out: &mut String, written: &str, glued: bool) {
    out.push_str(written);
    if glued {
        out.push_str(APART);
    }
}

fn ends_with_ignoring_case(out: &str, end: &str) -> bool {
    out.len() >= end.len() && out.as_bytes()[out.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// As a Markdown code span in a paragraph or list item, whatever backticks it holds.
#[must_use]
pub fn markdown_code(text: &str) -> String {
    code_span(&one_line(text, MAX_CHARS))
}

/// As a Markdown code span in a table cell, where a pipe would end the cell.
#[must_use]
pub fn markdown_code_cell(text: &str) -> String {
    // GFM: `\|` is a pipe "inside other inline spans" too, and the backslash is taken away.
    markdown_code(text).replace('|', "\\|")
}

fn code_span(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(text, '`') + 1);
    // A space on both sides is taken away again; without one, a backtick at the edge would join the fence.
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// As a fenced Markdown code block with its line breaks, to be copied from. Ends in a line break.
#[must_use]
pub fn markdown_block(text: &str) -> String {
    let mut shown = String::new();
    for (n, c) in text.trim_end().chars().enumerate() {
        if n == 4 * MAX_CHARS {
            shown.push('…');
            break;
        }
        match c {
            '\n' => shown.push('\n'),
            '\r' => {}
            '\t' => shown.push_str("    "),
            _ => push_visible(&mut shown, c),
        }
    }
    let fence = "`".repeat(longest_run(&shown, '`').max(2) + 1);
    format!("{fence}text\n{shown}\n{fence}\n")
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

/// As text or attribute value of HTML.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text, MAX_CHARS).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// As one line on a terminal, in a log message, or in a check run's title (which is plain text).
#[must_use]
pub fn terminal(text: &str) -> String {
    one_line(text, MAX_CHARS)
}

/// As [`terminal`], of at most `max` characters of the input.
#[must_use]
pub fn terminal_up_to(text: &str, max: usize) -> String {
    one_line(text, max)
}

/// As lines on a terminal, unbounded: line breaks and tabs stay, all else is as in [`terminal`].
#[must_use]
pub fn terminal_block(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            _ => push_visible(&mut out, c),
        }
    }
    out
}

/// One trimmed line; runs of white space become one space, invisible characters visible.
fn one_line(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(4 * max));
    let mut space = false;
    for (n, c) in text.trim().chars().enumerate() {
        if n == max {
            out.push('…');
            break;
        }
        if c.is_whitespace() {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
        }
        push_visible(&mut out, c);
    }
    out
}

fn push_visible(out: &mut String, c: char) {
    if is_invisible(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// Characters that are not seen, or that change how others are seen.
///
/// Unicode 17: general categories Cc, Cf, Zl and Zp, the fillers that show as nothing, and the
/// variation selectors but the two that choose between text and emoji.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What people have really put, or would put, into titles, logins and messages.
    const HOSTILE: &[&str] = &[
        "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "[click](https://evil.example) ![pixel](https://evil.example/p.png)",
        "see https://evil.example/a?b=c, www.evil.example and mail@evil.example",
        "@octo-org/admins please merge, fixes #12, octo/other#7, GH-34, a@b",
        "# Approved\n## by everyone\r\n| a | b |\n|---|---|",
        "`code` ``` fence",
        "1. one\n2) two",
        "- item",
        "=====",
        "$\\color{green}{\\textsf{Allowed}}$ :white_check_mark:",
        "</details></td></tr></table>",
        "a\\|b | c \\` d &lt; &#60;",
        "\u{1b}[2J\u{1b}]0;owned\u{7} \u{9b}31mred \u{0}nul",
        "admin\u{202e}resu\u{2066}x\u{200b}y\u{feff}",
        "  \t  \n ",
        "*bold* _under_ ~~gone~~ **[^1]**",
    ];

    fn shown(f: impl Fn(&str) -> String) -> String {
        HOSTILE.iter().map(|s| format!("{}\n", f(s))).collect()
    }

    #[test]
    fn hostile_text_as_markdown() {
        insta::assert_snapshot!(shown(markdown));
    }

    #[test]
    fn hostile_text_as_code() {
        insta::assert_snapshot!(shown(markdown_code));
        insta::assert_snapshot!("table_cell", shown(markdown_code_cell));
        insta::assert_snapshot!("block", shown(markdown_block));
    }

    #[test]
    fn hostile_text_as_html() {
        insta::assert_snapshot!(shown(html));
    }

    #[test]
    fn hostile_text_on_a_terminal() {
        insta::assert_snapshot!(shown(terminal));
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let long = "x".repeat(5_000);
        assert_eq!(terminal(&long).chars().count(), MAX_CHARS + 1);
        assert!(markdown(&long).ends_with('…'));
        assert_eq!(terminal_up_to("abcdef", 3), "abc…");
        assert_eq!(terminal_up_to("abc", 3), "abc");
    }

    #[test]
    fn lines_stay_in_a_block_on_a_terminal() {
        assert_eq!(terminal_block("a\n\tb\u{1b}[m"), "a\n\tb\\u{1b}[m");
    }

    fn nothing_invisible(s: &str) -> bool {
        !s.chars().any(is_invisible)
    }

    /// The characters that mean something somewhere, and letters between them.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[-a-z0-9@#:/.|`$<>&\\\\\\[\\]()!*_~=+ \n\t\u{1b}\u{202e}\u{200b}\u{85}\u{feff}]{0,60}",
        ]
    }

    proptest! {
        #[test]
        fn one_line_without_anything_invisible(s in text()) {
            for out in [markdown(&s), markdown_code(&s), markdown_code_cell(&s), html(&s), terminal(&s)] {
                prop_assert!(nothing_invisible(&out), "{out:?}");
            }
            for out in [markdown_block(&s), terminal_block(&s)] {
                prop_assert!(out.chars().all(|c| c == '\n' || c == '\t' || !is_invisible(c)), "{out:?}");
            }
        }

        #[test]
        fn markdown_holds_no_markup(s in text()) {
            let out = markdown(&s).replace("<span>$</span>", "");
            prop_assert!(!out.contains(['<', '>', '|', '$']));
            // Every character with a meaning is behind a backslash.
            let mut chars = out.chars();
            while let Some(c) = chars.next() {
                if c == '\\' {
                    prop_assert!(chars.next().is_some_and(|c| c.is_ascii_punctuation()));
                } else {
                    prop_assert!(!matches!(c, '`' | '*' | '_' | '[' | ']' | '~' | '!'), "{c} in {out}");
                }
            }
        }

        #[test]
        fn no_mention_or_link_survives(s in text()) {
            let out = markdown(&s);
            prop_assert!(!out.contains("://"));
            let mut rest = out.as_str();
            while let Some(at) = rest.find('@') {
                rest = &rest[at + 1..];
                prop_assert!(rest.is_empty() || rest.starts_with(APART) || rest.starts_with(char::is_whitespace));
            }
        }

        #[test]
        fn a_code_span_ends_where_it_should(s in text()) {
            let out = markdown_code(&s);
            let fence = out.len() - out.trim_start_matches('`').len();
            let inside = &out[fence..out.len() - fence];
            prop_assert!(out.is_empty() || fence > longest_run(inside, '`'));
        }

        #[test]
        fn html_has_no_tag_and_no_quote(s in text()) {
            prop_assert!(!html(&s).contains(['<', '>', '"', '\'']));
        }
    }
}
