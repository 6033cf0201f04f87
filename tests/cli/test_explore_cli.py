"""The exported page in a browser, and its arithmetic beside the package's. Skipped without Chromium."""

from __future__ import annotations

import atexit
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

import scylla_sim
from scylla_sim import cli
from scylla_sim.acceptance import positions
from scylla_sim.explore import server
from scylla_sim.explore.grid import configs_of
from scylla_sim.explore.html import MODEL_SCRIPTS
from scylla_sim.explore.html import page as html_page
from scylla_sim.explore.page_data import load_data, page_data
from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.crossover import crossover_batch
from scylla_sim.planning.traffic import Traffic
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the page was not tested")
OPTIONS = ["--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--draft", "eagle3", "--engine", "vllm"]
CHAIN = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3")


PROFILE = Path(tempfile.mkdtemp(prefix="explorer-"))
atexit.register(shutil.rmtree, PROFILE, ignore_errors=True)


def browse(page: Path | str, fragment: str = "", *options: str) -> tuple[str, list[str]]:
    """Return the document of a page after its scripts ran without a network, and the lines of its console."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000"),
            *("--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={PROFILE}"),
            *(*options, "--dump-dom", f"{page if isinstance(page, str) else page.as_uri()}{fragment}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def text_of(document: str, name: str, tag: str = "p") -> str:
    """Return the text of the element with an id."""
    found = re.search(rf'id="{name}"[^>]*>(.*?)</{tag}>', document, flags=re.DOTALL)
    assert found is not None, name
    return html.unescape(re.sub(r"<[^>]+>", "", found[1])).strip()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    assert cli.main(["explore", *OPTIONS, "--export", str(path)]) == 0
    return path


@needs_browser
def test_the_headline_is_what_predict_says(exported: Path) -> None:
    document, console = browse(exported, "#batch=64&context=2048&rates=0.62&K=3&unsure=0")
    assert console == []
    (row,) = scylla_sim.predict(
        "llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=3, acceptance=0.62, batch=64, context=2048
    ).rows()
    speedup, lower, upper = (f"{row[name]:.2f}" for name in ("speedup", "speedup_lower", "speedup_upper"))
    said = f"K = 3 is {speedup}\u00d7 faster [{lower}-{upper}] at batch 64"
    assert text_of(document, "headline").startswith(said)
    assert text_of(document, "pareto-points", "g") == "batch 64"
    assert "requests/s" in text_of(document, "load-headline") and "serve-sim" in text_of(
        document, "load-command", "pre"
    )
    assert "--batch 64 --context 2048" in re.sub(r"\s+\\\s+", " ", text_of(document, "command", "pre"))


@needs_browser
@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("#batch=256&context=1024&rates=0.62&K=5", "slower, 0."),
        ("#batch=16&context=1024&rates=0.62&K=0", "Plain decoding takes"),
        ("#batch=abc&K=99&rates=7&context=-5", "K = 8"),
    ],
)
def test_other_states_open_from_the_address(exported: Path, fragment: str, said: str) -> None:
    document, console = browse(exported, fragment)
    assert console == [] and said in text_of(document, "headline")
    problem = text_of(document, "problem")
    wrong = ["batch=abc in the address is not known", "rates=7 in", "K=99 in"] if "K=99" in fragment else []
    assert all(one in problem for one in wrong) and (problem == "") == (wrong == [])


@needs_browser
def test_a_model_that_does_not_fit_has_no_numbers(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    data = page_data(replace(CHAIN, model="llama-3.1-70b")) | {"load": load_data(CHAIN, checked=False)}
    page.write_text(html_page(data, library=server.plotly_script()))
    document, console = browse(page, "#K=3&batch=8", "--window-size=1400,2000")
    assert console == [] and "do not fit in the memory of one h100-sxm" in text_of(document, "headline")
    assert "more GPUs" in text_of(document, "summary") and "Nothing to set" in text_of(document, "settings", "pre")
    facts = re.findall(r'class="fact"><b>(.*?)</b>', re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL))
    assert facts == ["-", "-", "-", "-", "0 <small>(0 plain)</small>", "-"]
    assert not re.search(r"undefined|NaN", re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL))


ASK = """<script>setTimeout(() => {
  model.data.choices = Object.fromEntries(CHOICES.map(([key]) => [key, [[String(model.data[key]), ""]]]));
  model.data.max_upload_bytes = 10;
  showChoices();
  byId("choice-model").dispatchEvent(new Event("change"));
  readLog(new File(["x".repeat(11)], "long.log"));
}, 500)</script></body>"""
"""A visitor chooses where no server answers, and drops a large file."""


@needs_browser
def test_a_server_that_was_stopped_is_named(exported: Path) -> None:
    page = exported.with_name("stopped.html")
    page.write_text(exported.read_text().replace("</body>", ASK))
    document, _ = browse(page)
    assert "does not answer" in text_of(document, "problem") and "faster" in text_of(document, "headline")
    assert "long.log has" in text_of(document, "rates-note")


@needs_browser
def test_a_phone_needs_no_sideways_scroll(exported: Path) -> None:
    frame = exported.with_name("frame.html")
    frame.write_text(
        '<iframe id="f" src="page.html" width="390" height="3000"></iframe><p id="said"></p><script>'
        'onload = () => setTimeout(() => { const d = document.getElementById("f").contentDocument.documentElement;'
        'document.getElementById("said").textContent = `${d.scrollWidth} of ${d.clientWidth}`; }, 2000)</script>'
    )
    said = text_of(browse(frame)[0], "said")
    assert re.fullmatch(r"(\d+) of \1", said), said


def computed(tmp_path: Path, data: dict[str, Any], script: str) -> Any:
    """Return the value of a JavaScript expression over ``model`` and the functions of its scripts."""
    page = tmp_path / "model.html"
    source = "".join((ROOT / "scylla_sim/explore/assets" / name).read_text() for name in MODEL_SCRIPTS)
    page.write_text(
        f'<p id="said"></p><script>{source}</script><script>const model = new Model({json.dumps(data)});'
        f'document.getElementById("said").textContent = JSON.stringify({script})</script>'
    )
    document, console = browse(page)
    assert console == []
    return json.loads(text_of(document, "said"))


@needs_browser
@pytest.mark.parametrize(("engine", "count"), [("vllm", 120), ("sglang", 60)])
def test_the_arithmetic_of_the_page_is_that_of_the_package(tmp_path: Path, engine: str, count: int) -> None:
    scenario = replace(CHAIN, engine=engine)
    data, rng = page_data(scenario), np.random.default_rng(1)
    points = [
        (int(k), int(b), int(s), round(float(a), 3))
        for k, b, s, a in zip(
            rng.integers(1, len(data["grid"]["shapes"]), count),
            rng.integers(1, 513, count),
            np.exp(rng.uniform(np.log(128), np.log(65536), count)),
            rng.uniform(0.2, 0.95, count),
        )
    ]
    asked = "POINTS.map(([K, b, s, a]) => { const v = model.at(K, model.index(b), s, [a], 0);"
    asked += " return [v.speedup, v.lower, v.upper, v.slower, v.tau]; })"
    found = np.array(computed(tmp_path, data, asked.replace("POINTS", json.dumps(points))))
    exact = []
    for k, b, s, a in points:
        length, top_k, tokens = data["grid"]["shapes"][k]
        given = replace(scenario, draft_len=length, top_k=top_k, verify_tokens=tokens, acceptance=a)
        (row,) = replace(given, batch=b, context=s).predict().rows()
        names = ("speedup", "speedup_lower", "speedup_upper", "p_slower", "tokens_per_cycle")
        exact.append([row[name] for name in names])
    wanted = np.array(exact)
    assert found[:, :3] == pytest.approx(wanted[:, :3], rel=0.01)
    assert np.median(np.abs(found[:, 0] / wanted[:, 0] - 1.0)) < 1e-3
    assert found[:, 3] == pytest.approx(wanted[:, 3], abs=0.05)
    assert found[:, 4] == pytest.approx(wanted[:, 4], rel=1e-9)


@needs_browser
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_latencies_under_load_are_those_of_the_package(tmp_path: Path, engine: str) -> None:
    """The KV pool limits the last load; the wait for it magnifies small errors of the rate at saturation."""
    scenario = replace(CHAIN, engine=engine)
    data = page_data(scenario)
    loads = [(0, 1.0, 500, 100), (3, 2.2, 1000, 200), (6, 3.1, 4000, 300), (1, 1.5, 100, 20), (0, 1.0, 4000, 24000)]
    shares = [0.1, 0.5, 0.85]
    asked = (
        f"(load => {json.dumps(loads)}.map(([K, tau, asked, made]) => {{ const c = load.curve(K, tau, asked, made);"
        f" return [c.saturation, ...{json.dumps(shares)}.flatMap(share => {{ const at = load.latencies(c, share *"
        f" c.saturation); return [at.ttft50, at.ttft95, at.tpot50, at.tpot95]; }})]; }}))"
        f"(new Load(model, {json.dumps(load_data(scenario, checked=False))}))"
    )
    found = np.array(computed(tmp_path, data, asked))
    for line, (k, tau, prompt, answer) in zip(found, loads):
        length, top_k, tokens = data["grid"]["shapes"][k]
        config = replace(configs_of(scenario)[k], tokens_per_cycle=tau, tau_lower=tau, tau_upper=tau)
        assert (config.draft_len, config.top_k, config.verify_tokens) == (length, top_k, tokens)
        traffic = Traffic(1.0, ServedLoad(prompt, answer))
        (one,) = candidates(scenario.target_model(), [config], scenario.deployments(), traffic)
        at = one.curve.at_rate(np.array(shares) * one.saturation_per_s)
        wanted = np.stack([quantile(p) for quantile in (at.ttft_quantile, at.tpot_quantile) for p in (0.5, 0.95)])
        assert line[0] == pytest.approx(one.saturation_per_s, rel=0.02)
        near = pytest.approx(wanted, rel=0.2 if answer == 24000 else 0.06)
        assert near == line[1:].reshape(len(shares), 4).T, (k, prompt, answer)


@needs_browser
def test_crossover_and_schedule_are_those_of_the_package(tmp_path: Path) -> None:
    data = page_data(CHAIN)
    pairs = [(k, s, a) for k in (1, 3, 5) for s in (512, 4096) for a in (0.4, 0.7)]
    asked = f"{json.dumps(pairs)}.map(([K, s, a]) => model.crossovers(K, s, [a], 0).speedup)"
    found = computed(tmp_path, data, asked)
    for (k, s, a), batch in zip(pairs, found):
        result = scylla_sim.predict(
            "llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=k, acceptance=a,
            batch=list(range(1, 513)), context=s,
        )  # fmt: skip
        (out,) = result.predictions
        most = int(out.max_sequences[0].ravel()[0])
        exact = crossover_batch(out.speedup.ravel()[: min(most, 512)])
        near = batch == exact if exact is None or batch is None else abs(batch - exact) <= max(1, 0.02 * exact)
        assert near or (exact is None and batch > 512), (k, s, a, batch, exact)


@needs_browser
def test_tokens_per_cycle_follow_the_law_of_positions(tmp_path: Path) -> None:
    law = positions.law_of("eagle3")
    given = [[0.8], [0.76, 0.74], [0.9, 0.5, 0.4]]
    found = computed(
        tmp_path, page_data(CHAIN), f"{json.dumps(given)}.map(rates => tauOf(rates, [5, 1, 6], model.data.law, 0))"
    )
    for rates, (tau, lower, upper) in zip(given, found):
        assert tau == pytest.approx(1.0 + np.cumprod(law.continued(rates, 5)).sum(), rel=1e-12)
        assert lower < tau < upper


DRAG = """<p id="said"></p><script>
addEventListener("load", () => setTimeout(() => {
  const rate = byId("rate"), plot = byId("pareto-plot"), redraw = Plotly.react;
  const before = byId("pareto-curves").innerHTML;
  let count = 0;
  Plotly.react = (...given) => { count++; return redraw(...given); };
  for (let at = 0; at < 20; at++) {
    rate.value = 0.55 + 0.01 * at;
    rate.dispatchEvent(new Event("input"));
    draw();
  }
  while (!drawCards(Object.keys(CARDS)));
  const moved = count, other = byId("pareto-curves").innerHTML !== before, empty = plot.data.length;
  plot.dispatchEvent(new PointerEvent("pointerenter"));
  const last = plot.data[1].x, now = model.at(state.K, 0, state.context, state.rates, 0);
  const all = plot.data.length === charts["pareto-plot"].curves.length;
  byId("said").textContent = [moved, other, empty, all, last[0] === now.tau / now.cycle].join();
}, 1000));
</script></body>"""
"""A visitor drags the acceptance, then points at a chart."""


@needs_browser
def test_a_slider_moves_curves_and_plotly_redraws_axes_that_changed(exported: Path) -> None:
    page = exported.with_name("drag.html")
    page.write_text(exported.read_text().replace("</body>", DRAG))
    document, console = browse(page, "#unsure=0", "--window-size=1400,980")
    redraws, moved, before, every, same = text_of(document, "said").split(",")
    assert console == [] and int(redraws) <= 10  # of 80 charts that moved
    assert (moved, before, every, same) == ("true", "0", "true", "true")


DROP = """<script>
setTimeout(() => {
  const files = new DataTransfer();
  files.items.add(new File(['{"acceptance_rate": [0.81, 0.72, 0.7], "kind": "conditional",'
    + '"tokens_per_cycle": 2.8, "tokens_per_cycle_lower": 2.71, "tokens_per_cycle_upper": 2.89}'],
    "acceptance.json"));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: files}));
}, 500);
</script></body>"""
"""What a visitor does who drops a file on the page."""


@needs_browser
def test_a_dropped_file_moves_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "page", lambda data: html_page(data).replace("</body>", DROP))
    running = server.server_of(server.Explorer(CHAIN), 0)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    picture = tmp_path / "page.png"
    try:
        address = f"http://{server.HOST}:{running.server_address[1]}/"
        document, console = browse(address, "", f"--screenshot={picture}")
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
    assert console == [] and picture.stat().st_size > 50_000
    said = re.fullmatch(
        r"3 positions read from acceptance.json, each ± (\d\.\d+) by the interval of the file",
        text_of(document, "rates-note"),
    )
    assert said is not None and text_of(document, "unsure-value", "output") == f"± {float(said[1]):.2f}"
    assert "--acceptance 0.81,0.72,0.7" in text_of(document, "command", "pre")
    (row,) = scylla_sim.predict(
        "llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=3, acceptance=[0.81, 0.72, 0.7], batch=16
    ).rows()
    assert text_of(document, "headline").startswith(f"K = 3 is {row['speedup']:.2f}\u00d7 faster")


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert cli.main(["explore", *OPTIONS, "--export", "never.html"]) == 2
    assert "explore needs plotly" in capsys.readouterr().err and not Path("never.html").exists()
