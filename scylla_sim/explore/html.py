"""The page as one HTML text: template, style, scripts, data, and the drawing library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from scylla_sim.checks import InputError

PLOTLY_PATH = "/plotly.js"
"""Path at which the server has the drawing library."""


MODEL_SCRIPTS, PAGE_SCRIPTS = ("model.js", "load.js"), ("text.js", "charts.js", "load_card.js", "page.js")
"""Scripts of the arithmetic, and of the page around it."""


def _asset(name: str) -> str:
    return (resources.files("scylla_sim") / "explore" / "assets" / name).read_text("utf-8")


def plotly_script() -> str:
    """Return plotly.js, minified.

    Raises
    ------
    InputError
        If the package plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise InputError(
            "explore needs plotly, which is not installed; pip install 'scylla-sim[explore]'"
        ) from None
    return str(get_plotlyjs())


def as_script(data: Mapping[str, Any]) -> str:
    r"""Return data as JSON, no part of which ends a script element.

    Examples
    --------
    >>> print(as_script({"text": "</script>"}))
    {"text":"<\/script>"}
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def page(data: Mapping[str, Any], *, library: str | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    data
        Result of `scylla_sim.explore.page_data.page_data`, with ``choices`` where a server answers them, and
        ``load``, the result of `load_data`, where there is no server.
    library
        plotly.js to paste in; ``None`` loads it from `PLOTLY_PATH`.
    """
    script = f'<script src="{PLOTLY_PATH}"></script>' if library is None else f"<script>{library}</script>"
    parts = {
        "/*STYLE*/": _asset("style.css"),
        "<!--PLOTLY-->": script,
        "/*MODEL*/": "".join(_asset(name) for name in MODEL_SCRIPTS),
        "/*DATA*/null": as_script(data),
        "/*PAGE*/": "".join(_asset(name) for name in PAGE_SCRIPTS),
    }
    text = _asset("page.html")
    for marker, content in parts.items():
        before, _, after = text.partition(marker)
        text = before + content + after
    return text
