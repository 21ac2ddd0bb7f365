"""A private PostgreSQL for the tests: Debian's package, in a folder of its own, reached by a socket there alone."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.flow.service import HANG, wait_for

USER = "inkling"
# Small, but as durable as a real one.
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "fsync": "on",
}
# On a test, or on a module's `pytestmark`: run it on each database. Without it, the fixture gives SQLite.
both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


def programs() -> Path:
    """The folder of `initdb` and `postgres`. Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("initdb")
    if not found and beside is None:
        raise AssertionError("these tests need PostgreSQL: run scripts/postgresql.sh as root")
    return (found[-1] if found else Path(str(beside)).resolve()).parent


class Cluster:
    """One PostgreSQL server. It dies with the tests, however they end."""

    def __init__(self) -> None:
        # Directly in /tmp: a socket's path is short, and the server's user must be able to come here.
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-postgresql-", dir="/tmp"))
        self.identity: dict[str, object] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            names = {entry.pw_name for entry in pwd.getpwall()}
            owner = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self.identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.log = (self.folder / "log").open("w+")
        self.process: subprocess.Popen[bytes] | None = None
        self.data = self.folder / "data"
        self._run("initdb", "--pgdata", str(self.data), "--username", USER, "--auth", "trust", "--encoding", "UTF8",
                  "--locale", "C", "--no-sync")  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C"}  # no PG… variable of whoever runs the tests

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(programs() / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, **self.identity
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        settings = [f"-c{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": self.folder}.items()]
        command = [
            "setpriv",
            "--pdeathsig",
            "QUIT",
            "--",
            str(programs() / "postgres"),
            "-D",
            str(self.data),
            *settings,
        ]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=self._environment(), stdout=self.log, stderr=self.log, **self.identity
        )
        wait_for("PostgreSQL answers", self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self._admin("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, but in order. SIGQUIT: like a power cut. Open connections are lost either way."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(HANG)
            self.process = None

    @contextmanager
    def away(self, how: signal.Signals = signal.SIGINT) -> Iterator[None]:
        """Without a server inside the block."""
        self.stop(how)
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder)

    # -- databases ---------------------------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """As a user would write it."""
        return f"postgresql://{USER}@/{name}?host={quote(str(self.folder), safe='')}"

    def connect(self, name: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host=str(self.folder), user=USER, dbname=name, autocommit=True)

    def _admin(self, statement: str) -> None:
        with self.connect() as connection:
            connection.execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, empty database; its name."""
        name = f"test_{secrets.token_hex(6)}"
        self._admin(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self._admin(f"DROP DATABASE {name} WITH (FORCE)")
