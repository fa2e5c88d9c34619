//! What was measured: the commit, and a hash of the folders that the figures depend on.

use std::process::Command;

/// Where figures come from. To be taken before measuring: a tree may change meanwhile.
pub struct Origin {
    commit: String,
    tree: String,
    paths: &'static str,
}

impl Origin {
    /// Of these files and folders, in words.
    pub fn of(paths: &'static str) -> Self {
        let tree = said(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/make/tree.sh"), &words(paths));
        Self { commit: said("git", &["describe", "--always", "--dirty"]), tree, paths }
    }

    /// Lines for the head of a report. `tests/make/tables.sh` reads the second.
    pub fn lines(&self) -> String {
        let Self { commit, tree, paths } = self;
        format!("* commit: {commit}\n* tree: {tree} of {paths}\n")
    }
}

/// What a program says, or that it is unknown.
pub fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

fn words(text: &'static str) -> Vec<&'static str> {
    text.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tree_has_another_hash() {
        let of = |paths| Origin::of(paths).tree;
        let whole = of("src");
        assert_eq!(whole.len(), 12, "{whole}");
        assert_eq!(whole, of("src"));
        assert_ne!(whole, of("src/ring"));
        assert!(Origin::of("src").lines().contains(&format!("* tree: {whole} of src\n")));
    }
}
