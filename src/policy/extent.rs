//! Where expressions and statements stand in a text: regorus' spans are not quite that.

use std::{collections::BTreeMap, num::NonZeroU32};

use regorus::unstable::{Expr, Lexer, Literal, LiteralStmt, Source, Span, Token, TokenKind};

/// Pairs of brackets in a text, by the lexer's tokens: byte of the opening one → byte after the
/// closing one, and back.
#[derive(Default)]
pub(crate) struct Brackets {
    pub(crate) close: BTreeMap<usize, usize>,
    open: BTreeMap<usize, usize>,
}

impl Brackets {
    pub(crate) fn new(source: &Source) -> Self {
        let mut lexer = Lexer::new(source);
        lexer.set_max_col(NonZeroU32::MAX);
        let (mut out, mut stack) = (Self::default(), Vec::new());
        while let Ok(Token(kind, span)) = lexer.next_token() {
            match (kind, span.text()) {
                (TokenKind::Eof, _) => break,
                (TokenKind::String | TokenKind::RawString, _) => {}
                (_, "[" | "{" | "(" | "set(") => stack.push(span.start as usize),
                (_, "]" | "}" | ")") => {
                    if let Some(start) = stack.pop() {
                        out.close.insert(start, span.end as usize);
                        out.open.insert(span.end as usize, start);
                    }
                }
                _ => {}
            }
        }
        out
    }

    /// Byte range of an expression. regorus' spans are not that: a string's lacks the quotes, and so
    /// does that of whatever begins or ends with one; an object's begins at its last key; that of
    /// `set()` ends after the next token.
    pub(crate) fn extent(&self, expr: &Expr) -> (usize, usize) {
        let span = expr.span();
        let (start, end) = (span.start as usize, span.end as usize);
        match expr {
            Expr::Object { .. } => (self.open.get(&end).copied().unwrap_or(start), end),
            Expr::Set { items, .. } if items.is_empty() => {
                (start, self.close.get(&start).copied().unwrap_or(end))
            }
            _ => {
                let left = edge(expr, true).is_some_and(|s| s.start == span.start);
                let right = edge(expr, false).is_some_and(|s| s.end == span.end);
                (start - usize::from(left), end + usize::from(right))
            }
        }
    }
}

/// Byte after the statement.
pub(crate) fn statement_end(stmt: &LiteralStmt) -> usize {
    let last = match (stmt.with_mods.last(), &stmt.literal) {
        (Some(with), _) => Some(&with.r#as),
        (None, Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. }) => Some(expr),
        (None, Literal::SomeIn { collection, .. }) => Some(collection),
        _ => None,
    };
    let string = last.and_then(|e| edge(e, false)).is_some_and(|s| s.end == stmt.span.end);
    stmt.span.end as usize + usize::from(string)
}

/// The statement as it is written, its `with`s included.
pub(crate) fn statement_text<'t>(text: &'t str, stmt: &LiteralStmt) -> &'t str {
    let start = stmt.span.start as usize;
    // The span of a string, and of what begins with one, lacks the quote.
    let quote = match &stmt.literal {
        Literal::Expr { expr, .. } => edge(expr, true).is_some_and(|s| s.start == stmt.span.start),
        _ => false,
    };
    text.get(start - usize::from(quote)..statement_end(stmt)).unwrap_or_default()
}

/// The string at the left or right edge of an expression, if a string stands there.
fn edge(expr: &Expr, left: bool) -> Option<&Span> {
    match expr {
        Expr::String { span, .. } | Expr::RawString { span, .. } => Some(span),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => edge(if left { lhs } else { rhs }, left),
        Expr::UnaryExpr { expr, .. } if !left => edge(expr, left),
        Expr::Membership { key, value, collection, .. } => match (left, key) {
            (true, Some(key)) => edge(key, left),
            (true, None) => edge(value, left),
            (false, _) => edge(collection, left),
        },
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } if left => edge(refr, left),
        _ => None,
    }
}
