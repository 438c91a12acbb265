//! A result that nobody looks at is an error that nobody hears of: `let _ = call()` and `call().ok();` outside tests.
//!
//! Clippy sees `let _ =` on what is marked `must_use`; this also sees `_ =`, `.ok();` and both of them inside macros.
//! A call that ends in `?` passes its error on and is fine.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, Local, Pat, Stmt};

use super::{Finding, Source};

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut swallows = Swallows::default();
    swallows.visit_file(&source.syntax);
    swallows.found.retain(|(line, _)| !source.is_test(*line));
    let mend = "pass it on with `?`, or match on it and say in a comment why the failure does not matter";
    swallows
        .found
        .iter()
        .map(|(line, what)| Finding::at(&source.path, *line, *what, mend))
        .collect()
}

#[derive(Default)]
struct Swallows {
    found: Vec<(usize, &'static str)>,
}

impl Swallows {
    fn add(&mut self, place: &impl Spanned, what: &'static str) {
        self.found.push((place.span().start().line, what));
    }

    /// Looks for statements in a macro's tokens: all of them if they are statements, else each brace group.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        if let Ok(statements) = Block::parse_within.parse2(tokens.clone()) {
            for statement in &statements {
                self.visit_stmt(statement);
            }
            return;
        }
        for token in tokens {
            match token {
                TokenTree::Group(group) if group.delimiter() != Delimiter::Bracket => {
                    self.visit_tokens(group.stream());
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Swallows {
    fn visit_local(&mut self, local: &'ast Local) {
        if let Some(init) = &local.init
            && is_wild(&local.pat)
            && may_fail(&init.expr)
        {
            self.add(local, "`let _ =` swallows a call's result");
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_assign(&mut self, assign: &'ast syn::ExprAssign) {
        if matches!(*assign.left, Expr::Infer(_)) && may_fail(&assign.right) {
            self.add(assign, "`_ =` swallows a call's result");
        }
        visit::visit_expr_assign(self, assign);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(Expr::MethodCall(call), Some(_)) = statement
            && call.method == "ok"
            && call.args.is_empty()
        {
            self.add(&call.method, "`.ok();` swallows an error");
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_tokens(invocation.tokens.clone());
    }
}

fn is_wild(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        Pat::Type(typed) => is_wild(&typed.pat),
        _ => false,
    }
}

fn may_fail(value: &Expr) -> bool {
    match value {
        Expr::Paren(inner) => may_fail(&inner.expr),
        Expr::Reference(inner) => may_fail(&inner.expr),
        Expr::Call(_) | Expr::MethodCall(_) | Expr::Await(_) | Expr::Macro(_) => true,
        Expr::Block(_) | Expr::If(_) | Expr::Match(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{messages, sources};
    use super::*;

    fn found(body: &str) -> Vec<usize> {
        let text = format!("fn a() {{\n{body}\n}}\n");
        messages(
            check(&sources::of(&[("crates/x/src/lib.rs", &text)])[0]),
            |finding| finding.line.unwrap(),
        )
    }

    #[test]
    fn swallowed_results_are_found() {
        for body in [
            "let _ = file.sync_all();",
            "let _: Result<(), E> = run();",
            "let _ = sender.send(1).await;",
            "let _ = writeln!(out, \"a\");",
            "_ = run();",
            "run().ok();",
            "if a {} run().ok();",
            "spawn(move || { run().ok(); });",
            "tokio::select! { x = y => { let _ = run(); } }",
            "info_span!(\"a\", { let _ = run(); });",
            "let _ = match a { _ => run() };",
        ] {
            assert_eq!(found(body), [2], "{body}");
        }
    }

    #[test]
    fn what_is_looked_at_passes() {
        for body in [
            "let _ = run()?;",
            "let _guard = lock();",
            "let _ = unused;",
            "let value = text.parse().ok();",
            "return text.parse().ok();",
            "tokio::select! { _ = stop.recv() => {} }",
            "match a { _ => run() }",
            "let Ok(_) = run() else { return };",
        ] {
            assert_eq!(found(body), [0; 0], "{body}");
        }
    }

    #[test]
    fn tests_may_swallow() {
        let sources = sources::of(&[
            (
                "crates/x/src/lib.rs",
                "#[cfg(test)]\nmod tests {\n    fn a() { let _ = run(); }\n}\n",
            ),
            ("crates/x/tests/main.rs", "fn a() { run().ok(); }\n"),
        ]);
        assert!(sources.iter().all(|source| check(source).is_empty()));
    }
}
