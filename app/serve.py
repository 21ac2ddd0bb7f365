"""`python -m app serve`: the web application in this process and one worker beside it, started and stopped as one.

The worker is a process of its own, not a task in here: training must not slow an answer, nor take the service along
when it crashes or runs out of memory.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from app import __version__
from app.core.config import Settings
from app.core.connections import Watch, bounded, room_for
from app.core.errors import StartError
from app.core.shedding import protocol_of
from app.locks import hold, share
from app.main import create_app
from ml.process import give_back_freed_memory

log = logging.getLogger(__name__)

START_SECONDS = 0.5  # whoever asks at once has the cores: the worker's start takes as much as the API's own
RESTART_SECONDS = 1.0
GRACE_SECONDS = 7  # for open requests when stopping
KEPT_OPEN_SECONDS = 1.0  # for connections that are kept alive: in this time their next answer can say that they end
# Longer than clients keep one (httpx 5 s, as uvicorn by itself): they must end it first, or a request meets a
# connection that is just being closed. Idle ones are ended by `Watch`, after the time that slow clients are given.
KEEP_ALIVE_SECONDS = 65
LISTEN_FD = 3  # SD_LISTEN_FDS_START
# By default 700 new objects, which are those of a few requests under way, are looked through again and again: a
# twentieth of a small model's answer.
GARBAGE = (10_000, 10, 10)
WORKER_GRACE_SECONDS = 30.0  # for a checkpoint; then the worker is killed


class WorkerProcess:
    """Keeps one worker alive: starts it again when it ends, until told to stop. Belongs to the main thread's loop."""

    def __init__(self, settings: Settings) -> None:
        # Its folder is on the command line, so that whoever looks at the processes sees which is whose.
        folder = str(settings.data_dir.resolve())
        self._arguments = ("-m", "app", "worker", "--data-dir", folder, "--parent", str(os.getpid()))
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        self._keeper = asyncio.create_task(self.keep())

    async def keep(self) -> None:
        await asyncio.sleep(START_SECONDS)
        while not self._stopping:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, stdin=asyncio.subprocess.DEVNULL
            )
            code = await self._process.wait()
            if not self._stopping:
                log.error("the worker ended with code %d; starting it again", code)
                await asyncio.sleep(RESTART_SECONDS)

    def terminate(self) -> None:
        """Ask the worker to write a checkpoint and end. Safe in a signal handler."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGTERM)

    async def stop(self) -> None:
        """Does nothing where it was not started."""
        self.terminate()
        if self._keeper is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._keeper), WORKER_GRACE_SECONDS)
        except TimeoutError:
            if self._process is not None:
                self._process.kill()
            await self._keeper


class _Server(uvicorn.Server):
    """Uvicorn, telling the worker to stop at once and the user where to look."""

    def __init__(
        self,
        config: uvicorn.Config,
        worker: WorkerProcess,
        with_worker: bool,
        url: str,
        settings: Settings,
        stopping: threading.Event,
        watch: Watch,
    ) -> None:
        super().__init__(config)
        self._worker, self._with_worker = worker, with_worker
        self._url, self._settings, self._stopping, self._watch = url, settings, stopping, watch

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: a full collection that walks over it stops every answer for a tenth of a second.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        gc.enable()
        # A thread that loads a version gives the interpreter up ten times sooner than by default: in its 5 ms turns
        # answers would queue up.
        sys.setswitchinterval(0.0005)
        if self.started:
            if self._with_worker:
                self._worker.start()  # only now: until the first answer, this process has the cores to itself
            if self._settings.log_format == "json":
                log.info("Inkling %s answers at %s", __version__, self._url)
            else:
                print(_greeting(self._url, self._settings), flush=True)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # every second
            self._watch.look(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing new, and let connections end with an answer that says so. Uvicorn alone would close those that
        are idle at once, in the face of clients that are just sending their next request."""
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()  # a socket that is shared goes on to listen elsewhere, and what waits in it is not lost
        until = time.monotonic() + KEPT_OPEN_SECONDS
        while self.server_state.connections and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = not self.should_exit
        super().handle_exit(sig, frame)
        self._worker.terminate()
        if first:  # a second signal may come in the middle of this, which would wait for itself
            self._stopping.set()


def serve(settings: Settings, with_worker: bool = True, shared: bool = False) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit code. Raises StartError saying what to do.

    `shared`: other processes may serve the same data folder meanwhile, as a restart without a gap needs. Over
    PostgreSQL they always may: it keeps apart what needs to be, on whatever machines they run.
    """
    give_back_freed_memory()
    folder = settings.make_data_dir()
    let_go = _take(folder, shared) if not settings.database_is_shared else None
    listener = inherited() or listen(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    app = create_app(settings)
    watch = Watch(room_for(settings.max_connections), settings.stall_seconds)
    config = uvicorn.Config(
        app,
        http=bounded(protocol_of(app.state.shedding, app.state.direct), watch),
        ws="none",
        # Who says for whom a request comes is believed only where that was said: it is what limits are counted by.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        access_log=False,
        log_config=None,  # its lines go where ours go, and look like them
        log_level=settings.log_level if settings.log_level != "info" else "warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    worker = WorkerProcess(settings)
    server = _Server(config, worker, with_worker, url, settings, app.state.stopping, watch)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn raises the signal again when it has stopped; the worker still has to end then.
        signal.signal(number, lambda *_: None)

    async def run() -> None:
        await server.serve(sockets=[listener])
        await worker.stop()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())
    if let_go is not None:
        let_go()
    return 0 if server.started else 1


def _take(folder: Path, shared: bool) -> Callable[[], None]:
    """Use the data folder, alone or with others; what lets it go. Raises StartError."""
    return share(folder, "service").close if shared else hold(folder, "service").release


def inherited() -> socket.socket | None:
    """The listening socket that whoever started this process passed on by systemd's protocol (sd_listen_fds(3)).

    Who holds it keeps it listening while processes come and go: nothing that waits in it is dropped, which is what a
    port shared by SO_REUSEPORT cannot promise, since each of its sockets has a queue of its own, lost with it.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):  # they are not for the worker
        os.environ.pop(name, None)
    passed = socket.socket(fileno=LISTEN_FD)
    passed.set_inheritable(False)
    return passed


def listen(host: str, port: int) -> socket.socket:
    """A listening socket with address reuse. Raises StartError for a port in use or an address that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses it, or set INKLING_PORT to another port"
        ) from error
    listener.set_inheritable(False)
    return listener


def _greeting(url: str, settings: Settings) -> str:
    example = (
        f"""curl -s {url}/predict-next-word -H 'Content-Type: application/json' -d '{{"text": "in the beginning"}}'"""
    )
    return (
        f"Inkling {__version__} answers at {url}\n"
        f"  try       {example}\n"
        f"  page      {url}\n"
        f"  routes    {url}/docs\n"
        f"  data      {settings.data_dir.resolve()}\n"
        f"  stop      Ctrl-C; a running job writes a checkpoint and goes on at the next start"
    )
