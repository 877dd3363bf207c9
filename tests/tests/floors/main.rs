//! The shape of the source: imports go down, files stay small, `unsafe` stays where it is known.
//!
//! Files are read as tokens, so comments and strings do not count. Code under `#[cfg(test)]` may
//! import what it likes.

mod source;

use std::collections::BTreeMap;

use source::{SourceFile, imports, rust_files};

/// Most lines of a file.
const MAX_LINES: usize = 600;

/// The floors of `kernels`: a file imports from its own floor or from below.
const KERNELS: &[(&str, u8)] = &[
    ("activation", 0),
    ("amx", 1),
    ("amx/model", 1),
    ("amx/permission", 0),
    ("amx/tile", 1),
    ("bf16", 0),
    ("cpu", 0),
    ("error", 0),
    ("isa", 0),
    ("isa/choice", 0),
    ("isa/dot_rate", 0),
    ("level", 0),
    ("precision", 0),
    ("view", 0),
    ("view/layout", 0),
    ("team", 1),
    ("team/gate", 1),
    ("team/shared", 1),
    ("counter_rng", 2),
    ("epilogue", 2),
    ("lanes", 2),
    ("math", 2),
    ("parts", 2),
    ("math/smooth", 2),
    ("update_rule", 2),
    ("gemm/vector", 2),
    ("gemm/vector/avx2", 2),
    ("gemm/vector/avx512", 2),
    ("gemm/vector/neon", 2),
    ("gemm/vector/portable", 2),
    ("attention/tile", 3),
    ("elementwise", 3),
    ("embedding/rows", 3),
    ("gemm/amx_kernel", 3),
    ("gemm/bf16_dot", 3),
    ("gemm/bf16_pack", 3),
    ("gemm/chunks", 3),
    ("gemm/dot", 3),
    ("gemm/row", 3),
    ("gemm/finish", 3),
    ("gemm/microkernel", 3),
    ("gemm/pack", 3),
    ("gemm/partial", 3),
    ("gemm/step", 3),
    ("gemm/tables", 3),
    ("loss", 3),
    ("norm/batch", 3),
    ("norm/columns", 3),
    ("norm/layer", 3),
    ("norm/operands", 3),
    ("loss/pointwise", 3),
    ("probe", 3),
    ("reduce", 3),
    ("softmax", 3),
    ("update", 3),
    ("gemm/blocking", 3),
    ("dispatch", 4),
    ("attention", 5),
    ("attention/backward", 5),
    ("attention/forward", 5),
    ("attention/operands", 5),
    ("attention/ops", 5),
    ("attention/workspace", 5),
    ("embedding", 5),
    ("embedding/ops", 5),
    ("gemm/bf16_blocking", 3),
    ("gemm/bf16_panels", 5),
    ("gemm/operand", 5),
    ("gemm/bf16_plan", 5),
    ("gemm/macrokernel", 5),
    ("gemm/workspace", 5),
    ("gather", 5),
    ("gemm/batch", 5),
    ("gemm/choice", 5),
    ("gemm/direct", 5),
    ("gemm/plan", 5),
    ("gemm/product", 5),
    ("gemm/driver", 5),
    ("gemm/panels", 5),
    ("gemm/prepack", 5),
    ("gemm/update", 5),
    ("gemm/variant", 5),
    ("gemm", 5),
    ("norm", 5),
    ("norm/ops", 5),
    ("ops", 5),
    ("lib", 6),
];

