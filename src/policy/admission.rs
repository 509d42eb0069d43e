//! What a file must keep to before it is parsed at all.
//!
//! regorus' parser backtracks: its time doubles with every level of brackets, and it has no timer.
//! Its evaluator recurses over the tree: a chain of 500,000 operators would overflow the stack and
//! take the process down. Both are bounded here, on the tokens of regorus' own lexer, which is linear.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::unstable::{
    Expr, Lexer, Literal, LiteralStmt, Module, Ref, Rule, Source, Span, Token, TokenKind,
};

use super::{
    ast::{self, MAX_FILE, Visit},
    engine::OWN_PACKAGE,
    error::{EngineError, LoadError},
};

/// Levels of `[` and `{`. Of 1,048 foreign files the deepest has 14; at 16 one literal takes 0.1 s.
const MAX_NESTING: usize = 14;
/// Levels of all brackets: parentheses cost nothing, but recursion of the parser ends at 32.
const MAX_BRACKETS: usize = 30;
/// Operators, dots and indexes in one expression: the depth of its tree.
const MAX_CHAIN: usize = 500;
/// Sum of 2^level over the opening brackets of a file: about a second of parsing.
const MAX_WORK: u64 = 1 << 20;

/// Checks a file's tokens.
///
/// # Errors
/// The first place that breaks a limit or is no token.
pub(crate) fn admit(path: &str, text: &str) -> Result<(), LoadError> {
    if text.len() > MAX_FILE {
        return Err(LoadError::new(path, format!("larger than {MAX_FILE} bytes")));
    }
    if let Some(at) = text.find(['\u{feff}', '\0']) {
        return Err(LoadError::at(path, text, at, "a byte order mark or NUL"));
    }
    let source = source(path, text)?;
    let mut lexer = Lexer::new(&source);
    lexer.set_max_col(NonZeroU32::MAX);
    let mut nesting = Nesting::default();
    let mut before: Option<Token> = None;
    let mut import: Option<(Span, String)> = None;
    loop {
        let token = lexer.next_token().map_err(|e| unreadable(path, text, &format!("{e}")))?;
        match &mut import {
            Some((span, path)) if span.line == token.1.line && token.0 != TokenKind::Eof => {
                path.push_str(token.1.text());
            }
            Some((span, path)) => {
                future_keywords(span, path)?;
                import = None;
            }
            None => {}
        }
        if token.0 == TokenKind::Eof {
            return Ok(());
        }
        if token.1.text() == "import" && token.0 == TokenKind::Ident {
            import = Some((token.1.clone(), String::new()));
        }
        nesting.step(before.as_ref(), &token)?;
        call_on_new_line(before.as_ref(), &token)?;
        before = Some(token);
    }
}

fn source(path: &str, text: &str) -> Result<Source, LoadError> {
    let all = NonZeroUsize::MAX;
    Source::from_contents_with_limits(path.to_owned(), text.to_owned(), all, all)
        .map_err(|e| LoadError::new(path, format!("{e}")))
}

/// A lexer error, with the way round for what OPA has and regorus has not.
fn unreadable(path: &str, text: &str, error: &str) -> LoadError {
    let e = EngineError::read(error);
    let template = text
        .lines()
        .nth(e.line.saturating_sub(1) as usize)
        .is_some_and(|l| l.contains("$\"") || l.contains("$`"));
    let out = LoadError::at_line(path, text, e.line, e.column, e.message);
    if template { out.help("template strings are not supported: use `sprintf`") } else { out }
}

/// `y := input.n` and then a line that starts with `(`: regorus reads a call, OPA two statements.
fn call_on_new_line(before: Option<&Token>, token: &Token) -> Result<(), LoadError> {
    let Some(before) = before else { return Ok(()) };
    let callable = before.0 == TokenKind::Ident && !KEYWORDS.contains(&before.1.text());
    if token.1.text() == "(" && token.0 == TokenKind::Symbol && callable && before.1.line != token.1.line {
        return Err(LoadError::span(&token.1, "a line that starts with `(` would be read as a call")
            .help("leave the parentheses out, or end the line before with `;`"));
    }
    Ok(())
}

