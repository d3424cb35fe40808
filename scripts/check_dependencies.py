#!/usr/bin/env python3
"""Check the crates that the program is built from against deny.toml: their licences, their sources, the banned ones.

    scripts/check_dependencies.py

It reads what `cargo deny check bans licenses sources` reads, and asks `cargo metadata` for the crates of each target,
without a network. What it knows of a licence is what the crate declares; cargo-deny looks into the text, too. Several
versions of one crate are listed, and are no failure.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met by allowed licences alone. `A / B` is how crates once wrote `A OR B`."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    tokens.reverse()

    def either() -> bool:
        met = both()
        while tokens and tokens[-1] == "OR":
            tokens.pop()
            met = both() or met
        return met

    def both() -> bool:
        met = one()
        while tokens and tokens[-1] == "AND":
            tokens.pop()
            met = one() and met
        return met

    def one() -> bool:
        if not tokens:
            raise ValueError(f"{expression!r} is no SPDX expression")
        token = tokens.pop()
        if token == "(":
            met = either()
            if not tokens or tokens.pop() != ")":
                raise ValueError(f"{expression!r} is no SPDX expression")
            return met
        if len(tokens) > 1 and tokens[-1] == "WITH":
            tokens.pop()
            return f"{token} WITH {tokens.pop()}" in allowed
        return token in allowed

    met = either()
    if tokens:
        raise ValueError(f"{expression!r} is no SPDX expression")
    return met


def findings(package: dict[str, Any], rules: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a crate."""
    allowed = set(rules["licenses"]["allow"])
    for exception in rules["licenses"].get("exceptions", []):
        if exception["crate"] == package["name"]:
            allowed |= set(exception["allow"])
    licence = package["license"]
    try:
        if licence is None or not is_allowed(licence, frozenset(allowed)):
            yield f"its licence is {licence}"
    except ValueError as error:
        yield f"its licence: {error}"
    for ban in rules["bans"]["deny"]:
        if ban["crate"] == package["name"]:
            yield f"it is banned: {ban['reason']}"
    source = package["source"]
    sources = [f"registry+{url}" for url in rules["sources"]["allow-registry"]]
    if source is not None and source not in sources:
        yield f"it comes from {source}"
    for dependency in package["dependencies"]:
        if source is None and dependency["req"] == "*" and dependency.get("path") is None:
            yield f"its dependency {dependency['name']} has no version"


def packages(target: str, features: list[str]) -> list[dict[str, Any]]:
    """The crates that are built for a target."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target, *features]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    built = {node["id"] for node in metadata["resolve"]["nodes"]}
    return [package for package in metadata["packages"] if package["id"] in built]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    rules = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
    features = ["--all-features"] if rules["graph"]["all-features"] else []
    crates = {crate["id"]: crate for target in rules["graph"]["targets"] for crate in packages(target, features)}
    versions = defaultdict(list)
    for crate in crates.values():
        versions[crate["name"]].append(crate["version"])
    several = [f"{name} {', '.join(sorted(found))}" for name, found in sorted(versions.items()) if len(found) > 1]
    print(f"several versions: {'; '.join(several)}")
    wrong = [f"{c['name']} {c['version']}: {what}" for c in crates.values() for what in findings(c, rules)]
    if wrong:
        raise SystemExit("not as deny.toml says:\n" + "\n".join(sorted(wrong)))
    print(f"{len(crates)} crates, their licences and sources are as deny.toml says")


if __name__ == "__main__":
    main()
