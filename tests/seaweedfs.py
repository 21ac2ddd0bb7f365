"""A private S3 server for the tests: SeaweedFS, by scripts/seaweedfs.sh, in a folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.flow.service import HANG, free_port, wait_for

WEED = Path(__file__).parent.parent / "build" / "seaweedfs" / "bin" / "weed"
BUCKET = "inkling"
KEY, SECRET = "inkling-tests", "no secret at all"
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
         "s3.port", "s3.port.grpc")  # fmt: skip


class ObjectServer:
    """One server. It dies with the tests, however they end."""

    def __init__(self) -> None:
        if not WEED.exists():
            pytest.skip("these tests need an S3 server: run scripts/seaweedfs.sh")
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-s3-", dir="/tmp"))
        identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.log = (self.folder / "log").open("w+")
        self.process: subprocess.Popen[bytes] | None = None
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.ports = {name: free_port() for name in PORTS}
        self.endpoint = f"http://127.0.0.1:{self.ports['s3.port']}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def start_anywhere(self) -> None:
        """As `start`, on other ports where another test took one of them meanwhile."""
        for _ in range(2):
            try:
                self.start()
            except AssertionError:
                self.stop()
                self._choose_ports()
            else:
                return
        self.start()

    def start(self) -> None:
        options = {
            "dir": self.folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 30,
            "s3.config": self.folder / "s3.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            **self.ports,
        }
        arguments = [f"-{name}={value}" for name, value in options.items()]
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(WEED), "-logtostderr=true", "server", "-filer", "-s3"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        self.process = subprocess.Popen(
            [*command, *arguments], cwd=self.folder, env=environment, stdout=self.log, stderr=self.log
        )
        wait_for("the S3 server answers", self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
        bucket = f"http://127.0.0.1:{self.ports['filer.port']}/buckets/{BUCKET}"
        try:
            httpx.get(self.endpoint)
            httpx.post(f"{bucket}/")  # 409 where it is there already
            return httpx.put(f"{bucket}/probe", content=b"it can be written").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Like a power cut."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(HANG)
            self.process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Without a server inside the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder)
