"""The folders of the core, as the Makefile lists them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def listed(variable):
    line = re.search(rf"^{variable} := (.+)$", (ROOT / "Makefile").read_text(), re.M)
    if not line:
        raise SystemExit(f"the Makefile has no line {variable} := ...")
    return tuple(line.group(1).split())


# What is made of atomics: each ordering there must be noticed, or argued for.
LOW = listed("CORE_LOW")
# What is made of those.
HIGH = listed("CORE_HIGH")


def names(folders):
    """`{sync,ring}` of `src/sync` and `src/ring`."""
    return "{" + ",".join(Path(folder).name for folder in folders) + "}"
