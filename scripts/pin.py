"""Write the versions that uv resolved into constraints.txt (for pip) and pyproject.toml (for uv).

Run after changing a dependency: `uv lock --upgrade && uv run scripts/pin.py`. A lock file itself is not committed,
because it names the package index of whoever made it.
"""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_EXPORT = "uv export --all-groups --all-extras --no-hashes --no-emit-workspace --no-annotate --no-header --quiet"


def main() -> None:
    """Export the lock and write both lists."""
    exported = subprocess.run(_EXPORT.split(), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    pins = [line for line in exported.splitlines() if line and not line.startswith(("-e", "./"))]
    (ROOT / "constraints.txt").write_text("\n".join(pins) + "\n")
    listed = "".join(f"    {json.dumps(pin)},\n" for pin in pins)
    pyproject = ROOT / "pyproject.toml"
    block = re.compile(r"^constraint-dependencies = \[\n.*?^\]\n", re.M | re.S)
    pyproject.write_text(block.sub(lambda _: f"constraint-dependencies = [\n{listed}]\n", pyproject.read_text()))


if __name__ == "__main__":
    main()
