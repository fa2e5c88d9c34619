//! A function that a comment beside an ordering names holds an ordering itself. An argument that leads to a function without
//! one, since the operation has moved on into another, leads nowhere.
//!
//! A comment beside an ordering is one that begins with an ordering's name or says what something pairs with. It names a
//! function as `` `advance` ``, which is the one of its own file if that has one, or as `` `Seat::end` ``. The table of
//! `docs/design.md` names them in its third column, of other files as `` `room/seat::end` ``. Where it says `fence in`, there
//! must be a fence; where `Release: as in`, a Release.

use super::nothing;
use super::orderings::{ORDERINGS, files, place, rows_with_partners, uses};
use super::source::{File, has_word};

/// A function with a body.
struct Function {
    /// As the table of orderings names its file.
    place: String,
    /// The type or trait it belongs to, if any.
    owner: String,
    name: String,
    orderings: Vec<&'static str>,
}

#[test]
fn partners_that_comments_name_hold_an_ordering() {
    let files = files();
    let functions: Vec<_> = files.iter().flat_map(functions).collect();
    nothing(files.iter().flat_map(|file| without_ordering(file, &functions)).collect());
}

#[test]
fn partners_that_the_table_names_hold_an_ordering() {
    let functions: Vec<_> = files().iter().flat_map(functions).collect();
    let mut findings = Vec::new();
    for (operation, partners) in rows_with_partners() {
        let file = operation.rsplit_once("::").map_or("", |(file, _)| file);
        for (before, name) in names(&partners) {
            if let Err(why) = partner(&name, file, &needed(&before), &functions) {
                findings.push(format!("docs/design.md: the row `{operation}` pairs with `{name}`, {why}"));
            }
        }
    }
    nothing(findings);
}

/// What the comments of a file name wrongly.
fn without_ordering(file: &File, functions: &[Function]) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, comment) in comments(file) {
        for sentence in comment.split_inclusive(". ") {
            for (before, name) in names(sentence) {
                match partner(&name, place(&file.path), &needed(&before), functions) {
                    // Fields and other things have names, too; but nothing pairs with those.
                    Err(NO_FUNCTION) if !says_pair(sentence) => {}
                    Err(why) => {
                        findings.push(format!("{}:{line}: `{name}` is named beside an ordering, {why}", file.path))
                    }
                    Ok(()) => {}
                }
            }
        }
    }
    findings
}

const NO_FUNCTION: &str = "and is no function; name the one that holds the partner";

/// Of which orderings the function must hold one that stands behind this text; any will do where these are none.
fn needed(before: &str) -> Vec<&'static str> {
    if ["fence in ", "fences in ", "and in "].iter().any(|words| before.ends_with(words)) && before.contains("fence") {
        return vec!["SeqCst"];
    }
    let like = [": as in ", ": as for "].iter().find_map(|words| before.split_once(words));
    let ours = like.filter(|(_, rest)| !rest.contains('`')).map_or("", |(ours, _)| ours);
    ORDERINGS.into_iter().filter(|ordering| has_word(ours, ordering)).collect()
}

/// Whether the function that is called so at this place holds such an ordering, or what is wrong.
fn partner(name: &str, here: &str, needed: &[&str], functions: &[Function]) -> Result<(), &'static str> {
    let (owner, short) = name.rsplit_once("::").unwrap_or(("", name));
    let called_so =
        functions.iter().filter(|it| it.name == short && (owner.is_empty() || owner == it.owner || owner == it.place));
    let (mut ours, theirs): (Vec<_>, Vec<_>) = called_so.partition(|it| it.place == here);
    let is_ours = !ours.is_empty();
    if !is_ours {
        ours = theirs;
    }
    let holds = |it: &&&Function| it.orderings.iter().any(|ordering| needed.is_empty() || needed.contains(ordering));
    match ours.iter().filter(holds).count() {
        _ if ours.is_empty() => Err(NO_FUNCTION),
        0 => Err("and holds none, or none of this kind; name the function that does the operation"),
        holding if is_ours || holding == ours.len() => Ok(()),
        _ => Err("and is one of several, some of which hold none; name its type as well"),
    }
}

/// The functions of shipped code that have a body.
fn functions(file: &File) -> Vec<Function> {
    let lines: Vec<&str> = file.shipped_code().lines().collect();
    let orderings = uses(file);
    let (mut found, mut begins, mut owner) = (Vec::new(), Vec::new(), String::new());
    for (index, line) in lines.iter().enumerate() {
        if let Some(of) = owner_begun(line) {
            owner = of;
        } else if line.starts_with('}') {
            owner.clear();
        }
        let Some((_, after)) = line.split_once("fn ").filter(|_| has_word(line, "fn")) else { continue };
        begins.push(index);
        let rest = std::iter::once(after).chain(lines[index + 1..].iter().copied());
        if has_body(rest) {
            found.push((index, owner.clone(), ident(after)));
        }
    }
    let function = |(begin, owner, name): (usize, String, String)| {
        let end = begins.iter().copied().find(|&next| next > begin).unwrap_or(usize::MAX);
        let inside = orderings.iter().filter(|(line, ..)| (begin..end).contains(line));
        let orderings = inside.map(|(_, ordering, _)| *ordering).collect();
        Function { place: place(&file.path).to_owned(), owner, name, orderings }
    };
    found.into_iter().map(function).collect()
}

