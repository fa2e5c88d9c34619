"""Every ordering that shipped code names, and what weaker ones could stand in its place."""

import re
from dataclasses import dataclass
from pathlib import Path

WEAKER = {
    "AcqRel": ("Acquire", "Release"),
    "Acquire": ("Relaxed",),
    "Release": ("Relaxed",),
    "SeqCst": ("AcqRel",),
    "Relaxed": (),
}
# A fence(Relaxed) is refused by std and by loom, so the weakest fence is none.
WEAKER_FENCE = ("AcqRel", "no fence")

# Comments and literals; a quote that begins no character is a lifetime.
NOT_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\[^\n']+|[^\\'\n])'""", re.S)
IMPORT = re.compile(r"^\s*(?:pub(?:\([a-z]+\))?\s+)?use\s[^;]*;", re.M)
TESTS = re.compile(r"#\[cfg\((?:all\()?test\b")
TOKEN = re.compile(r"\b(?:" + "|".join(WEAKER) + r")\b")
FUNCTION = re.compile(r"\bfn\s+(\w+)")


@dataclass(frozen=True)
class Site:
    """One ordering in the code."""

    number: int
    path: str
    line: int
    # The row of the ordering table: `file::function`.
    row: str
    # What is done, as `leases.fetch_add`, and `failure` where it is the ordering of a failed exchange.
    operation: str
    ordering: str
    start: int
    end: int

    @property
    def name(self):
        return f"{self.row} {self.operation}"

    @property
    def is_fence(self):
        return self.operation.startswith("fence")

    @property
    def weakenings(self):
        return WEAKER_FENCE if self.is_fence else WEAKER[self.ordering]


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def shipped(text):
    """The code alone, each character where it was: no comments, literals, imports, unit tests."""
    code = IMPORT.sub(blank, NOT_CODE.sub(blank, text))
    tests = TESTS.search(code)
    return code[: tests.start()] if tests else code


def find(root, folders):
    """All sites in these folders, numbered in the order of files and lines."""
    sites = []
    for folder in folders:
        place = Path(root, folder)
        for path in sorted(place.rglob("*.rs")) if place.is_dir() else [place.with_suffix(".rs")]:
            sites += find_in(path, str(path.relative_to(root)), len(sites))
    return sites


def find_in(path, relative, before):
    code = shipped(path.read_text())
    place = relative.removeprefix("src/").removesuffix(".rs").removesuffix("/mod")
    found, seen = [], {}
    for token in TOKEN.finditer(code):
        functions = FUNCTION.findall(code, 0, token.start())
        row = f"{place}::{functions[-1] if functions else '(no function)'}"
        operation = operation_at(code, token.start())
        count = seen[row, operation] = seen.get((row, operation), 0) + 1
        if count > 1:
            operation += f" ({count})"
        start, end = token.span()
        if operation.startswith("fence"):
            start, end = code.rindex("fence", 0, start), code.index(")", end) + 1
        line = code.count("\n", 0, token.start()) + 1
        found.append(Site(before + len(found), relative, line, row, operation, token.group(), start, end))
    return found


def operation_at(code, at):
    """The call whose argument stands at `at`, by receiver and method."""
    opening = opening_before(code, at)
    if opening is None:
        return "value"
    method, left = word_before(code, opening)
    receiver = ""
    if code[left - 1] == ".":
        receiver = receiver_before(code, left - 1) + "."
    elif method == "update":
        receiver = re.match(r"\s*&?(?:\w+\.)*(\w+)", code[opening + 1 :]).group(1) + "."
    argument = commas(code, opening + 1, at)
    last = {"compare_exchange": 3, "compare_exchange_weak": 3, "update": 2, "try_update": 1}.get(method)
    return receiver + method + (" failure" if argument == last else "")


def opening_before(code, at):
    """Where the innermost parenthesis opens that is open at `at`."""
    depth = 0
    for index in range(at - 1, -1, -1):
        if code[index] in ")]}":
            depth += 1
        elif code[index] in "([{":
            if depth == 0:
                return index if code[index] == "(" else None
            depth -= 1
    return None


def word_before(code, at):
    left = at
    while left > 0 and (code[left - 1].isalnum() or code[left - 1] == "_"):
        left -= 1
    return code[left:at], left


def receiver_before(code, at):
    """The last name before a dot, without the arguments or the index behind it."""
    while code[at - 1].isspace():
        at -= 1
    while code[at - 1] in ")]":
        depth, at = 1, at - 1
        while depth:
            at -= 1
            depth += {")": 1, "]": 1, "(": -1, "[": -1}.get(code[at], 0)
    return word_before(code, at)[0]


def commas(code, start, end):
    depth = count = 0
    for character in code[start:end]:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        count += character == "," and depth == 0
    return count
