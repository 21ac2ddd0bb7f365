"""Stands in for `python -m ml.ingest FOLDER --parent PID`: does what the first line of the first file says.

crash          is killed by SIGKILL
exit N         ends with this code
refuse CODE    refuses the files
wait           tells by a file `waiting` beside the upload that it runs, then waits to be killed
anything else  makes a data set of the lines
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from ml import files
from ml.data import store
from ml.data.intake import Report
from ml.data.store import DatasetInfo
from ml.process import die_with

folder = Path(sys.argv[1])
upload = json.loads((folder / "upload.json").read_bytes())
lines = [line for source in upload["files"] for line in Path(source["path"]).read_text().splitlines()]
die_with(int(sys.argv[sys.argv.index("--parent") + 1]))
order, _, detail = lines[0].partition(" ")
if order == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
if order == "exit":
    print("last words")
    sys.exit(int(detail))
if order == "refuse":
    files.write_json(folder / "refused.json", {"code": detail, "message": "line 1: this is why"})
    sys.exit(65)
if order == "wait":
    (folder / "waiting").touch()
    time.sleep(600)
info = DatasetInfo(modality="text", **upload["info"])
store.write_text(folder / "dataset", info, lines)
files.write_json(
    folder / "dataset" / "preview.json", {"lines": lines[:20], "common_words": [{"word": lines[0], "count": 1}]}
)
files.write_json(folder / "report.json", Report(kept=len(lines), encoding="utf-8").model_dump())