/// The type of an `impl`, or the trait, that begins with this line.
fn owner_begun(line: &str) -> Option<String> {
    if let Some((_, name)) =
        line.split_once("trait ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
    {
        return Some(ident(name));
    }
    let mut rest = line.strip_prefix("unsafe ").unwrap_or(line).strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.find(|character| {
            depth += i32::from(character == '<') - i32::from(character == '>');
            depth == 0
        });
        rest = &rest[end? + 1..];
    }
    Some(ident(rest.split_once(" for ").map_or(rest, |(_, of)| of).trim_start()))
}

/// Whether what follows `fn` has a body, or is declared only.
fn has_body<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    let mut depth = 0;
    for character in lines.flat_map(str::chars) {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return true,
            ';' if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

/// The comments beside orderings: the line each begins in, and its text.
fn comments(file: &File) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in file.text.lines().enumerate().take(file.shipped_code().lines().count()) {
        let comment = line.trim_start().strip_prefix("// ");
        match (comment, found.last_mut()) {
            (Some(text), Some((_, before))) if goes_on => *before = format!("{before} {text}"),
            (Some(text), _) => found.push((index + 1, text.to_owned())),
            (None, _) => {}
        }
        goes_on = comment.is_some();
    }
    found.retain(|(_, text)| says_pair(text) || ORDERINGS.iter().any(|ordering| text.starts_with(ordering)));
    found
}

fn says_pair(text: &str) -> bool {
    ["airs with", "airs as"].iter().any(|words| text.contains(words))
}

/// The names and paths in backticks, each with the text before it.
fn names(text: &str) -> Vec<(String, String)> {
    let is_path = |name: &str| {
        name.chars().all(|character| character.is_ascii_alphanumeric() || "_:/".contains(character))
            && name.starts_with(|character: char| character.is_ascii_alphabetic())
    };
    let ticks: Vec<usize> = text.match_indices('`').map(|(at, _)| at).collect();
    let quoted = ticks.chunks_exact(2).map(|pair| (text[..pair[0]].to_owned(), text[pair[0] + 1..pair[1]].to_owned()));
    quoted.filter(|(_, name)| is_path(name)).collect()
}

fn ident(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

#[test]
fn a_partner_without_an_ordering_is_found() {
    let sample = |name: &str, text: &str| File::of(&format!("src/ring/{name}.rs"), text);
    let claim = sample(
        "claim",
        "impl<T> Ring<T> {
    fn close(&self) {
        self.tell_closed();
    }
    fn tell_closed(&self) {
        // Release: pairs with the load in `is_drained`. What lies in `hint` is `close`d.
        self.hint.store(true, Release);
    }
    fn is_drained(&self) -> bool {
        // Acquire: pairs with the store in `close`.
        self.hint.load(Acquire)
    }
}",
    );
    let bell = sample(
        "bell",
        "impl<T> Bell for Seat<T> {
    fn declared(&self) -> [u8; 2];
    fn close(&self) {
        // SeqCst: behind `Ring::tell_closed`. Pairs with the fence in `wait`, and goes on
        // as `close` does.
        fence(SeqCst);
    }
    fn look(&self) {
        // Relaxed: ordered by the swap in `Ring::close`, and by that in `declared`.
        self.bell.load(Relaxed);
        // SeqCst: as in `look_again`. Pairs with the fence in `Ring::is_drained`, and with `close`.
        fence(SeqCst);
    }
    fn look_again(&self) {
        // Relaxed: ordered by the fences in `Bell::look` and in `close`. Release: as for `Seat::look`.
        self.bell.load(Relaxed);
    }
}",
    );
    let other = sample("other", "fn look() {\n    // Acquire: pairs with `close`.\n    self.bell.load(Acquire);\n}");
    let files = [claim, bell, other];
    let functions: Vec<_> = files.iter().flat_map(functions).collect();
    let found: Vec<_> = files.iter().flat_map(|file| without_ordering(file, &functions)).collect();
    let expected = [
        ("src/ring/claim.rs:6: `close`", "holds none"),
        ("src/ring/claim.rs:10: `close`", "holds none"),
        ("src/ring/bell.rs:4: `wait`", "is no function"),
        ("src/ring/bell.rs:9: `Ring::close`", "holds none"),
        ("src/ring/bell.rs:11: `look_again`", "of this kind"),
        ("src/ring/bell.rs:11: `Ring::is_drained`", "of this kind"),
        ("src/ring/bell.rs:15: `Seat::look`", "of this kind"),
        ("src/ring/other.rs:2: `close`", "one of several"),
    ];
    let told = |(text, (place, why)): (&String, &(&str, &str))| text.starts_with(place) && text.contains(why);
    assert!(found.len() == expected.len() && found.iter().zip(&expected).all(told), "{found:#?}");
}
