"""Settings: every `INKLING_…` variable, its default and its meaning. The README's table is checked against this."""

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.errors import StartError


class Settings(BaseSettings):
    """Read from the environment, `INKLING_` in front of the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="INKLING_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="Port the service listens on; 0 takes a free one")
    data_dir: Path = Field(
        Path("data"), description="Folder of everything that is kept: database, data sets, models, runs"
    )
    database_url: str = Field("", description="SQLAlchemy URL of the database; empty: SQLite in the data folder")
    artifacts: str = Field(
        "", description="s3://BUCKET/PREFIX: where versions, data sets and runs are kept; empty: in the data folder"
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Origins, separated by commas, whose pages may call the service; `*` allows all"
    )
    allow_open: bool = Field(
        False, description="Start without any key on an address that others can reach, knowing what that means"
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        [], description="Addresses or networks of proxies, separated by commas, whose X-Forwarded-For is believed"
    )
    rate_per_address: int = Field(50, ge=0, description="Requests a second that an address may send; 0: no limit")
    burst_per_address: int = Field(300, ge=1, description="Requests that it may send at once, after a rest")
    rate_per_key: int = Field(500, ge=0, description="Requests a second that a key may send; 0: no limit")
    burst_per_key: int = Field(1000, ge=1, description="Requests that it may send at once, after a rest")
    changes_per_minute: int = Field(
        120, ge=0, description="Trainings, uploads, lessons and other changes a minute of one caller; 0: no limit"
    )
    max_streams: int = Field(500, ge=0, description="Event streams open at the same time; above this 429; 0: no limit")
    max_streams_each: int = Field(20, ge=0, description="The same of one caller, that is, a key or an address")
    max_connections: int = Field(
        2000, ge=10, description="Open connections; above this those at rest are closed, and if all work, 503"
    )
    stall_seconds: float = Field(
        15.0, gt=0, description="How long a client may take to send headers, or let a body or an answer rest"
    )
    queue_size: int = Field(256, ge=1, description="Answers that may wait; above this a request gets 429")
    queue_seconds: float = Field(
        0.08, gt=0, description="Longest that a next word may have to wait, pictures ten times as long; above this 429"
    )
    deadline_seconds: float = Field(10.0, gt=0, description="Longest an answer may take; above this a request gets 504")
    max_body_bytes: int = Field(
        2 * 1024 * 1024,
        ge=1024,
        description="Largest JSON body; above this a request gets 413. That of /evaluate, which holds a text, may "
        "always have 4 MiB",
    )
    max_upload_bytes: int = Field(
        2 * 1024**3, ge=1024, description="Largest upload of a data set or model; above this it gets 413"
    )
    max_upload_files: int = Field(100_000, ge=1, description="Most files in an upload, those inside a ZIP included")
    max_unpacked_bytes: int = Field(
        8 * 1024**3, ge=1024, description="Most bytes that an uploaded ZIP may hold when unpacked"
    )
    max_picture_pixels: int = Field(50_000_000, ge=1, description="Largest picture taken in, in pixels")
    max_skipped: float = Field(
        0.1, ge=0, le=1, description="Share of broken lines or pictures up to which an upload is taken without them"
    )
    preload: Annotated[list[str], NoDecode] = Field(
        ["next-word", "pictures", "faces"],
        description="Models in memory before it says that it is ready, with a comma between them; others are loaded "
        "when they are first asked for",
    )
    int8: bool = Field(
        False,
        description="Answer next words with products of eight bits, for about seven tenths of the CPU, where a "
        "version's card says that perplexity and top-1 of its test part move by half a per cent at most",
    )
    reload_seconds: float = Field(0.25, gt=0, description="How often a change of the active version is looked for")
    checkpoint_seconds: float = Field(5.0, gt=0, description="Time between two checkpoints of a running job")
    max_queued: int = Field(100, ge=1, description="Jobs that may wait; above this POST /train gets 429")
    jobs_at_once: int = Field(1, ge=1, le=64, description="Jobs that a worker trains at the same time")
    processes_per_job: int = Field(
        1, ge=0, le=64, description="Processes that share each update of a job; 0: one for each graphics card"
    )
    launcher: Literal["process", "ray"] = Field(
        "process", description="Where jobs train: in processes of the worker's machine, or on a Ray cluster"
    )
    ray_address: str = Field("", description="URL of the Ray dashboard, whose Jobs interface is used")
    ray_token: str = Field("", repr=False, description="The cluster's RAY_AUTH_TOKEN")
    ray_token_file: Path | None = Field(None, description="File that holds it, instead")
    ray_data_dir: Path | None = Field(None, description="What the nodes call the data folder, which they must share")
    ray_python: str = Field("python", description="Interpreter on the nodes that has this project and torch")
    ray_cpus: float = Field(1.0, gt=0, description="Processors that a job has for itself, unless it says otherwise")
    ray_gpus: float = Field(0.0, ge=0, description="Graphics cards, the same")
    ray_resources: dict[str, float] = Field({}, description='The cluster\'s own resources, the same: {"fast-disk": 1}')
    keep_runs: int = Field(
        100, ge=0, description="Ended jobs whose samples, logs and checkpoints are kept; older ones go"
    )
    keep_versions: int = Field(
        0, ge=0, description="Versions of a model kept beside the active one; older ones go; 0 keeps all"
    )
    max_learned: int = Field(500, ge=1, description="Phrases that a model may be taught; above this one gets 409")
    max_phrase: int = Field(2_000, ge=1, description="Longest phrase to learn, in characters; above this it gets 422")
    min_free_bytes: int = Field(
        256 * 1024**2, ge=0, description="Room kept on the volume; with less, uploads, trainings and imports get 507"
    )
    log_level: str = Field("info", description="debug, info, warning or error")
    log_format: Literal["text", "json"] = Field("text", description="text, or json: an object a line")
    access_log: bool | None = Field(None, description="Whether each request is a line; by default with json alone")
    otlp_endpoint: str = Field("", description="Where OpenTelemetry traces of requests are sent; empty: nowhere")

    @field_validator("cors_origins", "trusted_proxies", "preload", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: list[str]) -> list[str]:
        for proxy in value:  # the server would take what it cannot read for a name, and trust nobody
            if proxy != "*":
                ip_network(proxy)
        return value

    @property
    def is_local(self) -> bool:
        """Whether it listens for this machine alone."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def may_be_open(self) -> bool:
        """Whether everyone may be answered as long as there is no key: nobody else can reach it, or it was said so."""
        return self.is_local or self.allow_open

    @property
    def database_is_shared(self) -> bool:
        """Whether it is a server's, which any number of processes may use, on any machines."""
        return self.database_url.startswith("postgres")

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{(self.data_dir / 'inkling.db').resolve()}"

    def make_data_dir(self) -> Path:
        """Make the data folder and see that it can be written. Raises StartError saying what to do."""
        folder = self.data_dir.resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".write-test-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise StartError(
                f"the data folder {folder} cannot be written ({error.strerror}); "
                "make it writable for this user, or set INKLING_DATA_DIR to a folder that is"
            ) from error
        return folder
