//! The files of the repository, and Rust without its comments and texts.

use std::fs;
use std::path::{Path, PathBuf};

/// A file under the repository's root.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// As it stands there.
    pub(crate) text: String,
    /// For Rust: the text with comments and the contents of literals blanked, line for line.
    pub(crate) code: String,
    shipped: String,
}

impl File {
    /// A file of this text, wherever it comes from.
    pub(crate) fn of(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        let shipped = without_tests(&code);
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }

    /// `code` with what only tests use blanked: each item, variant or arm under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
    pub(crate) fn shipped_code(&self) -> &str {
        &self.shipped
    }

    /// The lines of `code`, counted from 1, that hold `word` as a whole word or path.
    pub(crate) fn lines_with<'a>(&'a self, code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        code.lines().enumerate().filter(move |(_, line)| has_word(line, word)).map(|(index, _)| index + 1)
    }
}

/// Where the repository lies.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file's text, or nothing when there is no such file.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// The variables of the Makefile that list the folders of the core: what is made of atomics, and what is made of that.
pub(crate) const CORE_LOW: &str = "CORE_LOW";
pub(crate) const CORE_HIGH: &str = "CORE_HIGH";

/// The folders that one of these lists, lowest layer first.
pub(crate) fn core_folders(variable: &str) -> Vec<String> {
    let makefile = read("Makefile").unwrap_or_default();
    let listed = makefile.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix(" := "));
    let folders = listed.expect("the Makefile lists the folders of the core");
    let folders: Vec<String> = folders.split_whitespace().map(str::to_owned).collect();
    // A list of what is not there would be held to every rule.
    assert!(
        folders.iter().all(|folder| !rust(folder).is_empty()),
        "the Makefile lists {folders:?}, of which some are not there"
    );
    folders
}

/// The Rust files under a folder.
pub(crate) fn rust(folder: &str) -> Vec<File> {
    files(folder, &["rs"])
}

/// The files under a folder, or the one file, that end so, in order; a folder that does not exist holds none.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<File> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let ends_so = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        extensions.is_empty() || extensions.contains(&extension)
    };
    paths.into_iter().filter(ends_so).filter_map(|path| load(&path)).collect()
}

fn load(path: &Path) -> Option<File> {
    let text = fs::read_to_string(path).ok()?;
    let relative = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Some(File::of(&relative, &text))
}

fn walk(path: &Path, paths: &mut Vec<PathBuf>) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if path.is_file() {
        paths.push(path.to_owned());
    } else if !SKIPPED.contains(&name.as_str()) {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| walk(&entry.path(), paths));
    }
}

/// Whether `word` stands in `line` without letters, digits or underscores around it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
        !is_part(before) && !is_part(line.as_bytes().get(at + word.len()).copied())
    })
}

/// Replaces comments and what stands in literals by blanks, keeping every line where it is.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).unwrap_or(at);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment or literal that begins at `at` ends; nothing when none begins there.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let find = |from: usize, wanted: &[u8]| {
        let found = rest[from.min(rest.len())..].windows(wanted.len()).position(|window| window == wanted);
        at + found.map_or(rest.len(), |found| from + found + wanted.len())
    };
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(find(2, b"*/"));
    }
    let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if starts_word && (rest[0] == b'r' || rest.starts_with(b"br")) {
        let from = 1 + usize::from(rest[0] == b'b');
        let hashes = rest[from..].iter().take_while(|&&byte| byte == b'#').count();
        if rest.get(from + hashes) == Some(&b'"') {
            let closing = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            return Some(find(from + hashes + 1, &closing));
        }
    }
    if rest[0] == b'"' {
        return Some(at + quoted(rest, b'"'));
    }
    // A quote begins a character only when another follows the character; else it is a lifetime.
    let is_char = rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\''));
    is_char.then(|| at + quoted(rest, b'\''))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

/// How the attributes of what only tests, or only models, use begin.
const TESTS: [&str; 2] = ["#[cfg(test)]", "#[cfg(all(test,"];