/// `import future.keywords.not` and, with it, `import future.keywords` give `not` another meaning to OPA;
/// `and` and `or` are words that the engine does not have.
fn future_keywords(span: &Span, path: &str) -> Result<(), LoadError> {
    let Some(keyword) = path.strip_prefix("future.keywords") else { return Ok(()) };
    if matches!(keyword, ".in" | ".if" | ".contains" | ".every") {
        return Ok(());
    }
    Err(LoadError::span(span, format!("`import {path}` gives `not` a meaning that is not supported"))
        .help("leave it out: Rego v1 has `if`, `in`, `contains` and `every`"))
}

const KEYWORDS: &[&str] =
    &["if", "contains", "in", "some", "every", "not", "with", "as", "else", "default", "import", "package"];

#[derive(Default)]
struct Nesting {
    /// Per open bracket: operators so far in the expression around it.
    open: Vec<Level>,
    outside: usize,
    work: u64,
}

struct Level {
    parser_doubles: bool,
    chain: usize,
}

impl Nesting {
    fn step(&mut self, before: Option<&Token>, token: &Token) -> Result<(), LoadError> {
        let text = match token.0 {
            TokenKind::String | TokenKind::RawString => "",
            _ => token.1.text(),
        };
        match text {
            "[" | "{" | "(" | "set(" => return self.enter(&token.1, !text.ends_with('(')),
            "]" | "}" | ")" => {
                self.open.pop();
                self.lengthen(&token.1)?;
            }
            "," | ";" | ":=" | "|" if text != "|" => *self.chain() = 0,
            _ if is_operator(text) => self.lengthen(&token.1)?,
            _ => {
                let operator_before = before.is_some_and(|b| is_operator(b.1.text()));
                if !operator_before && before.is_some_and(|b| b.1.line != token.1.line) {
                    *self.chain() = 0;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, at: &Span, parser_doubles: bool) -> Result<(), LoadError> {
        self.open.push(Level { parser_doubles, chain: 0 });
        let depth = self.open.iter().filter(|l| l.parser_doubles).count();
        if depth > MAX_NESTING || self.open.len() > MAX_BRACKETS {
            return Err(LoadError::span(at, format!("brackets nested deeper than {MAX_NESTING}"))
                .help("give an inner part a name of its own"));
        }
        self.work += 1 << depth;
        if self.work > MAX_WORK {
            return Err(LoadError::span(at, "too many deeply nested brackets in one file")
                .help("move literals to a data file"));
        }
        Ok(())
    }

    fn lengthen(&mut self, at: &Span) -> Result<(), LoadError> {
        *self.chain() += 1;
        if *self.chain() > MAX_CHAIN {
            return Err(LoadError::span(at, format!("more than {MAX_CHAIN} operators in one expression"))
                .help("give parts of it names"));
        }
        Ok(())
    }

    fn chain(&mut self) -> &mut usize {
        self.open.last_mut().map_or(&mut self.outside, |l| &mut l.chain)
    }
}

fn is_operator(text: &str) -> bool {
    matches!(
        text,
        "." | "+"
            | "-"
            | "*"
            | "/"
            | "%"
            | "&"
            | "|"
            | "=="
            | "!="
            | "<"
            | ">"
            | "<="
            | ">="
            | "="
            | "in"
            | "else"
            | "with"
    )
}

/// Checks a parsed file for what regorus understands otherwise than OPA.
///
/// # Errors
/// The first such place, with the way round.
pub(crate) fn admit_module(module: &Module) -> Result<(), LoadError> {
    let span = &module.package.span;
    if ast::package(module).first().is_some_and(|p| p == OWN_PACKAGE) {
        return Err(LoadError::span(span, format!("the package `{OWN_PACKAGE}` is gatelog's own")));
    }
    let mut refuse = Refuse { error: None };
    for rule in &module.policy {
        refuse.dotted_default(rule);
    }
    ast::walk_module(module, &mut refuse);
    refuse.error.map_or(Ok(()), Err)
}

struct Refuse {
    error: Option<LoadError>,
}

impl Refuse {
    fn place(&mut self, span: &Span, message: &str, help: &str) {
        self.error.get_or_insert_with(|| LoadError::span(span, message).help(help));
    }

    /// As part of a document, such a function is an empty object to OPA and nothing here.
    fn dotted_default(&mut self, rule: &Rule) {
        if let Rule::Default { refr, args, .. } = rule
            && !args.is_empty()
            && !matches!(refr.as_ref(), Expr::Var { .. })
        {
            self.place(refr.span(), "`default` of a function in an object", "give the function a plain name");
        }
    }

    /// `_` in a negated expression is unbound; OPA calls it unsafe.
    fn wildcards(&mut self, expr: &Ref<Expr>) {
        if let Expr::Var { span, .. } = expr.as_ref()
            && span.text() == "_"
        {
            self.place(span, "`_` inside `not`", "say it as a rule or function of its own and negate that");
        }
        ast::children(expr).into_iter().for_each(|c| self.wildcards(c));
    }
}

impl Visit for Refuse {
    fn statement(&mut self, stmt: &LiteralStmt) {
        if let Literal::NotExpr { expr, .. } = &stmt.literal {
            self.wildcards(expr);
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        // Of sets and of undefined parts they say different things.
        if let Expr::Membership { key: Some(_), .. } = expr.as_ref() {
            self.place(expr.span(), "`k, v in c` as a condition", "write `c[k] == v`, or `some k, v in c`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        admit("a.rego", text).unwrap_err().to_string()
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n| format!("package a\nx := {}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(admit("a.rego", &nested(14)), Ok(()));
        insta::assert_snapshot!(refused(&nested(15)), @"
        a.rego:2:20: brackets nested deeper than 14
          |
        2 | x := [[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]
          |                    ^
          = give an inner part a name of its own
        ");
        let parens = format!("package a\nx := {}1{}", "(".repeat(40), ")".repeat(40));
        assert!(refused(&parens).contains("nested deeper"));
        let wide = "x := [[[[[[[[[[[[[1]]]]]]]]]]]]]\n".repeat(200);
        assert!(refused(&wide).contains("too many deeply nested"));
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let text = format!("package a\n# {0}\nx := \"{0}\"\ny := `{0}`", "[".repeat(99));
        assert_eq!(admit("a.rego", &text), Ok(()));
    }

    #[test]
    fn chains_are_bounded_but_lists_are_not() {
        let text = format!("package a\nx := 1{}", " + 1".repeat(600));
        assert!(refused(&text).contains("operators in one expression"));
        let text = format!("package a\nx := a{}", ".b[0]".repeat(600));
        assert!(refused(&text).contains("operators in one expression"));
        let text =
            format!("package a\nx := [{}]\ny if {{\n{}}}\n", "[1],".repeat(2000), "a.b == 1\n".repeat(2000));
        assert_eq!(admit("a.rego", &text), Ok(()));
    }

    #[test]
    fn what_regorus_reads_otherwise_is_refused() {
        insta::assert_snapshot!(refused("package a\nx if {\n  y := input.n\n  (y > 1)\n}"), @"
        a.rego:4:3: a line that starts with `(` would be read as a call
          |
        4 |   (y > 1)
          |   ^
          = leave the parentheses out, or end the line before with `;`
        ");
        insta::assert_snapshot!(refused("package a\nx := $\"a {input.b}\""), @r#"
        a.rego:2:6: invalid character
          |
        2 | x := $"a {input.b}"
          |      ^
          = template strings are not supported: use `sprintf`
        "#);
        insta::assert_snapshot!(refused("package a\nimport future.keywords.not\nx := 1"), @"
        a.rego:2:1: `import future.keywords.not` gives `not` a meaning that is not supported
          |
        2 | import future.keywords.not
          | ^
          = leave it out: Rego v1 has `if`, `in`, `contains` and `every`
        ");
        assert!(refused("package a\nimport future.keywords").contains("`import future.keywords` gives"));
        assert!(refused("package a\nimport future.keywords.or # in").contains("keywords.or` gives"));
        assert_eq!(
            admit("a.rego", "package a\nimport future.keywords.in\nimport data.future.keywords"),
            Ok(())
        );
        assert!(refused("package a\n\u{feff}x := 1").contains("byte order mark"));
        assert_eq!(admit("a.rego", "package a\nx if\n(1 == 1)\ny if not\n(1 == 1)"), Ok(()));
    }
}
