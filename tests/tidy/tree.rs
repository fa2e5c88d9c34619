//! Rules about files: their size, what must not stand in them, and what must agree between them.

use std::process::Command;

use base64::Engine as _;

use super::nothing;
use super::source::{File, files, has_word, read, root, rust};

/// Lines after which a file is probably two.
const LINES_MAX: usize = 600;
/// Files that may be longer, each with the reason.
const LONG: &[(&str, &str)] =
    &[("crates/server/src/page/style.css", "one sheet is one request, and its parts are headed")];

/// Everything of ours that is Rust.
fn all_rust() -> Vec<File> {
    ["src", "crates", "tests", "loom-tests", "shuttle-tests", "benches", "examples", "fuzz"]
        .iter()
        .flat_map(|folder| rust(folder))
        .collect()
}

#[test]
fn a_file_holds_one_idea() {
    let extensions = ["rs", "js", "mjs", "css", "html", "py", "sh"];
    let mut findings = Vec::new();
    for file in ["src", "crates", "tests", "loom-tests", "shuttle-tests", "benches", "examples", "fuzz"]
        .iter()
        .flat_map(|folder| files(folder, &extensions))
    {
        let lines = file.text.lines().count();
        if lines > LINES_MAX && !LONG.iter().any(|(path, _)| *path == file.path) {
            findings.push(format!(
                "{} has {lines} lines; split it at its seam, or list it in LONG with the reason",
                file.path
            ));
        }
    }
    let gone = LONG.iter().filter(|(path, _)| read(path).is_some_and(|text| text.lines().count() <= LINES_MAX));
    findings.extend(gone.map(|(path, _)| format!("{path} is not long any more; take it out of LONG")));
    nothing(findings);
}

#[test]
fn nothing_unfinished_is_left() {
    let mut findings = Vec::new();
    for file in all_rust() {
        for (index, line) in file.code.lines().enumerate() {
            for word in ["todo!", "unimplemented!", "dbg!", "#[ignore", "#[allow("] {
                if line.contains(word) {
                    findings.push(format!("{}:{}: `{word}` is for a moment, not for a commit", file.path, index + 1));
                }
            }
        }
    }
    nothing(findings);
}

#[test]
fn no_broadcast_channel_and_no_channel_per_subscriber() {
    let mut findings = Vec::new();
    for file in ["src", "crates"].iter().flat_map(|folder| rust(folder)) {
        for word in ["sync::broadcast", "broadcast::channel"] {
            let lines = file.lines_with(&file.code, word);
            findings
                .extend(lines.map(|line| format!("{}:{line}: names {word}; a room's ring is the channel", file.path)));
        }
    }
    nothing(findings);
}

#[test]
fn links_lead_to_files() {
    let mut findings = Vec::new();
    for file in files("", &["md"]) {
        for (at, _) in file.text.match_indices("](") {
            let target: String =
                file.text[at + 2..].chars().take_while(|character| !")\n ".contains(*character)).collect();
            let path = target.split('#').next().unwrap_or_default();
            let outside = ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
            let folder = root().join(&file.path);
            if !outside && !path.is_empty() && !folder.parent().unwrap_or(&folder).join(path).exists() {
                findings
                    .push(format!("{}: the link to {target} leads nowhere; name a file of the repository", file.path));
            }
        }
    }
    nothing(findings);
}

#[test]
fn the_version_stands_in_one_place() {
    let version = env!("CARGO_PKG_VERSION");
    let mut findings = Vec::new();
    let places = ["src", "crates", "dist", "Dockerfile", "Makefile", ".ci", "tests/browser", "tests/sdk"];
    for file in places.iter().flat_map(|place| files(place, &[])).filter(|file| !file.path.ends_with("-lock.json")) {
        for (index, line) in file.text.lines().enumerate() {
            if has_word(line, version) && line.to_lowercase().contains("roomcast") {
                findings.push(format!("{}:{}: says {version}; take it from Cargo.toml", file.path, index + 1));
            }
        }
    }
    nothing(findings);
}