/// The floors of `mlp`.
const MLP: &[(&str, u8)] = &[
    ("data", 0),
    ("data/batches", 0),
    ("data/csv", 0),
    ("data/dataset", 0),
    ("data/error", 0),
    ("data/file", 0),
    ("data/idx", 0),
    ("data/samples", 0),
    ("data/scaler", 0),
    ("data/split", 0),
    ("epoch", 0),
    ("error", 0),
    ("init", 0),
    ("loss/kind", 0),
    ("loss/objective", 1),
    ("matrix", 0),
    ("params", 0),
    ("report", 0),
    ("rng", 0),
    ("builder", 0),
    ("builder/sequences", 0),
    ("save/error", 0),
    ("plateau", 0),
    ("schedule", 0),
    ("spec", 0),
    ("clip", 2),
    ("graph", 1),
    ("graph/op", 1),
    ("layers", 2),
    ("layers/activation", 2),
    ("layers/attention", 2),
    ("layers/batch_norm", 2),
    ("layers/concat", 2),
    ("layers/embedding", 2),
    ("layers/layer_norm", 2),
    ("layers/dropout", 2),
    ("layers/linear", 2),
    ("layers/rows", 2),
    ("layers/softmax", 2),
    ("layers/sum", 2),
    ("layers/transformer", 2),
    ("loss", 2),
    ("optimizer", 2),
    ("optimizer/adam", 2),
    ("optimizer/groups", 2),
    ("optimizer/rmsprop", 2),
    ("optimizer/rule", 2),
    ("optimizer/sgd", 2),
    ("network", 3),
    ("plan", 3),
    ("plan/arena", 3),
    ("plan/blocks", 3),
    ("plan/call", 3),
    ("plan/cost", 3),
    ("plan/fuse", 3),
    ("plan/layer_call", 3),
    ("plan/lower", 3),
    ("plan/place", 3),
    ("plan/region", 3),
    ("run", 4),
    ("run/blocks", 4),
    ("run/layers", 4),
    ("run/memory", 4),
    ("config", 5),
    ("ensemble", 5),
    ("evaluate", 5),
    ("explain", 5),
    ("explain/machine", 5),
    ("explain/steps", 5),
    ("fold", 5),
    ("rate_finder", 5),
    ("search", 5),
    ("model", 5),
    ("save", 5),
    ("save/file", 5),
    ("save/tensors", 5),
    ("suggest", 5),
    ("train", 5),
    ("trainer", 5),
    ("lib", 6),
];

/// The files that may hold the word `unsafe`, tests and benchmarks included.
const UNSAFE: &[&str] = &[
    "bench-harness/peers/gemm/src/lib.rs",
    "kernels/src/amx/model.rs",
    "kernels/src/amx/permission.rs",
    "kernels/src/amx/tile.rs",
    "kernels/src/dispatch.rs",
    "kernels/src/gather.rs",
    "kernels/src/gemm/amx_kernel.rs",
    "kernels/src/gemm/batch.rs",
    "kernels/src/gemm/bf16_dot.rs",
    "kernels/src/gemm/bf16_pack.rs",
    "kernels/src/gemm/bf16_panels.rs",
    "kernels/src/gemm/bf16_plan.rs",
    "kernels/src/gemm/direct.rs",
    "kernels/src/gemm/dot.rs",
    "kernels/src/gemm/driver.rs",
    "kernels/src/gemm/finish.rs",
    "kernels/src/gemm/macrokernel.rs",
    "kernels/src/gemm/microkernel.rs",
    "kernels/src/gemm/pack.rs",
    "kernels/src/gemm/panels.rs",
    "kernels/src/gemm/partial.rs",
    "kernels/src/gemm/plan.rs",
    "kernels/src/gemm/prepack.rs",
    "kernels/src/gemm/product.rs",
    "kernels/src/gemm/row.rs",
    "kernels/src/gemm/step.rs",
    "kernels/src/gemm/tables.rs",
    "kernels/src/gemm/update.rs",
    "kernels/src/gemm/variant.rs",
    "kernels/src/gemm/vector/avx2.rs",
    "kernels/src/gemm/vector/avx512.rs",
    "kernels/src/gemm/vector/mod.rs",
    "kernels/src/gemm/vector/neon.rs",
    "kernels/src/gemm/vector/portable.rs",
    "kernels/src/gemm/workspace.rs",
    "kernels/src/lanes.rs",
    "kernels/src/level.rs",
    "kernels/src/probe.rs",
    "kernels/src/team/gate.rs",
    "kernels/src/team/shared.rs",
    "kernels/src/team/tests.rs",
    "kernels/src/view.rs",
    "tests/tests/gemm/laws.rs",
];

