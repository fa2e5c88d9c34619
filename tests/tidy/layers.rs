//! Who may import whom inside a package: `sync ← ring ← wake ← room ← shard ← broker ← store`; and which primitives may be named
//! where. Between packages the compiler holds it.

use std::collections::BTreeMap;

use super::nothing;
use super::source::{CORE_HIGH, CORE_LOW, File, core_folders, has_word, read, rust};

/// What stands on the core; the core knows none of it.
const ABOVE: [&str; 2] = ["store", "internal"];

/// The folders of the server, lowest first: each uses those before it. `docs/design.md` says what they are.
const SERVER: [&str; 17] = [
    "util",
    "config",
    "ops",
    "limits",
    "backend",
    "wire",
    "auth",
    "callbacks",
    "session",
    "events",
    "rooms",
    "delivery",
    "client",
    "api",
    "net",
    "handover",
    "db_tools",
];
const SERVER_ROOT: &str = "crates/server/src";

#[test]
fn the_core_imports_downwards_only() {
    let exports = exports();
    let mut imports: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for file in core() {
        let found = imports.entry(module(&file.path)).or_default();
        for name in imported(file.shipped_code()) {
            let from = exports.get(&name).cloned().unwrap_or(name);
            found.push((from, file.path.clone()));
        }
    }
    // A module of the core that is no layer stands as high as what it imports.
    let layers = [core_folders(CORE_LOW), core_folders(CORE_HIGH)].concat();
    let layer_of = |name: &str| layers.iter().position(|folder| module(folder) == name);
    let mut heights: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..=imports.len() {
        for (module, found) in &imports {
            let above = found.iter().filter(|(from, _)| from != module);
            let height =
                above.filter_map(|(from, _)| layer_of(from).or_else(|| heights.get(from.as_str()).copied())).max();
            heights.insert(module, layer_of(module).or(height).unwrap_or(0));
        }
    }
    let mut findings = Vec::new();
    for (module, found) in &imports {
        for (from, path) in found {
            if ABOVE.contains(&from.as_str()) {
                findings.push(format!(
                    "{path} imports crate::{from}; the core knows nothing above it, pass in what it needs"
                ));
            } else if heights.get(from.as_str()).is_some_and(|height| *height > heights[module.as_str()]) {
                findings
                    .push(format!("{path} imports crate::{from}, which lies above {module}; move what both need down"));
            }
        }
    }
    nothing(findings);
}

#[test]
fn the_protocol_does_no_io() {
    let mut findings = Vec::new();
    for file in rust("crates/protocol/src") {
        findings.extend(named(&file, IO, "the protocol does no I/O, pass bytes and times in"));
    }
    nothing(findings);
}

#[test]
fn a_session_is_a_state_machine_without_io() {
    let mut findings = Vec::new();
    for file in rust("crates/server/src/session").iter().chain(&rust("crates/server/src/session.rs")) {
        findings.extend(named(file, IO, "a session does no I/O, return an action instead"));
        findings.extend(named(
            file,
            &["roomcast"],
            "a session knows no rooms, return an action for the connection to carry out",
        ));
    }
    nothing(findings);
}

#[test]
fn the_server_imports_downwards_only() {
    let height = |folder: &str| SERVER.iter().position(|known| *known == folder);
    let mut findings = Vec::new();
    for file in rust(SERVER_ROOT) {
        let below = file.path.trim_start_matches(SERVER_ROOT).trim_start_matches('/');
        let folder = below.split('/').next().unwrap_or_default();
        let Some(own) = height(folder) else {
            if below.contains('/') && !["cli", "fuzzing", "simulation"].contains(&folder) {
                findings.push(format!("{}: say in SERVER where {folder} stands", file.path));
            }
            continue;
        };
        for other in imported(file.shipped_code()) {
            if height(&other).is_none_or(|other| other > own) {
                findings.push(format!(
                    "{} imports crate::{other}, which does not lie below {folder}; move what both need down, or have it \
                     passed in behind a trait",
                    file.path
                ));
            }
        }
        // What lies in another folder is imported by its whole path, so that the check above sees it.
        let levels = below.trim_end_matches("/mod.rs").matches('/').count();
        if file.shipped_code().contains(&"super::".repeat(levels + 1)) {
            findings.push(format!("{} climbs out of {folder} by super; import it from crate", file.path));
        }
    }
    nothing(findings);
}

#[test]
fn each_folder_of_the_server_says_what_it_uses_and_who_uses_it() {
    let mut findings = Vec::new();
    for folder in SERVER {
        let path = format!("{SERVER_ROOT}/{folder}/mod.rs");
        let text = read(&path).unwrap_or_default();
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if !head.contains("It uses") || !head.contains("used by") {
            findings.push(format!("{path}: begin with what it is, \"It uses …\" and \"It is used by …\""));
        }
    }
    nothing(findings);
}

