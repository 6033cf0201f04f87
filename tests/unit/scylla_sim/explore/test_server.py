"""The local server: the page, data of other deployments, dropped logs, and what it refuses."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import hf_configs
import pytest

from scylla_sim.checks import InputError
from scylla_sim.explore.server import HOST, Explorer, chosen, server_of
from scylla_sim.prediction.scenario import Scenario

CHAIN = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = server_of(Explorer(CHAIN), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, path: str, *, body: bytes | None = None, host: str = "localhost") -> tuple[int, str]:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET" if body is None else "POST", path, body=body, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_the_page_loads_its_library_from_the_server(port: int) -> None:
    status, text = ask(port, "/")
    assert status == 200 and 'src="/plotly.js"' in text and '"choices":' in text
    assert ask(port, "/plotly.js")[0] == 200
    assert ask(port, "/etc/passwd")[0] == 404


def test_other_choices_give_other_data(port: int) -> None:
    status, text = ask(port, "/data?hardware=l40s&draft=ngram&precision=fp8")
    data = json.loads(text)
    assert status == 200
    assert (data["hardware"], data["draft"], data["precision"], data["model"]) == (
        "l40s",
        "ngram",
        "fp8",
        "llama-3.1-8b",
    )


def test_the_error_of_the_grid_comes_after_the_page_is_drawn(port: int) -> None:
    assert json.loads(ask(port, "/data?draft=ngram")[1])["error"] is None
    found = json.loads(ask(port, "/details?draft=ngram")[1])
    assert found["error"]["points"] > 0 and found["measured"] == [] and "grid" not in found


def test_seconds_of_prompts_come_when_they_are_asked_for(port: int) -> None:
    status, text = ask(port, "/load?draft=ngram")
    assert status == 200 and {"tokens", "rows", "attention"} <= json.loads(text).keys()
    assert '"load":' not in ask(port, "/")[1]


def test_another_model_has_the_precision_in_which_it_is_released() -> None:
    shown = {"model": "llama-3.1-8b", "hardware": "h100-sxm", "tp": "1", "draft": "eagle3", "engine": "vllm-2026"}
    assert chosen(CHAIN, {**shown, "precision": "bf16"}) == CHAIN  # what the page shows: no second grid
    released = chosen(CHAIN, {**shown, "model": "gpt-oss-20b"})
    assert released.precision == "mxfp4"
    assert chosen(CHAIN, {**shown, "model": "gpt-oss-20b", "precision": "mxfp4"}) == released
    assert chosen(CHAIN, {**shown, "model": "gpt-oss-20b", "precision": "bf16"}).precision == "bf16"
    assert chosen(replace(CHAIN, precision="fp8"), {"model": "gpt-oss-20b"}).precision == "fp8"  # of the user


def test_a_precision_without_arithmetic_keeps_its_name(port: int) -> None:
    data = json.loads(ask(port, "/data?hardware=a100-sxm&precision=fp8")[1])
    assert data["precision"] == "fp8" and any("16-bit arithmetic" in note for note in data["notes"])
    assert "fp8" in dict(data["choices"]["precision"])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=/etc/passwd", "model="),
        ("draft=../x.json", "draft="),
        ("tp=-1", "whole number"),
        ("tp=16", "tp=16"),
        ("port=1", "option="),
        ("precision=fp3", "precision="),
    ],
)
def test_what_is_not_on_offer_is_refused_with_one_line(port: int, query: str, words: str) -> None:
    status, text = ask(port, f"/data?{query}")
    assert status == 400 and words in text and "\n" not in text


def test_pages_of_elsewhere_are_refused(port: int) -> None:
    assert ask(port, "/", host="evil.example")[0] == 403


def test_a_dropped_file_gives_its_rates(port: int) -> None:
    rates = b'{"acceptance_rate": [0.8, 0.7], "kind": "conditional"}'
    assert ask(port, "/ingest", body=rates) == (200, '{"rates": [0.8, 0.7], "unsure": null}')
    tau = b', "tokens_per_cycle": 2.36, "tokens_per_cycle_lower": 2.2, "tokens_per_cycle_upper": 2.4'
    status, text = ask(port, "/ingest", body=rates[:-1] + tau + b"}")
    unsure = json.loads(text)["unsure"]
    assert status == 200 and (0.8 - unsure) * (1 + 0.7 - unsure) == pytest.approx(1.36 * 1.2 / 1.36)
    status, text = ask(port, "/ingest", body=b"\x00\xff nonsense")
    assert status == 400 and text.startswith("the file cannot be") and "/tmp" not in text and "\n" not in text
    status, text = ask(port, "/ingest", body=b'{"rates": [0.8]}')
    assert status == 400 and "must hold a list named acceptance_rate" in text and "drop a log" in text


def test_a_dropped_log_gives_the_rates_that_ingest_finds(port: int) -> None:
    counts = "Accepted throughput: 55.00 tokens/s, Drafted throughput: 120.00 tokens/s, Accepted: 550 tokens, "
    rates = "Per-position acceptance rate: 0.700, 0.440, 0.240, Avg Draft acceptance rate: 46.0%"
    start = "INFO 11-20 10:00:00 [metrics.py:96] SpecDecoding metrics: Mean acceptance length: 2.38, "
    log = f"{start}{counts}Drafted: 1200 tokens, {rates}\n".encode()
    status, text = ask(port, "/ingest", body=log)
    found = json.loads(text)
    assert status == 200 and found["rates"] == pytest.approx([0.7, 0.44 / 0.7, 0.24 / 0.44])
    assert found["unsure"] > 0.0


def test_a_length_that_is_no_length_is_refused(port: int) -> None:
    for length in ("9" * 5000, "-1", "100000000"):
        connection = HTTPConnection(HOST, port, timeout=60)
        connection.request("POST", "/ingest", headers={"Host": f"localhost:{port}", "Content-Length": length})
        assert connection.getresponse().status == 400
        connection.close()


def test_the_scenario_keeps_paths_that_the_user_gave(tmp_path: Path) -> None:
    file = tmp_path / "mine/config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(hf_configs.config_of("llama")))
    given = Scenario(str(file), hardware="h100-sxm")
    assert chosen(given, {"model": str(file), "tp": "2"}).tp == 2
    assert chosen(given, {"model": "mine", "tp": "2"}).model == str(file)  # as the page names it
    with pytest.raises(InputError):
        chosen(given, {"model": "other/config.json"})


def test_a_page_that_was_closed_prints_nothing(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with socket.create_connection((HOST, port)) as visitor:
            visitor.sendall(f"GET /plotly.js HTTP/1.0\r\nHost: localhost:{port}\r\n\r\n".encode())
            visitor.recv(1)
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # as a crash does
    assert ask(port, "/plotly.js")[0] == 200 and "Traceback" not in capfd.readouterr().err


def test_a_taken_port_is_one_line(port: int) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        server_of(Explorer(CHAIN), port)
