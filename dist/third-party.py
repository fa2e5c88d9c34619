#!/usr/bin/env python3
"""Writes the licences of all that the binary is made of, as they come with it: what their notices ask of whoever hands a binary on.

usage: dist/third-party.py > FILE
"""

import collections
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")
# As `make build` has it, and for this machine alone: build scripts and tests are in no binary.
FEATURES = "roomcast-server/lab,roomcast/all-stores"
NAMES = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)


def cargo(*arguments):
    return subprocess.run([CARGO, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked():
    """Name and version of each crate in the binary, our own aside."""
    tree = ["tree", "--locked", "--offline", "-p", "roomcast-server", "--features", FEATURES, "-e", "normal"]
    lines = cargo(*tree, "--prefix", "none", "-f", "{p}").splitlines()
    found = {tuple(line.split()[:2]) for line in lines if line and "(proc-macro)" not in line and str(ROOT) not in line}
    return sorted((name, version.removeprefix("v")) for name, version in found)


def texts(folder):
    files = sorted(path for path in folder.iterdir() if path.is_file() and NAMES.match(path.name))
    return [path.read_text(errors="replace").strip() for path in files]


def main():
    metadata = json.loads(cargo("metadata", "--locked", "--offline", "--all-features", "--format-version", "1"))
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    whose = collections.defaultdict(list)
    print("What roomcast is made of beside its own code, each with the licence that it names.\n")
    for key in linked():
        package = packages[key]
        name = " ".join(key)
        print(f"{name}: {package['license'] or 'see its licence file'}")
        for text in texts(pathlib.Path(package["manifest_path"]).parent):
            whose[text].append(name)
    for text, names in sorted(whose.items(), key=lambda found: found[1]):
        print(f"\n{'=' * 80}\n{', '.join(names)}\n\n{text}")


main()
