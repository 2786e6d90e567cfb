"""A WordPiece teacher and a sentencepiece student of the same files, by the real commands."""

import pytest
import toy


@pytest.mark.slow
def test_the_example(tmp_path, venv):
    """All of run.sh, with a few updates."""
    _, said = toy.run_script(venv, "another_vocabulary/run.sh", tmp_path, 10)
    own, seen = (line for line in said.splitlines() if "valid on" in line)
    accuracy = own.split("| accuracy ")[1].split()[0]
    assert f"| teacher_accuracy {accuracy} " in seen
    # the same texts, by their fingerprints
    assert "were not compared" not in (tmp_path / "work" / "student.log").read_text()
    table = (tmp_path / "work" / "compare" / "compare.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    assert ["teacher", f"{float(accuracy):.1f}", "100.0"] in [row[1:4] for row in rows]
    assert "student" in [row[1] for row in rows if len(row) > 1]
    assert "film dull" in said.splitlines()[-1]
