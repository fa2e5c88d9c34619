"""What docs/design.md says: the models of each row of the ordering table, and why some mutants live on."""

import re
from pathlib import Path

TABLE = "### The ordering table"
SURVIVORS = "### Weakenings that no model notices"


def section(root, heading):
    text = Path(root, "docs/design.md").read_text()
    if heading not in text:
        raise SystemExit(f"docs/design.md has no section {heading!r}")
    return re.split(r"^##+ ", text.split(heading, 1)[1], maxsplit=1, flags=re.M)[0]


def rows(root, heading):
    for line in section(root, heading).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) > 1:
            yield cells


def table(root, models):
    """The models that each row names, by `file::function`."""
    found = {}
    for cells in rows(root, TABLE):
        found[cells[0].strip("`")] = [word for word in re.findall(r"\w+", cells[-1]) if word in models]
    return found


def arguments(root):
    """Why a mutant is not noticed, by (site, weaker ordering)."""
    found = {}
    for cells in rows(root, SURVIVORS):
        if len(cells) != 4:
            raise SystemExit(f"a line of {SURVIVORS!r} has {len(cells)} cells: {' | '.join(cells)}")
        site = re.sub(r"`", "", cells[0])
        for weaker in cells[1].split(", "):
            found[site, weaker] = cells[2]
    return found
