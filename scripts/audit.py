"""Are there known vulnerabilities in what the images install? Asks PyPI's service through pip-audit.

    python scripts/audit.py [--strict]

Exit code 1 when there are. A service that cannot be asked answers nothing, and pip-audit then says that it found
nothing: so it is first asked about a release that has some. When it does not know those, this says "not checked" and
ends with 0, with --strict 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILES = ("train.txt", "data.txt")  # api.txt is within the first
KNOWN = "jinja2==2.4.1"  # vulnerable since 2014
TIMEOUT = 300  # seconds for all
ACCEPTED: dict[str, str] = {}  # the id of a vulnerability: why it does no harm here


def pins() -> list[str]:
    """Every release that the images install, torch too, without hashes."""
    lines = [line for file in FILES for line in (ROOT / "requirements" / file).read_text().splitlines()]
    found = [line.split(" ")[0] for line in lines if "==" in line and not line.startswith((" ", "#"))]
    torch = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    return found + torch


def ask(releases: list[str]) -> list[dict[str, Any]]:
    """What is known of each. Raises ValueError saying why it could not be asked."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(releases))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "-r", file.name, "--disable-pip", "--no-deps", "--format", "json"]
        try:
            done = subprocess.run(
                [*command, "--progress-spinner", "off", "--timeout", "10"],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"it took more than {TIMEOUT} s") from None
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise ValueError((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]) from None
    return found


def audit() -> tuple[int | None, str]:
    """How many vulnerabilities there are that nobody accepted, None for not checked; and what to print."""
    try:
        control = ask([KNOWN])
        if not any(each.get("vulns") for each in control):
            said = control[0].get("skip_reason", "it knows none") if control else "it knows none"
            return None, f"vulnerabilities: NOT CHECKED: the service does not know those of {KNOWN} ({said})"
        found = ask(pins())
    except ValueError as error:
        return None, f"vulnerabilities: NOT CHECKED: the service cannot be asked ({error})"
    lines, open_ones = [], 0
    for each in found:
        for flaw in each.get("vulns", ()):
            why = ACCEPTED.get(flaw["id"])
            open_ones += why is None
            fixed = ", ".join(flaw.get("fix_versions", ())) or "no release yet"
            lines.append(f"{each['name']} {each['version']}: {flaw['id']}, fixed in {fixed}; {why or 'OPEN'}")
    unknown = [each["name"] for each in found if "skip_reason" in each]
    if unknown:
        lines.append(f"not checked, since the service does not know them: {', '.join(unknown)}")
    lines.append(f"vulnerabilities: {open_ones} in {len(found) - len(unknown)} packages that were checked")
    return open_ones, "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--strict", action="store_true", help="fail when it cannot be checked")
    strict = parser.parse_args().strict
    count, said = audit()
    print(said)
    return int(strict) if count is None else int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
