"""The rules of deny.toml, on crates that keep and break them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from check_dependencies import ROOT, findings, is_allowed

ALLOWED = frozenset({"MIT", "Apache-2.0", "ISC"})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("MIT/Apache-2.0", True),
        ("GPL-2.0 / LGPL-2.1", False),
        ("MIT AND GPL-3.0", False),
        ("MIT AND GPL-3.0 OR ISC", True),
        ("MIT AND (GPL-3.0 OR ISC)", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("Apache-2.0 WITH LLVM-exception OR MIT", True),
    ],
)
def test_an_expression_is_met_by_allowed_licences_alone(expression: str, expected: bool) -> None:
    assert is_allowed(expression, ALLOWED) is expected


@pytest.mark.parametrize("expression", ["", "(MIT", "MIT)", "MIT OR", "MIT ISC"])
def test_what_is_no_expression_is_told(expression: str) -> None:
    with pytest.raises(ValueError, match="no SPDX expression"):
        is_allowed(expression, ALLOWED)


CRATES = "registry+https://github.com/rust-lang/crates.io-index"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, None),
        ({"license": None}, "licence"),
        ({"license": "AGPL-3.0"}, "licence"),
        ({"license": "MPL-2.0"}, "licence"),
        ({"license": "MPL-2.0", "name": "option-ext"}, None),
        ({"name": "openssl-sys"}, "banned"),
        ({"source": "git+https://example.org/x"}, "comes from"),
        ({"source": None, "dependencies": [{"name": "a", "req": "*"}]}, "no version"),
    ],
)
def test_rules_that_are_broken_are_named(change: dict[str, Any], found: str | None) -> None:
    rules = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
    crate = {"name": "a", "version": "1.0.0", "license": "MIT", "source": CRATES, "dependencies": []} | change
    wrong = list(findings(crate, rules))
    assert len(wrong) == (found is not None)
    assert found is None or found in wrong[0]
