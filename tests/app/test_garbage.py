"""When the service looks for garbage: not while it starts, and again when it answers."""

import os
import subprocess
import sys
from pathlib import Path

WATCHED = """
import gc, os, signal, sys
import app.serve as serve

create_app, startup = serve.create_app, serve._Server.startup

def created(settings):
    print("looks while it starts:", gc.isenabled())
    return create_app(settings)

async def started(self, sockets=None):
    await startup(self, sockets)
    print("looks when it answers:", gc.isenabled())
    os.kill(os.getpid(), signal.SIGTERM)

serve.create_app, serve._Server.startup = created, started
sys.argv = ["app", "serve", "--no-worker"]
from app.cli import main
main()
"""


def test_no_garbage_is_looked_for_until_the_service_answers(tmp_path: Path) -> None:
    environment = os.environ | {"INKLING_DATA_DIR": str(tmp_path / "data"), "INKLING_PORT": "0"}
    command = [sys.executable, "-c", WATCHED]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert "looks while it starts: False\n" in ended.stdout
    assert "looks when it answers: True\n" in ended.stdout
