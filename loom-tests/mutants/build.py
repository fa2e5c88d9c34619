"""One binary with every mutant in it: each ordering asks at run time whether it is the weak one.

Building once for each mutant would take hours. In a copy of the tree every ordering becomes a call that returns the
shipped one, unless the environment names this site; every rule becomes an `if`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from rules import RULES

VARIABLE = "ROOMCAST_MUTANT"
COPIED = ("src", "crates", "tests", "loom-tests", "benches", "examples", "docs", "Cargo.toml", "Cargo.lock", "README.md")
FLAGS = "--cfg roomcast_loom -C debug-assertions"

SWITCH = """
mod mutants {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicBool;

    use super::{AcqRel, Acquire, Ordering, Relaxed, Release, SeqCst};

    struct Active {
        reports: bool,
        site: Option<usize>,
        rule: Option<usize>,
        weaker: Option<Ordering>,
    }

    static ACTIVE: OnceLock<Active> = OnceLock::new();
    static REACHED: [AtomicBool; SITES] = [const { AtomicBool::new(false) }; SITES];
    const SITES: usize = 1024;

    // `reached` reports the sites that a model comes to; `site 7 Relaxed` and `rule 3` name a mutant.
    fn active() -> &'static Active {
        ACTIVE.get_or_init(|| {
            let text = std::env::var("ROOMCAST_MUTANT").unwrap_or_default();
            let words: Vec<&str> = text.splitn(3, ' ').collect();
            let number = |kind| (words[0] == kind).then(|| words[1].parse().expect("a number"));
            let weaker = match words.get(2).copied() {
                Some("Relaxed") => Some(Relaxed),
                Some("Acquire") => Some(Acquire),
                Some("Release") => Some(Release),
                Some("AcqRel") => Some(AcqRel),
                _ => None,
            };
            Active { reports: text == "reached", site: number("site"), rule: number("rule"), weaker }
        })
    }

    fn reach(kind: &str, number: usize, index: usize) -> &'static Active {
        let active = active();
        if active.reports && !REACHED[index].swap(true, Relaxed) {
            eprintln!("reached {kind} {number}");
        }
        active
    }

    pub(crate) fn mutant(site: usize, shipped: Ordering) -> Ordering {
        let active = reach("site", site, site);
        if active.site == Some(site) { active.weaker.expect("a weaker ordering") } else { shipped }
    }

    pub(crate) fn mutant_fence(site: usize) {
        let active = reach("site", site, site);
        if active.site != Some(site) {
            super::backend::fence(SeqCst);
        } else if let Some(weaker) = active.weaker {
            super::backend::fence(weaker);
        }
    }

    pub(crate) fn broken(rule: usize) -> bool {
        reach("rule", rule, SITES / 2 + rule).rule == Some(rule)
    }
}
pub(crate) use self::mutants::{broken, mutant, mutant_fence};
"""


class Stale(Exception):
    """A rule's code is not in the tree any more."""


def build(root, target, sites):
    """Builds the binary from a copy of the tree and returns its path."""
    tree = Path(target, "mutants")
    copy(root, tree)
    edits = {}
    for site in sites:
        edits.setdefault(site.path, []).extend(weaken(site))
    for number, rule in enumerate(RULES):
        edits.setdefault(rule.path, []).extend(breaking(root, number, rule))
    for path, changes in edits.items():
        write(tree / path, changed((tree / path).read_text(), changes))
    switch = tree / "src/sync/mod.rs"
    write(switch, switch.read_text() + SWITCH)
    manifest = tree / "Cargo.toml"
    if "[workspace]" not in manifest.read_text():
        write(manifest, manifest.read_text() + "\n[workspace]\n")
    return compiled(tree, target)


def copy(root, tree):
    for name in COPIED:
        source = Path(root, name)
        if source.is_dir():
            shutil.rmtree(tree / name, ignore_errors=True)
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__", ".venv"))
        elif source.is_file():
            tree.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, tree / name)


def write(path, text):
    path.write_text(text)


def weaken(site):
    if site.is_fence:
        return [(site.start, site.end, f"crate::sync::mutant_fence({site.number})")]
    return [
        (site.start, site.start, f"crate::sync::mutant({site.number}, "),
        (site.end, site.end, ")"),
    ]


def breaking(root, number, rule):
    text = Path(root, rule.path).read_text()
    if text.count(rule.within) != 1 or rule.shipped not in text[text.index(rule.within) :]:
        raise Stale(f"the rule against {rule.name}: its code is not in {rule.path} any more, or more than once")
    start = text.index(rule.shipped, text.index(rule.within))
    return [
        (start, start, f"if crate::sync::broken({number}) {{ {rule.broken} }} else {{ "),
        (start + len(rule.shipped), start + len(rule.shipped), " }"),
    ]


def changed(text, changes):
    """Applies replacements and insertions, the later positions first."""
    for start, end, new in sorted(changes, key=lambda change: change[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def compiled(tree, target):
    command = [os.environ.get("CARGO", "cargo"), "test", "--locked", "--release", "--lib", "--no-run"]
    command += ["--config", "profile.release.lto=false"]
    command += ["--target-dir", str(Path(target, "loom")), "--message-format", "json-render-diagnostics"]
    environment = {**os.environ, "RUSTFLAGS": FLAGS}
    output = subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "roomcast":
            return message["executable"]
    raise SystemExit("cargo names no test binary")
