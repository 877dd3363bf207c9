//! A source file as tokens, and the modules it imports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The directory of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// A file of Rust.
pub(crate) struct SourceFile {
    /// From the root of the workspace, with slashes.
    pub(crate) path: String,
    /// Number of lines.
    pub(crate) lines: usize,
    tokens: Vec<TokenTree>,
}

/// All Rust files below these directories of the workspace, in the order of their paths.
pub(crate) fn rust_files(directories: &[&str]) -> Vec<SourceFile> {
    let root = root();
    let mut waiting: Vec<PathBuf> = directories.iter().map(|d| root.join(d)).collect();
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{directory:?}: {e}"));
        for path in entries.map(|entry| entry.expect("a readable entry").path()) {
            if path.is_dir() && !path.ends_with("target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(SourceFile::read(&root, &path));
            }
        }
    }
    assert!(!files.is_empty(), "no Rust files in {directories:?}");
    files.sort_by(|x, y| x.path.cmp(&y.path));
    files
}

impl SourceFile {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let relative = path.strip_prefix(root).expect("found below the root");
        Self::parse(&relative.to_string_lossy().replace('\\', "/"), &text)
    }

    fn parse(path: &str, text: &str) -> Self {
        let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{path}: {e}"));
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            tokens: tokens.into_iter().collect(),
        }
    }

    /// The path of the module inside its crate, such as `gemm/driver`; `gemm` for `gemm/mod.rs`.
    pub(crate) fn module(&self) -> String {
        let (_, inside) = self.path.split_once("src/").expect("lies in src");
        let inside = inside.trim_end_matches(".rs");
        inside.strip_suffix("/mod").unwrap_or(inside).to_owned()
    }

    /// Whether the file holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Whether the word `unsafe` is used, other than to forbid it.
    pub(crate) fn says_unsafe(&self) -> bool {
        fn any(tokens: impl IntoIterator<Item = TokenTree>) -> bool {
            tokens.into_iter().any(|token| match token {
                TokenTree::Ident(word) => word == "unsafe",
                TokenTree::Group(group) => any(group.stream()),
                _ => false,
            })
        }
        any(self.tokens.clone())
    }

    /// All paths of this crate that the file names, its tests left out.
    fn paths(&self, known: &[String]) -> Vec<Vec<String>> {
        let here: Vec<String> = match self.module().as_str() {
            "lib" | "main" => Vec::new(),
            module => module.split('/').map(str::to_owned).collect(),
        };
        let mut paths = Vec::new();
        collect_paths(&self.tokens, &here, known, &mut paths);
        paths
    }
}

/// The modules that each file of a crate imports.
///
/// What a module hands on under its own name (`pub use driver::Gemm` in `gemm`) is imported from
/// where it is made. A module that names its children does not import them: they are parts of it.
pub(crate) fn imports(files: &[SourceFile]) -> BTreeMap<String, Vec<String>> {
    let known: Vec<String> = files.iter().map(SourceFile::module).collect();
    let paths: Vec<_> = files.iter().map(|file| file.paths(&known)).collect();
    let mut handed_on = BTreeMap::new();
    for (module, paths) in known.iter().zip(&paths) {
        for path in paths {
            let name = path.last().expect("a path has a name");
            handed_on.insert((module.as_str(), name.as_str()), path.as_slice());
        }
    }
    let found = known.iter().zip(&paths).map(|(own, paths)| {
        let modules: BTreeSet<String> = paths
            .iter()
            .filter_map(|path| origin(path, &known, &handed_on))
            .filter(|module| !lies_in(module, own))
            .collect();
        (own.clone(), modules.into_iter().collect())
    });
    found.collect()
}

