"""Debian's nginx with deploy/nginx/nginx.conf, in front of services of these tests."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import httpx

from tests.flow.service import HANG, free_port, wait_for

CONF = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "nginx.conf"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program() -> str | None:
    """Debian keeps it out of a user's PATH. None: it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Nginx:
    """One server; `url` is where it listens."""

    def __init__(self, ports: list[int], workers: int = 1) -> None:
        found = program()
        assert found is not None, "these tests need nginx: run scripts/nginx.sh as root"
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-nginx-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.folder / "nginx.conf").write_text(self._conf(ports, workers), encoding="utf-8")
        command = [found, "-p", str(self.folder), "-c", "nginx.conf", "-g", "daemon off;"]
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "QUIT", "--", *command])
        wait_for("nginx listens", self._listens, HANG)

    def _conf(self, ports: list[int], workers: int) -> str:
        """As it is deployed, but for the addresses and where files lie."""
        conf = CONF.read_text(encoding="utf-8")
        server = re.compile(r"^ *server (api-\d+:8000)( .*;)$", re.MULTILINE)
        options = server.search(conf)
        assert options is not None
        servers = "\n".join(f"    server 127.0.0.1:{port}{options.group(2)}" for port in ports)
        conf = server.sub("", conf).replace("    least_conn;", f"{servers}\n    least_conn;")
        conf = conf.replace("listen 8080", f"listen 127.0.0.1:{self.port}")
        conf = conf.replace("worker_processes auto;", f"worker_processes {workers}; pid {self.folder}/pid;")
        paths = "".join(f"  {name}_temp_path {self.folder}/{name};\n" for name in TEMPORARY)
        return conf.replace("http {\n", "http {\n" + paths)

    def _listens(self) -> bool:
        assert self.process.poll() is None, "nginx ended"
        try:
            return httpx.get(f"{self.url}/metrics").status_code == 404
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(HANG)
        shutil.rmtree(self.folder, ignore_errors=True)