fn without_tests(code: &str) -> String {
    let mut shipped = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(at) = TESTS.iter().filter_map(|begin| code[from..].find(begin)).min().map(|found| from + found) {
        from = at + item_length(&code[at..]);
        shipped[at..from].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8_lossy(&shipped).into_owned()
}

/// How long the item, variant, field, statement or arm at the beginning is, its attributes included.
fn item_length(code: &str) -> usize {
    let starts_with = |words: &[&str]| {
        let mut lines = code.lines().map(str::trim).skip_while(|line| line.is_empty() || line.starts_with("#["));
        let line = lines.next().unwrap_or_default();
        let line = line.strip_prefix("pub").map_or(line, |rest| rest.trim_start_matches(|it| it != ' ').trim_start());
        words.iter().any(|word| line.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '<'])))
    };
    let ends_with_semicolon = starts_with(&["use", "static", "type", "let"])
        || starts_with(&["const"]) && !has_word(code.split(['=', '{']).next().unwrap_or_default(), "fn");
    let is_item = starts_with(&["fn", "mod", "impl", "struct", "enum", "trait", "unsafe", "async", "const", "extern"]);
    let (mut depth, mut last, mut is_block) = (0, ' ', false);
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' | '{' => {
                is_block |= depth == 0 && character == '{' && (is_item || last == '>');
                depth += 1;
            }
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 && character == '}' && is_block && !ends_with_semicolon {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            ',' if depth == 0 && !is_item && !ends_with_semicolon => return at + 1,
            _ => {}
        }
        if !character.is_whitespace() {
            last = character;
        }
    }
    code.len()
}

/// Folders that hold nothing of ours.
const SKIPPED: &[&str] = &["target", ".git", "node_modules", "shared", "data", "logs"];

#[test]
fn blanking_keeps_code_and_lines() {
    let text =
        "let a = \"unsafe\"; // unsafe\n/* unsafe\n */ let b = r#\"unsafe \" x\"#; let c: &'static str; '\"'; d();";
    let code = blank(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains("unsafe"), "{code}");
    assert!(code.contains("let b") && code.contains("&'static str") && code.contains("d();"), "{code}");
}

#[test]
fn what_only_tests_use_is_not_shipped_and_what_follows_it_is() {
    let text = "\
#[cfg(test)]
mod tests;
#[cfg(test)]
use gone::{a, b};
use kept::{a};
enum E {
    Kept,
    #[cfg(test)]
    #[rustfmt::skip]
    Gone(Box<dyn Fn() -> u8>),
    Kept2 { a: u8, b: u8 },
    #[cfg(test)]
    Gone2 { a: u8 },
}
impl E {
    #[cfg(test)]
    pub(crate) const fn gone<A, B>(&self) -> Result<A, B> where A: B { gone() }
    fn kept3(&self) {
        match self {
            #[cfg(test)]
            Self::Gone(gone) => { gone() }
            Self::Kept => kept4(),
            #[cfg(test)]
            Self::Gone2 { .. } => gone(),
            Self::Kept2 { .. } => kept5(),
            #[cfg(test)]
            _ => gone()
        }
    }
}
#[cfg(all(test, not(any(loom, shuttle))))]
const GONE: [u8; 2] = { gone() };
const KEPT6: u8 = 1;
#[cfg(test)]
mod tests2 { fn gone() {} }
fn kept7() {}";
    let file = File::of("src/x.rs", text);
    let shipped = file.shipped_code();
    assert_eq!(shipped.lines().count(), text.lines().count());
    assert!(!shipped.to_lowercase().contains("gone") && !shipped.contains("tests"), "{shipped}");
    let kept = ["kept::", "Kept,", "Kept2 {", "kept3", "kept4", "kept5", "KEPT6", "kept7"];
    kept.iter().for_each(|kept| assert!(shipped.contains(kept), "{kept}: {shipped}"));
}
