"""Running models, one process each, and what came of it."""

import os
import re
import subprocess
import time
from dataclasses import dataclass

from build import VARIABLE

PANIC = re.compile(r"panicked at [^\n]*:\n([^\n]+)")
REACHED = re.compile(r"\breached (site|rule) (\d+)$", re.M)
EXECUTIONS = re.compile(r"(\d+) executions with up to (\d+) preemptions")
# Says that weakening took the race away, not that the model found anything.
NO_RACE = "the model has no race to explore"


@dataclass
class Baseline:
    """A model as shipped."""

    name: str
    seconds: float
    executions: int
    reached: set

    @property
    def patience(self):
        """Seconds a mutant may take: weaker orderings have more executions."""
        return max(60, 6 * self.seconds)


@dataclass
class Verdict:
    """`caught`, `timeout` or `survived`; by which model, and with which words."""

    kind: str
    model: str = ""
    words: str = ""


def models(binary):
    """The models by name, each with its path in the binary."""
    listed = subprocess.run([binary, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    paths = re.findall(r"^(loom_tests::\S+): test$", listed, re.M)
    return {path.rsplit("::", 1)[1]: path for path in paths}


def run(binary, path, mutant, patience):
    """The exit status (None after `patience`), and the output."""
    command = [binary, "--exact", path, "--nocapture", "--test-threads", "1"]
    environment = {**os.environ, VARIABLE: mutant}
    try:
        done = subprocess.run(
            command, env=environment, timeout=patience, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except subprocess.TimeoutExpired as late:
        return None, (late.output or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def baseline(binary, name, path, patience):
    """Runs a model without a mutant; it must pass."""
    begun = time.monotonic()
    status, output = run(binary, path, "reached", patience)
    if status != 0:
        raise SystemExit(f"{name} fails without any mutant:\n{output[-3000:]}")
    seconds = time.monotonic() - begun
    executions = EXECUTIONS.search(output)
    reached = {(kind, int(number)) for kind, number in REACHED.findall(output)}
    return Baseline(name, seconds, int(executions.group(1)) if executions else 0, reached)


def hunt(binary, paths, baselines, mutant, key, first):
    """Runs models under a mutant until one notices: those of the table's row first, then the quickest."""
    able = [name for name in baselines if key in baselines[name].reached]
    able.sort(key=lambda name: (name not in first, baselines[name].seconds))
    late = ""
    for name in able:
        status, output = run(binary, paths[name], mutant, baselines[name].patience)
        if status is None:
            late = late or name
        elif status != 0:
            words = PANIC.search(output)
            words = words.group(1) if words else f"ended with status {status}"
            if words != NO_RACE:
                return Verdict("caught", name, words)
    if late:
        return Verdict("timeout", late)
    return Verdict("survived", words="" if able else "no model comes here")