#[test]
fn the_changelog_knows_the_version() {
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    let changelog = read("CHANGELOG.md").unwrap_or_default();
    assert!(changelog.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md needs a section `{heading}`");
}

#[test]
fn the_page_calls_nobody_else() {
    // Names of XML vocabularies look like addresses and are never asked for.
    let vocabulary = "http://www.w3.org/";
    let mut findings = Vec::new();
    for file in files("crates/server/src/page", &[]) {
        for (index, line) in file.text.lines().enumerate() {
            let is_comment = ["//", "*", "/*"].iter().any(|mark| line.trim_start().starts_with(mark));
            let line_left = if is_comment { String::new() } else { line.replace(vocabulary, "") };
            if ["http://", "https://", "=\"//", "url(//"].iter().any(|mark| line_left.contains(mark)) {
                findings.push(format!("{}:{}: names an outside address; ship it with the page", file.path, index + 1));
            }
        }
    }
    nothing(findings);
}

#[test]
fn lock_files_name_no_host() {
    for file in files("", &["json"]).into_iter().filter(|file| file.path.ends_with("package-lock.json")) {
        let advice = "npm install --omit-lockfile-registry-resolved";
        assert!(!file.text.contains("\"resolved\": \"http"), "{} names hosts; write it with {advice}", file.path);
    }
}

#[test]
fn the_embedded_broker_stays_lean() {
    let manifest = manifest();
    let direct = manifest["dependencies"].as_table().expect("a table of dependencies");
    let optional = |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool) == Some(true);
    let always: Vec<_> = direct.iter().filter(|(_, value)| !optional(value)).map(|(name, _)| name.as_str()).collect();
    assert!(always.len() <= 10, "without features at most 10 crates, not {}: make some optional", always.join(", "));
    let default = manifest["features"].get("default").and_then(toml::Value::as_array).map(Vec::len);
    assert_eq!(default, Some(0), "the default features are none");
}

/// Documentation that is read elsewhere has the picture in it.
#[test]
fn the_picture_in_the_documentation_is_that_of_the_readme() {
    let picture = std::fs::read(root().join("docs/chat.png")).expect("the picture");
    let inline = read("docs/chat-inline.md").unwrap_or_default();
    let data = inline.trim_end().strip_prefix("[chat]: data:image/png;base64,").unwrap_or_default();
    let advice =
        "write docs/chat-inline.md again: [chat]: data:image/png;base64, and the output of base64 -w0 docs/chat.png";
    assert!(base64::prelude::BASE64_STANDARD.decode(data).is_ok_and(|data| data == picture), "{advice}");
}

/// Who depends on the library downloads no server.
#[test]
fn the_package_of_the_library_carries_the_library_only() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["package", "--list", "--allow-dirty", "--offline", "-p", "roomcast"]).current_dir(root());
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("names are text");
    let places =
        ["src/", "examples/", "docs/chat-inline.md", "docs/guide.md", "docs/from-tokio-broadcast.md", "docs/misuse.md"];
    let others =
        listed.lines().filter(|path| path.contains('/') && !places.iter().any(|place| path.starts_with(place)));
    nothing(others.map(|path| format!("{path} is packaged with the library; leave it out of `include`")).collect());
    for needed in ["src/lib.rs", "README.md", "LICENSE-MIT", "docs/guide.md"] {
        assert!(listed.lines().any(|path| path == needed), "{needed} is missing in the package");
    }
}

/// That nothing newer is used is clippy's to say (`incompatible_msrv`).
#[test]
fn the_toolchain_is_not_older_than_the_declared_rust_version() {
    let declared: Vec<u32> = numbers(env!("CARGO_PKG_RUST_VERSION"));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc runs");
    let used = numbers(String::from_utf8_lossy(&output.stdout).split(' ').nth(1).unwrap_or_default());
    assert!(used[..2] >= declared[..2], "rust-version in Cargo.toml is newer than the toolchain; lower it");
    let lint = manifest()["workspace"]["lints"]["clippy"]
        .get("incompatible_msrv")
        .and_then(toml::Value::as_str)
        .map(str::to_owned);
    assert_eq!(lint.as_deref(), Some("warn"), "without the lint nobody notices that something newer is used");
}

/// Sequences, claim words and layouts are made for 64 bits; a build for fewer is to say so in one sentence.
#[test]
fn a_build_for_32_bits_says_why_it_is_refused() {
    let lib = read("src/lib.rs").expect("src/lib.rs");
    let refusal = "#[cfg(not(target_pointer_width = \"64\"))]\ncompile_error!(\"roomcast runs on 64-bit targets only";
    let at = lib.find(refusal).expect("src/lib.rs refuses other targets");
    assert!(lib.find("mod ").is_some_and(|first| at < first), "it comes before the modules whose layouts would fail");
}

fn manifest() -> toml::Table {
    read("Cargo.toml").unwrap_or_default().parse().expect("Cargo.toml is TOML")
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}
