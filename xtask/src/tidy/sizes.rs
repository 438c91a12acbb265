//! How long files and functions are, in lines that are not test code.
//!
//! A function counts from its signature to its closing brace, comments and blank lines included: that is what a reader
//! scrolls through. What a function encloses counts for it, too.

use std::collections::BTreeMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Signature, Type};

use super::Source;

/// Lines by name, for everything that is measured: files by path, functions by `path#Type::name`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) files: BTreeMap<String, usize>,
    pub(super) functions: BTreeMap<String, usize>,
}

pub(super) fn measure(sources: &[Source]) -> Sizes {
    let mut sizes = Sizes::default();
    for source in sources {
        sizes.files.insert(source.path.clone(), source.program_lines());
        let mut functions = Functions {
            source,
            scope: Vec::new(),
            sizes: &mut sizes.functions,
        };
        functions.visit_file(&source.syntax);
    }
    sizes
}

struct Functions<'a> {
    source: &'a Source,
    /// The modules, types and functions around the place that is visited.
    scope: Vec<String>,
    sizes: &'a mut BTreeMap<String, usize>,
}

impl Functions<'_> {
    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        visit(self);
        self.scope.pop();
    }

    /// Two functions of one name (under different `cfg`s, say) share an entry: the longer one's.
    fn record(&mut self, signature: &Signature, block: &Block) {
        let first = signature.span().start().line;
        let last = block.span().end().line;
        if self.source.is_test(first) {
            return;
        }
        let lines = last + 1 - first;
        let name = format!("{}#{}", self.source.path, self.scope.join("::"));
        let size = self.sizes.entry(name).or_default();
        *size = lines.max(*size);
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.inside(module.ident.to_string(), |this| {
            visit::visit_item_mod(this, module);
        });
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside(item.ident.to_string(), |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of = type_name(&item.self_ty);
        let name = match item.trait_.as_ref().and_then(|(path, _)| path.segments.last()) {
            Some(implemented) => format!("<{of} as {}>", implemented.ident),
            None => of,
        };
        self.inside(name, |this| visit::visit_item_impl(this, item));
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.inside(function.sig.ident.to_string(), |this| {
            this.record(&function.sig, &function.block);
            visit::visit_item_fn(this, function);
        });
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.inside(function.sig.ident.to_string(), |this| {
            this.record(&function.sig, &function.block);
            visit::visit_impl_item_fn(this, function);
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.inside(function.sig.ident.to_string(), |this| {
            if let Some(block) = &function.default {
                this.record(&function.sig, block);
            }
            visit::visit_trait_item_fn(this, function);
        });
    }
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |last| last.ident.to_string()),
        Type::Reference(reference) => type_name(&reference.elem),
        _ => "_".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources;
    use super::*;

    fn functions(text: &str) -> Vec<(String, usize)> {
        let sizes = measure(&sources::of(&[("crates/x/src/lib.rs", text)]));
        sizes
            .functions
            .into_iter()
            .map(|(name, lines)| (name.replace("crates/x/src/lib.rs#", ""), lines))
            .collect()
    }

    #[test]
    fn functions_are_measured_where_they_are() {
        let text = "/// Doc.\n#[inline]\npub fn a(\n    b: u8,\n) {\n    fn c() {}\n}\n\
                    impl<T> Store<T> {\n    fn d(&self) {\n    }\n}\n\
                    impl fmt::Display for Store<u8> {\n    fn fmt(&self) {}\n}\n\
                    mod m {\n    trait Engine {\n        fn e();\n        fn f() {\n        }\n    }\n}\n";
        let expected = [
            ("<Store as Display>::fmt", 1),
            ("Store::d", 2),
            ("a", 5),
            ("a::c", 1),
            ("m::Engine::f", 2),
        ];
        assert_eq!(
            functions(text),
            expected.map(|(name, lines)| (name.to_owned(), lines))
        );
    }

    #[test]
    fn tests_are_not_measured() {
        assert_eq!(functions("#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n"), []);
        let sizes = measure(&sources::of(&[("crates/x/benches/b.rs", "fn a() {}\n")]));
        assert_eq!(sizes.files["crates/x/benches/b.rs"], 0);
        assert!(sizes.functions.is_empty());
    }
}
