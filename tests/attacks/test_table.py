"""The table of attacks in the documentation is that of the data."""

from __future__ import annotations

from pathlib import Path

from attacks.attacks import ALL
from attacks.kernel_attacks import KERNEL
from attacks.table import STOPPED, markdown
from attacks.wire_attacks import WIRE


def test_every_attack_has_a_line_and_no_line_is_without_its_attack() -> None:
    assert list(STOPPED) == [attack.name for attack in (*ALL, *KERNEL, *WIRE)]


def test_the_documentation_has_the_table_as_it_is() -> None:
    page = Path(__file__).parents[2] / "docs" / "attacks.md"
    assert markdown() in page.read_text("utf-8")
