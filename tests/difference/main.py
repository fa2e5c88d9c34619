"""Plays every script to Centrifugo and to roomcast and compares what they say; fails on a difference that is not in the list,
and on a row of the list that nothing shows any more. Words narrow it to the scripts whose name has one of them.

ROOMCAST_DIFFERENCE_SEED   of the generated scripts
ROOMCAST_DIFFERENCE_COUNT  how many of them
ROOMCAST_WRITE_PAGE        where the result goes
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import generate
import scripts  # noqa: F401 (fills the list of entries)
from backend import Backend
from compare import Comparison, Difference
from play import Play
from script import ENTRIES, Entry
from servers import Server, configurations, start, with_backend, with_backend_and_signs

# What differs is played again, to more patient ears: a push that came late is no difference.
QUIET_S = [0.04, 0.25, 0.8]
AT_ONCE = 24
PATIENTLY_AT_ONCE = 6
SEED = int(os.environ.get("ROOMCAST_DIFFERENCE_SEED", "1"))
COUNT = int(os.environ.get("ROOMCAST_DIFFERENCE_COUNT", "150"))


class Run:
    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.comparison = Comparison()
        self.differences: list[Difference] = []
        self.plays = self.steps = 0
        needed = {entry.configuration for entry in entries}
        self.servers: dict[str, tuple[Server, Server]] = {}
        self.backend = Backend()
        all_of_them = configurations() | {
            "backend": with_backend(self.backend.url),
            "backend_signs": with_backend_and_signs(self.backend.url),
        }
        for name, configuration in all_of_them.items():
            if name in needed:
                self.servers[name] = (start("centrifugo", configuration), start("roomcast", configuration))

    def stop(self) -> None:
        for pair in self.servers.values():
            for server in pair:
                server.stop()
        self.backend.stop()

    async def play_all(self) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        lone = asyncio.Semaphore(PATIENTLY_AT_ONCE)

        async def one(number: int, entry: Entry, encoding: str) -> None:
            for attempt, quiet_s in enumerate(QUIET_S):
                async with gate if attempt == 0 else lone:
                    found = await self._play(f"{number}{encoding[0]}{attempt}", entry, encoding, quiet_s)
                if all(difference.known for difference in found):
                    break
            self.differences += found

        plays = [(number, entry, encoding) for number, entry in enumerate(self.entries) for encoding in entry.encodings]
        self.plays = len(plays)
        await asyncio.gather(*(one(*play) for play in plays))

    async def _play(self, suffix: str, entry: Entry, encoding: str, quiet_s: float) -> list[Difference]:
        steps = [entry.steps(suffix, encoding) for _ in range(2)]
        self.steps += len(steps[0])
        pair = self.servers[entry.configuration]
        theirs, ours = await asyncio.gather(
            *(Play(server, encoding, quiet_s, lambda server=server: self.backend.told(server.name, suffix)).run(each) for server, each in zip(pair, steps))
        )
        return self.comparison.compare(entry.name, encoding, theirs, ours)

    def result(self) -> str:
        """The page of docs/results, without its head."""
        unknown = [difference for difference in self.differences if difference.known is None]
        lines = [
            f"- scripts: {len(self.entries)}, of which {COUNT} are generated with seed {SEED}; played in each encoding "
            f"that they are for, {self.plays} plays to each server, {self.steps} steps",
            f"- differences that are not in the list: {len(unknown)}",
            "",
            "| difference | why | plays that show it |",
            "|---|---|--:|",
        ]
        for row in self.comparison.rows:
            lines.append(f"| {row.name} | {row.why} | {len(set(row.seen))} |")
        return "\n".join(lines) + "\n"


def main() -> int:
    generate.add(SEED, COUNT)
    words = sys.argv[1:]
    entries = [entry for entry in ENTRIES if not words or any(word in entry.name for word in words)]
    began = time.monotonic()
    run = Run(entries)
    try:
        asyncio.run(run.play_all())
    finally:
        run.stop()
    unknown = [difference for difference in run.differences if difference.known is None]
    for difference in unknown:
        print(difference)
    stale = [] if words else [row.name for row in run.comparison.rows if not row.seen]
    for name in stale:
        print(f"nothing shows this known difference any more: {name}")
    if page := os.environ.get("ROOMCAST_WRITE_PAGE"):
        with Path(page).open("a") as file:
            file.write(run.result())
    print(f"{run.plays} plays of {len(entries)} scripts, {run.steps} steps, {time.monotonic() - began:.0f} s")
    failed = len({(difference.script, difference.encoding) for difference in unknown}) + len(stale)
    print(f"{run.plays - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