/// Whether a module is another one or a part of it; everything is a part of `lib`.
fn lies_in(module: &str, outer: &str) -> bool {
    let rest = module.strip_prefix(outer);
    outer == "lib" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The module in which the thing that a path such as `gemm::Gemm` names is made.
fn origin(
    path: &[String],
    known: &[String],
    handed_on: &BTreeMap<(&str, &str), &[String]>,
) -> Option<String> {
    let (mut path, mut hops) = (path, 0);
    loop {
        let depth = (1..=path.len())
            .rev()
            .find(|&depth| known.contains(&path[..depth].join("/")));
        let module = match depth {
            Some(depth) => path[..depth].join("/"),
            None if known.iter().any(|m| m == "lib") => "lib".to_owned(),
            None => return None,
        };
        let name = path.get(depth.unwrap_or(0));
        match name.and_then(|name| handed_on.get(&(module.as_str(), name.as_str()))) {
            Some(&next) if next != path && hops < known.len() => (path, hops) = (next, hops + 1),
            _ => return Some(module),
        }
    }
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Collects all paths that begin at `crate`, `super` or `self`, and those of `use` that begin at a
/// child of the module `here`.
fn collect_paths(
    tokens: &[TokenTree],
    here: &[String],
    known: &[String],
    paths: &mut Vec<Vec<String>>,
) {
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(tokens, at) {
            at = after_item(tokens, at + 2);
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                // The body of `mod name { .. }` is a module below this one.
                let name = word(at.checked_sub(1).and_then(|i| tokens.get(i)));
                let is_module = word(at.checked_sub(2).and_then(|i| tokens.get(i)))
                    .is_some_and(|word| word == "mod");
                match name {
                    Some(name) if is_module => {
                        collect_paths(&inner, &[here, &[name]].concat(), known, paths);
                    }
                    _ => collect_paths(&inner, here, known, paths),
                }
            }
            TokenTree::Ident(first) => {
                let first = first.to_string();
                let follows_separator = at >= 2 && is_path_separator(tokens, at - 2);
                let in_use = word(at.checked_sub(1).and_then(|i| tokens.get(i)))
                    .is_some_and(|word| word == "use");
                if let Some(base) = base_of(&first, in_use, here, known)
                    && !follows_separator
                    && is_path_separator(tokens, at + 1)
                {
                    read_tree(&tokens[at + 3..], base, paths);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Where a path that begins with this word begins, if it begins in this crate.
fn base_of(first: &str, in_use: bool, here: &[String], known: &[String]) -> Option<Vec<String>> {
    match first {
        "crate" => Some(Vec::new()),
        "self" => Some(here.to_vec()),
        "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
        child if in_use => {
            let path = [here, &[child.to_owned()]].concat();
            known.contains(&path.join("/")).then_some(path)
        }
        _ => None,
    }
}

/// Reads what follows `base::`: a name, a name and more, a `{..}` of several, or `*`.
fn read_tree(tokens: &[TokenTree], mut base: Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tokens.first() {
        Some(TokenTree::Ident(name)) => {
            match name.to_string().as_str() {
                "super" => drop(base.pop()),
                "self" => {}
                name => base.push(name.to_owned()),
            }
            if is_path_separator(tokens, 1) {
                read_tree(&tokens[3..], base, paths);
            } else {
                paths.push(base);
            }
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<_> = group.stream().into_iter().collect();
            for branch in inner.split(|token| is_punct(Some(token), ',')) {
                read_tree(branch, base.clone(), paths);
            }
        }
        // `*`, or the generic arguments of a path in an expression.
        Some(_) => paths.push(base),
        None => {}
    }
}

/// Whether `#[cfg(test)]` stands here.
fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), '#')
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
            if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// The place after the item that begins here: behind its `;` or its braces.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        let braces =
            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_punct(Some(token), ';') || (braces && !is_punct(tokens.get(at), ';')) {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file imports, in a crate where `gemm` hands on `Gemm` of `gemm/driver`, and the root
    /// hands on `A` of `a`.
    fn imports_of(path: &str, text: &str) -> String {
        let others = [
            ("src/a.rs", ""),
            ("src/b.rs", ""),
            (
                "src/gemm/mod.rs",
                "mod driver; pub use driver::Gemm; pub fn own() {}",
            ),
            ("src/gemm/driver.rs", ""),
            ("src/gemm/pack.rs", ""),
            (
                "src/lib.rs",
                "mod a; pub use a::A; pub use gemm::Gemm; pub fn own() {}",
            ),
        ];
        let others = others.into_iter().filter(|(other, _)| *other != path);
        let files: Vec<_> = [(path, text)]
            .into_iter()
            .chain(others)
            .map(|(path, text)| SourceFile::parse(path, text))
            .collect();
        imports(&files)[&files[0].module()].join(" ")
    }

    #[test]
    fn every_form_of_import_is_seen() {
        for (text, expected) in [
            ("use crate::a::X;", "a"),
            (
                "use crate::{a::X, gemm::{self, driver::Y}};",
                "a gemm gemm/driver",
            ),
            ("fn f() { crate::a::x() }", "a"),
            ("fn f() { g!(crate::b::x) }", "b"),
            ("use super::driver::*;", "gemm/driver"),
            ("use super::own;", "gemm"),
            ("use super::Gemm;", "gemm/driver"),
            ("use crate::gemm::Gemm;", "gemm/driver"),
            ("use crate::Gemm;", "gemm/driver"),
            ("use crate::A;", "a"),
            ("use crate::own;", "lib"),
            ("type X = Vec<crate::a::X>;", "a"),
            ("mod inner { use super::super::driver::X; }", "gemm/driver"),
            ("// use crate::a::X;\nconst S: &str = \"crate::a::x\";", ""),
            (
                "#[cfg(test)] mod tests { use crate::b::X; }\nuse crate::a::X;",
                "a",
            ),
            ("#[cfg(test)] use crate::b::{X, Y};\nuse crate::a::X;", "a"),
            ("use std::fmt; use rayon::a::X;", ""),
        ] {
            assert_eq!(imports_of("src/gemm/pack.rs", text), expected, "{text}");
        }
    }

    #[test]
    fn a_module_does_not_import_its_parts() {
        let text = "mod driver; pub use driver::Gemm; use crate::b::X;";
        assert_eq!(imports_of("src/gemm/mod.rs", text), "b");
        assert_eq!(imports_of("src/lib.rs", "mod a; pub use a::A;"), "");
    }

    #[test]
    fn unsafe_is_a_word_of_the_code() {
        let says = |text| SourceFile::parse("x.rs", text).says_unsafe();
        assert!(says("fn f() { unsafe { g() } }") && says("unsafe impl Send for X {}"));
        assert!(!says(
            "#![forbid(unsafe_code)]\n// unsafe\nconst S: &str = \"unsafe\";"
        ));
    }
}
