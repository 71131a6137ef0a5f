"""Tables on a terminal: numbers stay whole, prose is wrapped, columns leave before anything is cut."""

from __future__ import annotations

import re

import pytest

from inceptions.cli.terminal import certainty, table

ROWS = [
    ("googlenet", 6_998_552, "224x224", 1_582_671_872, "an early network with parallel branches of four kinds"),
    ("xception71", 42_338_736, "299x299", 17_946_553_928, "a late one"),
]
COLUMNS = ("model", "parameters", "input size", "multiply-adds", "what it is")


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """What `table` prints on a terminal of so many columns, without colors."""

    def print_on(width: int, **options: tuple[str, ...]) -> list[str]:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(width))
        table(ROWS, COLUMNS, **options)  # type: ignore[arg-type]
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return print_on


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_number_is_ever_cut(shown, width: int) -> None:  # type: ignore[no-untyped-def]
    lines = shown(width, dispensable=("input size",))
    for row in ROWS:
        for cell in (row[0], f"{row[1]:,}", f"{row[3]:,}"):
            assert any(re.search(rf"(^|\s){re.escape(cell)}(\s|$)", line) for line in lines), cell
    assert max(map(len, lines)) <= width


def test_prose_is_wrapped_between_words(shown) -> None:  # type: ignore[no-untyped-def]
    lines = shown(90)
    column = lines[0].index("what it is") if "what it is" in lines[0] else lines[1].index("what it is")
    prose = " ".join(line[column:].strip() for line in lines if not line.startswith("─"))
    assert len(lines) > 3 + len(ROWS)
    assert f"{ROWS[0][4]} {ROWS[1][4]}" in prose


def test_columns_leave_in_order_and_are_named(shown) -> None:  # type: ignore[no-untyped-def]
    assert "not shown" not in "\n".join(shown(140, dispensable=("what it is", "input size")))
    narrow = shown(50, dispensable=("what it is", "input size"))
    assert narrow[-1] == "not shown on 50 columns: what it is"
    assert "224x224" in "\n".join(narrow)


def test_what_fits_nowhere_becomes_a_block_a_row(shown) -> None:  # type: ignore[no-untyped-def]
    lines = shown(40)
    assert "multiply-adds  1,582,671,872" in lines
    assert lines.count("") == 1


def test_a_pipe_gets_every_column(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table(ROWS, COLUMNS, dispensable=COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert all(
        str(cell) in line for row, line in zip(ROWS, lines[2:], strict=True) for cell in (row[0], row[2], row[4])
    )


def test_yes_and_no_stand_left(capsys: pytest.CaptureFixture[str]) -> None:
    table([(True, "a"), (False, "b")], ("kept", "name"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["yes", "no"]


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(1.0, "100.0 %"), (0.99999, ">99.9 %"), (0.9994, "99.9 %"), (0.5, "50.0 %"), (1e-9, "<0.1 %"), (0.0, "0.0 %")],
)
def test_rounding_makes_no_answer_certain(probability: float, shown: str) -> None:
    assert certainty(probability) == shown
