"""The local server of the page: the standard library's HTTP server on the loopback address."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import RLock
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.explore.choices import choices_of
from scylla_sim.explore.dropped import rates_of
from scylla_sim.explore.grid import Grid, build
from scylla_sim.explore.html import PLOTLY_PATH, as_script, page, plotly_script
from scylla_sim.explore.page_data import asked_precision, details, load_data, quick_data
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs import catalog

HOST = "127.0.0.1"
"""Only programs of this machine reach the server."""
LOCAL_NAMES = (HOST, "localhost")
"""Names of this machine that a request may use; another name is a page of elsewhere that points here."""
MAX_UPLOAD_BYTES = 64 * 2**20
"""Largest file that a visitor can drop on the page."""
NAMES = ("model", "hardware", "tp", "precision", "draft", "engine")
"""Options that a visitor can choose."""
KEPT = 16
"""Deployments whose data the server keeps."""


def _is_unchanged(scenario: Scenario, name: str, value: str) -> bool:
    """Return whether a choice is what the scenario has. The page names files by their folders, and no aliases."""
    if value in ("", str(getattr(scenario, name))):
        return True
    if name == "model":
        return value == scenario.target_model().name
    if name == "engine":
        return value == scenario.deployments()[0].engine.name
    return name == "draft" and value == scenario.draft_model().name


def chosen(scenario: Scenario, query: Mapping[str, str]) -> Scenario:
    """Return a scenario with the choices of a visitor: entries of the catalog, or what the scenario has.

    Another model without a choice of its precision has the precision in which it is released.

    Raises
    ------
    InputError
        For an option that the page does not have, or a value that is not on offer.
    """
    given: dict[str, Any] = {}
    for name, value in query.items():
        one_of("option", name, NAMES)
        if _is_unchanged(scenario, name, value):
            continue
        if name in ("model", "hardware", "engine"):
            one_of(name, value, catalog.names({"model": "models", "engine": "engines"}.get(name, name)))
        if name == "draft":
            one_of(name, value, (*catalog.names("drafts"), *catalog.names("models")))
        if name == "tp" and not (value.isdecimal() and len(value) < 4):
            raise fail("tp", value, "must be a whole number")
        given[name] = int(value) if name == "tp" else value
    if "model" in given:
        released = catalog.model(given["model"]).released_precision
        given.setdefault("precision", scenario.precision or released or None)
    elif given.get("precision") == asked_precision(scenario):
        del given["precision"]
    return replace(scenario, **given)


@dataclass
class Explorer:
    """What the server answers; it keeps the data of the last `KEPT` deployments.

    Attributes
    ----------
    scenario
        Deployment of the first page.
    runs
        CSV file of published serving runs, or ``None``.
    """

    scenario: Scenario
    runs: str | None = None
    _kept: OrderedDict[tuple[str, Scenario], Any] = field(default_factory=OrderedDict)
    _lock: RLock = field(default_factory=RLock)

    def data(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return what the page needs to draw the choices of a visitor."""

        def made(scenario: Scenario) -> dict[str, Any]:
            offered = {"choices": choices_of(scenario), "max_upload_bytes": MAX_UPLOAD_BYTES}
            return quick_data(scenario, self._grid(scenario)) | offered

        return cast(dict[str, Any], self._known("data", chosen(self.scenario, query), made))

    def details(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the error of the grid and the measured rows for the choices of a visitor."""

        def made(scenario: Scenario) -> dict[str, Any]:
            return details(scenario, self._grid(scenario), runs=self.runs)

        return cast(dict[str, Any], self._known("details", chosen(self.scenario, query), made))

    def load(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the seconds of prompts for the choices of a visitor."""
        scenario = chosen(self.scenario, query)
        found = self._known("load", scenario, lambda scenario: load_data(scenario, checked=False))
        return cast(dict[str, Any], found)

    def _grid(self, scenario: Scenario) -> Grid:
        return cast(Grid, self._known("grid", scenario, build))

    def _known(self, kind: str, scenario: Scenario, make: Callable[[Scenario], Any]) -> Any:
        """Return kept values, or make and keep them."""
        key = (kind, scenario)
        with self._lock:  # one prediction at a time: they share the cores anyway
            if key not in self._kept:
                self._kept[key] = make(scenario)
            self._kept.move_to_end(key)
            while len(self._kept) > 4 * KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def answer(self, path: str) -> tuple[str, bytes]:
        """Return the type and the content of a path.

        Raises
        ------
        InputError
            For choices that cannot be predicted.
        KeyError
            For a path that the server does not have.
        """
        parts = urlsplit(path)
        if parts.path == PLOTLY_PATH:
            return "text/javascript", plotly_script().encode()
        makers = {"/data": self.data, "/details": self.details, "/load": self.load}
        if parts.path in makers:
            return "application/json", as_script(makers[parts.path](dict(parse_qsl(parts.query)))).encode()
        if parts.path == "/":
            return "text/html; charset=utf-8", page(self.data({})).encode()
        raise KeyError(parts.path)


class Handler(BaseHTTPRequestHandler):
    """Request handler of one explorer; the standard library wants a class and makes an object for each request."""

    explorer: Explorer

    def _send(self, kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # the visitor closed the page, or chose again
            self.close_connection = True

    def _refuse(self, message: str, status: HTTPStatus) -> None:
        self._send("text/plain; charset=utf-8", message.encode(), status)

    def _is_local(self) -> bool:
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name in LOCAL_NAMES:
            return True
        self._refuse("only pages of this machine", HTTPStatus.FORBIDDEN)
        return False

    def do_GET(self) -> None:
        """Answer the page, its data, or the drawing library."""
        if not self._is_local():
            return
        try:
            self._send(*self.explorer.answer(self.path))
        except InputError as error:
            self._refuse(str(error), HTTPStatus.BAD_REQUEST)
        except KeyError:
            self._refuse("no such page", HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Read a dropped log and answer its acceptance rates."""
        if not self._is_local():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/ingest" or not length.isdecimal() or len(length) > 9 or int(length) > MAX_UPLOAD_BYTES:
            self._refuse(f"a file must have at most {MAX_UPLOAD_BYTES} bytes", HTTPStatus.BAD_REQUEST)
            return
        try:
            rates, unsure = rates_of(self.rfile.read(int(length)))
        except InputError as error:
            self._refuse(str(error), HTTPStatus.BAD_REQUEST)
            return
        self._send("application/json", json.dumps({"rates": rates, "unsure": unsure}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a line for every request says nothing to the user."""


def handler_of(explorer: Explorer) -> type[Handler]:
    """Return the request handler of an explorer."""
    return type("ExplorerHandler", (Handler,), {"explorer": explorer})


def server_of(explorer: Explorer, port: int) -> ThreadingHTTPServer:
    """Return a server that listens; port 0 takes a free one.

    Raises
    ------
    InputError
        If the port is taken or not allowed.
    """
    plotly_script()  # a missing library is an error before the server starts
    try:
        return ThreadingHTTPServer((HOST, port), handler_of(explorer))
    except OSError as error:
        raise fail("port", port, f"cannot be used ({error.strerror})", "give another --port") from None
