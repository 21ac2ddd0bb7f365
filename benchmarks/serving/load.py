"""The load: wrk, keep-alive connections that ask again as soon as they are answered, each time another body."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = """
local requests, at = {}, 0
function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(os.getenv("BODIES")) do
    requests[#requests + 1] = wrk.format("POST", os.getenv("ROUTE"), headers, line)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT {"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Answered:
    """What wrk saw. Times in milliseconds; `errors` are answers other than 2xx and broken connections."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int


class NoLoad(Exception):
    """There is no load generator, or it ended with an error."""


def ensure_wrk() -> str:
    """Install wrk where it is missing. Raises NoLoad saying how to do it by hand. Returns what it says of itself."""
    if shutil.which("wrk") is None:
        apt = ["apt-get", "install", "-y", "--no-install-recommends", "wrk"]
        if shutil.which("apt-get") is None or subprocess.run(apt, capture_output=True).returncode:
            raise NoLoad("wrk is missing and could not be installed: apt install wrk")
    return subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("[")[0].strip()


def run(
    port: int, route: str, bodies: Sequence[dict[str, Any]], connections: int, seconds: float, cores: set[int] | None
) -> Answered:
    """Ask with `bodies` in turn. Raises NoLoad."""
    with tempfile.TemporaryDirectory() as folder:
        script, file = Path(folder) / "ask.lua", Path(folder) / "bodies"
        script.write_text(SCRIPT)
        file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
        pinned = [] if cores is None else ["taskset", "-c", ",".join(map(str, sorted(cores)))]
        # wrk knows whole seconds alone
        how = ["-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "30s"]
        done = subprocess.run(
            [*pinned, "wrk", *how, "-s", str(script), f"http://127.0.0.1:{port}"],
            env={**os.environ, "BODIES": str(file), "ROUTE": route},
            capture_output=True,
            text=True,
        )
    return parse(done.stdout + done.stderr)


def parse(output: str) -> Answered:
    """What the script's last line says. Raises NoLoad."""
    said = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if not said:
        raise NoLoad(f"wrk ended without a result:\n{output[-2000:]}")
    return Answered(**json.loads(said[0]))
