"""benchmarks.overload, open_loop and soak: what they count, how they judge."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import open_loop, overload, soak
from benchmarks.open_loop import Offered
from benchmarks.soak import Held, Traffic


class Answering(BaseHTTPRequestHandler):
    """200 or 429 by turns, every fifth connection broken off."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.asked % 5 == 0:
            self.close_connection = True
            return
        self.send_response(429 if self.asked % 2 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Answering.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_open_loop_counts_every_request(port: int) -> None:
    offered = open_loop.offer(port, "/ask", [{"text": "a"}, {"text": "b"}], rate=100, seconds=1.0, in_time=60)
    assert 60 < offered.asked < 140
    assert sum(offered.statuses.values()) == offered.asked == Answering.asked
    assert set(offered.statuses) == {"200", "429", "lost"}
    assert offered.good == offered.statuses["200"]
    assert offered.goodput == offered.good
    assert 0 < offered.p50 <= offered.p99


def run_of(p99: float, good: int, refused: int) -> dict[str, Any]:
    def level(multiple: float, good: int, p99: float, refused: int, cpu: float) -> dict[str, Any]:
        statuses = {"200": good, "429": refused} if refused else {"200": good}
        asked = good + refused
        return {"multiple": multiple, "cpu": cpu} | vars(Offered(asked, 1.0, 1.0, good, statuses, 5.0, p99))

    levels = [level(1.0, 100, 50.0, 0, 0.1), level(3.0, good, p99, refused, good * 0.001 + refused * 0.0002)]
    return {"capacity": 100.0, "closed_p99": 9.0, "cpu_us": 1000.0, "levels": levels}


@pytest.mark.parametrize(
    ("p99", "good", "kept"),
    [(99.0, 95, [True, True, True]), (101.0, 95, [True, False, True]), (60.0, 80, [False, True, True])],
)
def test_overload_is_judged(p99: float, good: int, kept: list[bool]) -> None:
    run = run_of(p99, good, 200)
    assert overload.refusal_us(run) == pytest.approx(200)
    assert [verdict[3] for verdict in overload.verdicts([run, run])] == kept


def test_the_curve_is_written_and_drawn(tmp_path: Path) -> None:
    results = {"ours": [run_of(60.0, 95, 200)], "litserve": [run_of(900.0, 10, 0)]}
    table = overload.table(results)
    assert "| ours | 3 | 295 | 95 | 0.95 | 5 | 60 | 429: 200 |" in table
    overload.draw(results, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as drawn:
        assert drawn.size == (720, 560)


def lines(step: float, files: int) -> list[Held]:
    return [
        Held(float(i), 200 + step * i, 100 + step * i, 30 + files * i, 5, 9, 50, 50, 8, 2, 1.0, 2.0, 10 * i)
        for i in range(31)
    ]


def traffic_of(*counts: tuple[str, str]) -> Traffic:
    traffic = Traffic("http://here")
    for count in counts:
        traffic.count(*count)
    return traffic


def test_growth_is_a_fitted_line_behind_the_warm_up() -> None:
    mean, rise = soak.growth(lines(0.5, 0), "api_pss")
    assert mean == pytest.approx(110)
    assert rise == pytest.approx(10)


@pytest.mark.parametrize(
    ("step", "files", "status", "passed"),
    [
        (0.1, 0, "200", True),
        (0.5, 0, "200", False),
        (0.1, 1, "200", False),
        (0.1, 0, "503", False),
        (0.1, 0, "ReadError", False),
    ],
)
def test_a_soak_is_judged(step: float, files: int, status: str, passed: bool) -> None:
    said, good = soak.report(lines(step, files), traffic_of(("GET /", "200"), ("GET /", status)))
    assert good is passed
    assert "2 requests" in said
    assert "| `GET /` |" in said
    json.dumps([vars(line) for line in lines(step, files)])
