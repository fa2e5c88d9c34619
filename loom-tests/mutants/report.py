"""What is wrong with the results, and the page that shows them."""

import datetime
import os
import subprocess
from pathlib import Path

import folders

# How the names begin of mutants that a model must notice.
LOW = tuple(f"{Path(folder).name}/" for folder in folders.LOW)
TREE = (*folders.LOW, *folders.HIGH, "loom-tests")


def complaints(results, argued, known, with_rooms):
    found = []
    for name, weaker, verdict in results:
        what = f"{name} -> {weaker}" if weaker else f"broken: {name}"
        argument = argued.get((name, weaker))
        must = not weaker or name.startswith(LOW)
        if verdict.kind == "survived" and not argument and must:
            found.append(f"{what}: no model notices, and docs/design.md does not say why")
        if verdict.kind != "survived" and argument:
            found.append(f"{what}: {verdict.model} notices; the argument in docs/design.md is out of date")
    for name, weaker in argued:
        if (name, weaker) not in known and (with_rooms or name.startswith(LOW)):
            found.append(f"{name} -> {weaker}: docs/design.md argues for a mutant that does not exist")
    return found


def summary(sites, results, seconds):
    kinds = [verdict.kind for _, _, verdict in results]
    strongest = sum(1 for site in sites if not site.weakenings)
    return (
        f"{len(sites)} orderings, {strongest} of them Relaxed already; {len(results)} mutants: "
        f"{kinds.count('caught')} caught by a model, {kinds.count('timeout')} stopped for taking too long, "
        f"{kinds.count('survived')} not noticed; {seconds / 60:.0f} minutes"
    )


def machine():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} cores"


def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def page(sites, baselines, results, argued, seconds):
    orderings = {site.name: site.ordering for site in sites}
    lines = [
        "# What the models notice",
        "",
        f"Written by `make loom-mutants`, which weakens every ordering of `src/{folders.names(folders.LOW)}` in turn, breaks the",
        "rules of the design one at a time, and runs the models that come by until one fails. How to read it, and the",
        "arguments for what is not noticed, are in section 7 of [how roomcast is built](../design.md).",
        "",
        f"- machine: {machine()}",
        f"- commit: {said('git', 'describe', '--always', '--dirty')}",
        f"- tree: {said('tests/make/tree.sh', *TREE)} of {' '.join(TREE)}",
        f"- date: {datetime.date.today()}",
        f"- {summary(sites, results, seconds)}",
        "",
        "## Orderings",
        "",
        "| operation | shipped | mutant | noticed by |",
        "|---|---|---|---|",
    ]
    for name, weaker, verdict in results:
        if weaker:
            lines.append(f"| `{name}` | {orderings[name]} | {weaker} | {told(verdict, argued.get((name, weaker)))} |")
    lines += ["", "## Rules", "", "| broken rule | noticed by |", "|---|---|"]
    lines += [f"| {name} | {told(verdict, None)} |" for name, weaker, verdict in results if not weaker]
    lines += ["", "## Relaxed already", ""]
    lines += ["Nothing is weaker: " + ", ".join(f"`{site.name}`" for site in sites if not site.weakenings) + "."]
    lines += ["", "## The models as shipped", "", "| model | executions | seconds |", "|---|---|---|"]
    lines += [f"| `{model.name}` | {model.executions:,} | {model.seconds:.1f} |" for model in baselines.values()]
    return "\n".join(lines) + "\n"


def told(verdict, argument):
    if verdict.kind == "caught":
        words = verdict.words.replace("|", "/").strip()
        return f"`{verdict.model}`: {words[:100]}"
    if verdict.kind == "timeout":
        return f"`{verdict.model}`, by not coming to an end"
    where = " (no model comes here)" if verdict.words else ""
    return f"none{where}; {'argued in the design' if argument else '**not argued**'}"
