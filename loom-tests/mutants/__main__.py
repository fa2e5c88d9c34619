"""Weakens every ordering of the lock-free core in turn, and breaks its rules: is there a model that notices?

`make loom-mutants` runs it. Each mutant is caught by a model, which is named, or docs/design.md argues why it cannot be
or need not be; anything else fails, and so does an argument for a mutant that is caught after all.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import design
import folders
import report
import run
import sites
from rules import RULES

ROOT = folders.ROOT
BASELINE_PATIENCE = 900


def arguments():
    parser = argparse.ArgumentParser(prog="make loom-mutants", description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose name contains this text")
    parser.add_argument("--list", action="store_true", help="list the mutants and end")
    parser.add_argument("--room", action="store_true", help=f"orderings in src/{folders.names(folders.HIGH)} as well")
    parser.add_argument("--jobs", type=int, default=2, help="models that run at a time")
    parser.add_argument("--write", type=Path, help="write the results to this file")
    return parser.parse_args()


def mutants(found):
    """(name, weaker, what the environment says, what a model that can notice it has reached, row)"""
    for site in found:
        for weaker in site.weakenings:
            yield site.name, weaker, f"site {site.number} {weaker.replace(' ', '-')}", ("site", site.number), site.row
    for number, rule in enumerate(RULES):
        yield rule.name, "", f"rule {number}", ("rule", number), ""


def main():
    options = arguments()
    found = sites.find(ROOT, folders.LOW + (folders.HIGH if options.room else ()))
    wanted = [mutant for mutant in mutants(found) if options.only in mutant[0]]
    if options.list:
        for name, weaker, *_ in wanted:
            print(name, "->", weaker or "broken")
        return 0
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    begun = time.monotonic()
    binary = build.build(ROOT, target, found)
    with tempfile.TemporaryDirectory() as folder:
        # A copy, since the next build would replace what is running here.
        return measure(options, found, wanted, shutil.copy2(binary, folder), begun)


def measure(options, found, wanted, binary, begun):
    paths = run.models(binary)
    table = design.table(ROOT, paths)
    complaints = [f"docs/design.md has no row `{site.row}`" for site in found if site.row not in table]
    with ThreadPoolExecutor(options.jobs) as pool:
        baselines = dict(
            zip(paths, pool.map(lambda name: run.baseline(binary, name, paths[name], BASELINE_PATIENCE), paths))
        )
        print(f"{len(paths)} models pass without a mutant, {time.monotonic() - begun:.0f} s", flush=True)

        def hunt(mutant):
            name, weaker, environment, key, row = mutant
            first = table.get(row, [])
            verdict = run.hunt(binary, paths, baselines, environment, key, first)
            print(f"{name} -> {weaker or 'broken'}: {verdict.kind} {verdict.model} {verdict.words}", flush=True)
            return name, weaker, verdict

        results = list(pool.map(hunt, wanted))
    argued = design.arguments(ROOT)
    complaints += report.complaints(results, argued, {mutant[:2] for mutant in mutants(found)}, options.room)
    seconds = time.monotonic() - begun
    print(report.summary(found, results, seconds))
    if options.write:
        options.write.write_text(report.page(found, baselines, results, argued, seconds))
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
