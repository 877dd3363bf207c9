//! The example in README.md is the one in the documentation of the crate, which is compiled and run.

#[test]
fn readme_shows_the_example_of_the_documentation() {
    let example = include_str!("../doc/example.rs");
    let block = format!("```rust\n{example}```\n");
    assert!(
        include_str!("../../README.md").contains(&block),
        "README.md does not contain mlp/doc/example.rs as a rust block"
    );
}