#[test]
fn the_core_takes_its_primitives_from_sync() {
    let fenced =
        ["std::sync::atomic", "core::sync::atomic", "std::thread", "arc_swap", "crossbeam_queue", "loom", "shuttle"];
    let mut findings = Vec::new();
    for file in core().iter().filter(|file| module(&file.path) != "sync") {
        findings.extend(named(file, &fenced, "take it from crate::sync, so that the models see it"));
        // `use std::sync::{atomic::…}` and `use std::{sync::atomic, thread}` say the same in other words.
        for (index, line) in file.shipped_code().lines().enumerate() {
            let grouped = line.contains("std::sync::{") && has_word(line, "atomic");
            if grouped || line.contains("std::{") && (has_word(line, "thread") || has_word(line, "atomic")) {
                findings.push(format!("{}:{}: take atomics and threads from crate::sync", file.path, index + 1));
            }
        }
    }
    nothing(findings);
}

#[test]
fn the_core_never_asks_the_world() {
    let mut findings = Vec::new();
    for file in core().iter().filter(|file| module(&file.path) != "sync") {
        findings.extend(named(file, IO, "the core knows no clock, network, file or environment, pass it in"));
    }
    nothing(findings);
}

#[test]
fn publishing_and_looking_up_take_no_lock() {
    let folders = ["src/ring", "src/wake", "src/room", "src/broker"];
    let mut findings = Vec::new();
    for file in folders.iter().flat_map(|folder| rust(folder)) {
        findings.extend(named(&file, &["Mutex", "RwLock"], "no lock on the way of a publish or a look-up"));
    }
    nothing(findings);
}

#[test]
fn unsafe_stays_in_ring_wake_and_sync() {
    let allowed = core_folders(CORE_LOW);
    let files = rust("src").into_iter().filter(|file| !is_in(&file.path, &allowed));
    let outside = files.chain(["crates", "tests", "examples", "benches"].iter().flat_map(|folder| rust(folder)));
    let message = "unsafe is for src/ring, src/wake and src/sync; offer a safe face there";
    nothing(outside.flat_map(|file| named(&file, &["unsafe"], message)).filter(|it| !is_allocator(it)).collect());
}

fn is_in(path: &str, folders: &[String]) -> bool {
    folders.iter().any(|folder| module(folder) == module(path))
}

#[test]
fn a_name_that_begins_like_a_folder_is_not_in_it() {
    let folders = ["src/ring".to_owned()];
    assert!(is_in("src/ring/claim.rs", &folders) && is_in("src/ring.rs", &folders));
    assert!(!is_in("src/ringing.rs", &folders) && !is_in("src/ring_buffer/mod.rs", &folders));
}

/// A test that counts what lives on the heap must implement an unsafe trait to do so.
fn is_allocator(finding: &str) -> bool {
    finding.starts_with("tests/") && finding.contains("/heap.rs:")
}

/// What reaches outside the process, or depends on when it runs.
const IO: &[&str] = &[
    "tokio::net",
    "tokio::time",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::net",
    "tracing_subscriber",
    "axum",
    "hyper",
];

fn named(file: &File, words: &[&str], what_to_do: &str) -> Vec<String> {
    let code =
        if file.path.starts_with("src") || file.path.starts_with("crates") { file.shipped_code() } else { &file.code };
    let lines = words.iter().flat_map(|word| file.lines_with(code, word).map(move |line| (line, word)));
    lines.map(|(line, word)| format!("{}:{line}: names {word}; {what_to_do}", file.path)).collect()
}

/// The library without what stands on the core.
fn core() -> Vec<File> {
    let outside = |path: &str| module(path) == "lib" || ABOVE.contains(&module(path).as_str());
    rust("src").into_iter().filter(|file| !outside(&file.path)).collect()
}

/// The module a file of `src` belongs to: its first folder, or its own name.
fn module(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or_default().to_owned()
}

/// The first names after `crate::` in paths and in groups.
fn imported(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.push(ident(rest)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The first name of each member of a group whose opening brace has been passed.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut member) = (0, Vec::new(), String::new());
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => heads.push(ident(std::mem::take(&mut member).trim_start())),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                member.push(character);
            }
        }
    }
    heads.push(ident(member.trim_start()));
    heads
}

fn ident(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// The names `lib.rs` exports, with the module each comes from.
fn exports() -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for file in rust("src/lib.rs") {
        for statement in file.code.split(';').filter_map(|statement| statement.split("pub use ").nth(1)) {
            let path = statement.trim_start_matches("self::").trim_start_matches("crate::");
            let (module, names) = path.split_once("::").unwrap_or((path, ""));
            for name in names.split(|character: char| !(character.is_alphanumeric() || character == '_')) {
                exports.insert(name.to_owned(), module.to_owned());
            }
        }
    }
    exports
}

#[test]
fn imports_are_found_in_paths_and_groups() {
    assert_eq!(imported("use crate::ring::Cursor; fn f() { crate::sync::fence() }"), ["ring", "sync"]);
    assert_eq!(imported("use crate::{room::{Room, Publisher}, wake, shard::{self}};"), ["room", "wake", "shard"]);
}
