"""What `app/__init__.py` puts off: each in an interpreter of its own, where nothing is built yet."""

import subprocess
import sys

BUILT = """
import sys, threading, warnings
warnings.simplefilter("error")
import app.main
from fastapi.openapi.models import OpenAPI
from app.inference.schemas import PredictRequest
from app.training.schemas import JobResponse
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", BUILT + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_model_is_built_before_it_is_used() -> None:
    assert python("print(OpenAPI.__pydantic_complete__, JobResponse.__pydantic_complete__)") == "False False"


def test_pydantic_1_is_not_loaded() -> None:
    assert python("print([name for name in sys.modules if name.startswith('pydantic.v1.')])") == "[]"


def test_many_that_ask_first_at_once_are_all_answered() -> None:
    code = """
sys.setswitchinterval(1e-6)
gate, said = threading.Barrier(16), []
def ask():
    gate.wait()
    said.append(PredictRequest.model_validate({"text": "a"}).text)
threads = [threading.Thread(target=ask) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(said == ["a"] * 16, PredictRequest.__pydantic_complete__)
"""
    assert python(code) == "True True"
