"""Every shell script against shellcheck."""

import subprocess
import sys
from pathlib import Path

from toy import ROOT

SCRIPTS = [
    path
    for folder in ("examples", "tests", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if (path.suffix in (".sh", ".sbatch") or path == ROOT / ".ci" / "run")
    and "out" not in path.parts[len(ROOT.parts) :]  # what examples leave behind
]


def test_shellcheck_finds_nothing():
    assert len(SCRIPTS) >= 7
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, *SCRIPTS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
