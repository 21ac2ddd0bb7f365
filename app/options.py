"""What several commands are told alike."""

from pathlib import Path
from typing import Annotated

import typer

from app.core.config import Settings

DataDir = Annotated[Path | None, typer.Option(help="Folder of everything kept; default: INKLING_DATA_DIR")]


def settings_of(data_dir: Path | None) -> Settings:
    return Settings() if data_dir is None else Settings(data_dir=data_dir)
