"""Compares what two servers have told the same script, and looks each difference up in the list of the known ones."""

import dataclasses
import itertools
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from play import Outcome, Told

# What is the application's.
PAYLOADS = ("data", "conn_info", "chan_info", "tags")
LIST = Path(__file__).with_name("known.toml")


@dataclass
class Difference:
    script: str
    encoding: str
    number: int
    step: str
    room: str
    actor: str
    centrifugo: str
    roomcast: str
    known: Optional[str] = None

    def __str__(self) -> str:
        head = f"{self.script} ({self.encoding}), step {self.number} {self.step} {self.room}, {self.actor} is told"
        return f"{head}\n    by Centrifugo: {_indented(self.centrifugo)}\n    by roomcast:   {_indented(self.roomcast)}"


def _indented(text: str) -> str:
    return (text or "nothing").replace("\n", "\n                   ")


@dataclass
class Row:
    """A known difference: a field that is passed over, or a pair of answers to a step."""

    name: str
    why: str
    step: str = ".*"
    room: str = ""
    field: Optional[str] = None
    centrifugo: str = ""
    roomcast: str = ""
    script: str = ""
    # What comes after it in a script says nothing: the two have gone different ways.
    parts: bool = False
    seen: list[str] = dataclasses.field(default_factory=list)

    def fits(self, difference: Difference) -> bool:
        return (
            self.field is None
            and re.fullmatch(self.step, difference.step) is not None
            and re.search(self.room, difference.room) is not None
            and re.search(self.script, difference.script) is not None
            and re.search(self.centrifugo, difference.centrifugo) is not None
            and re.search(self.roomcast, difference.roomcast) is not None
        )


class Comparison:
    def __init__(self) -> None:
        known = tomllib.loads(LIST.read_text())
        self.rows = [Row(**row) for row in known["difference"]]
        self.fields = [row for row in self.rows if row.field is not None]

    def compare(self, script: str, encoding: str, theirs: list[Outcome], ours: list[Outcome]) -> list[Difference]:
        """What differs; rows note what they have explained. Ends where the two part."""
        found = []
        where = f"{script} ({encoding})"
        for number, (their, our) in enumerate(zip(theirs, ours), start=1):
            parted = False
            for actor in their.told.keys() | our.told.keys():
                nothing = Told(actor, [])
                one, other = their.told.get(actor, nothing), our.told.get(actor, nothing)
                step = their.step.kind
                left = self._without_fields(step, one, other, where)
                if left is not None:
                    difference = Difference(script, encoding, number, step, their.step.room, actor, *left)
                    row = next((row for row in self.rows if row.fits(difference)), None)
                    if row is not None:
                        difference.known = row.name
                        row.seen.append(where)
                        parted |= row.parts
                    found.append(difference)
                parted |= one.is_closed != other.is_closed
            if parted:
                break
        return found

    def _without_fields(self, step: str, one: Told, other: Told, where: str) -> Optional[tuple[str, str]]:
        if one.text == other.text:
            return None
        lines = list(itertools.zip_longest(one.lines, other.lines, fillvalue=""))
        for row in (row for row in self.fields if re.fullmatch(row.step, step)):
            for index, pair in enumerate(lines):
                shorter = (_cut(pair[0], row.field), _cut(pair[1], row.field))
                # What both of them say is compared.
                if (shorter[0] == pair[0]) != (shorter[1] == pair[1]) or "" in pair:
                    if "" not in pair:
                        row.seen.append(where)
                    lines[index] = shorter
        texts = ["\n".join(pair[side] for pair in lines if pair[side]) for side in (0, 1)]
        return None if texts[0] == texts[1] else (texts[0], texts[1])


def _cut(line: str, path: Optional[str]) -> str:
    """The line without the field at this path, as `connect.session`; a star stands for every name, two for any path."""
    assert path is not None
    begin = line.find("{")
    if begin < 0:
        return line
    try:
        value = json.loads(line[begin:])
    except ValueError:
        return line
    _remove(value, path.split("."))
    return line[:begin] + json.dumps(value, sort_keys=True, ensure_ascii=False)


def _remove(value: Any, path: list[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _remove(item, path)
    elif isinstance(value, dict) and path[0] == "**":
        _remove(value, path[1:])
        for name, item in value.items():
            if name not in PAYLOADS:
                _remove(item, path)
    elif isinstance(value, dict):
        for name in list(value) if path[0] == "*" else [path[0]]:
            if len(path) == 1:
                value.pop(name, None)
            elif name in value:
                _remove(value[name], path[1:])