fn crate_files(member: &str) -> Vec<SourceFile> {
    rust_files(&[&format!("{member}/src")])
        .into_iter()
        .filter(|file| !file.is_test())
        .collect()
}

/// Holds a crate against its table.
fn check_floors(member: &str, table: &[(&str, u8)]) {
    let files = crate_files(member);
    let floors: BTreeMap<&str, u8> = table.iter().copied().collect();
    assert_eq!(
        floors.len(),
        table.len(),
        "{member}: a module is listed twice"
    );
    let modules: Vec<String> = files.iter().map(SourceFile::module).collect();
    let mut wrong = Vec::new();
    for module in &modules {
        if !floors.contains_key(module.as_str()) {
            wrong.push(format!("{module} stands on no floor: add it to the table"));
        }
    }
    for (module, _) in table {
        if !modules.iter().any(|m| m == module) {
            wrong.push(format!(
                "{module} is in the table but there is no such file"
            ));
        }
    }
    let imports = imports(&files);
    for (from, targets) in &imports {
        for to in targets {
            let (low, high) = (floors.get(from.as_str()), floors.get(to.as_str()));
            if low.zip(high).is_some_and(|(from, to)| to > from) {
                wrong.push(format!("{from} imports {to}, which stands above it"));
            }
        }
    }
    if let Some(circle) = circle(&imports) {
        wrong.push(format!("imports go round: {}", circle.join(" -> ")));
    }
    assert!(wrong.is_empty(), "{member}:\n{}", wrong.join("\n"));
}

/// A circle of imports, if there is one.
fn circle(imports: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        imports: &BTreeMap<String, Vec<String>>,
        path: &mut Vec<String>,
        done: &mut Vec<String>,
    ) -> bool {
        if path.iter().any(|m| m == at) {
            path.push(at.to_owned());
            return true;
        }
        if done.iter().any(|m| m == at) {
            return false;
        }
        path.push(at.to_owned());
        for to in imports.get(at).into_iter().flatten() {
            if walk(to, imports, path, done) {
                return true;
            }
        }
        done.extend(path.pop());
        false
    }
    let (mut path, mut done) = (Vec::new(), Vec::new());
    let found = imports
        .keys()
        .any(|m| walk(m, imports, &mut path, &mut done));
    found.then_some(path)
}

#[test]
fn kernels_import_downwards() {
    check_floors("kernels", KERNELS);
}

#[test]
fn mlp_imports_downwards() {
    check_floors("mlp", MLP);
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = rust_files(&["kernels", "mlp", "bench-harness", "tests"])
        .iter()
        .filter(|file| file.lines > MAX_LINES)
        .map(|file| format!("{}: {} lines", file.path, file.lines))
        .collect();
    assert!(
        long.is_empty(),
        "over {MAX_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn unsafe_stays_in_the_listed_files() {
    let found: Vec<String> = rust_files(&["kernels", "mlp", "bench-harness", "tests"])
        .iter()
        .filter(|file| file.says_unsafe())
        .map(|file| file.path.clone())
        .collect();
    assert_eq!(
        found, UNSAFE,
        "files that say unsafe, and the list of those that may"
    );
}

#[test]
fn a_circle_is_found() {
    let edges = |list: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
        let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        list.iter()
            .map(|&(from, to)| (from.to_owned(), owned(to)))
            .collect()
    };
    let tree = edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
    assert_eq!(circle(&tree), None);
    let round = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
    assert_eq!(
        circle(&round),
        Some(["a", "b", "c", "b"].map(str::to_owned).to_vec())
    );
}
