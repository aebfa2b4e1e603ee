"""A page in a headless Chromium."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_with_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def in_a_browser(test: Callable[..., Any]) -> Callable[..., Any]:
    """A test that starts a browser, which takes as long as a hundred other tests."""
    return pytest.mark.thorough(_with_browser(test))


WATCH = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(event.blockedURI));
console.error = (...words) => errors.push(words.join(" "));
</script>"""

SCRIPT = """<script>
const brief = (cell) => (cell.querySelector("summary") ?? cell).textContent;
const state = () => [...document.querySelectorAll("#mapping tbody tr")].map((row) => brief(row.children[1]));
const cotangents = () => [...document.querySelectorAll("#tape td.cotangent")].map(brief);
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const answers = () => [...document.querySelectorAll("#answers input")];
const report = {};
{%s}
report.errors = errors;
report.requests = performance.getEntriesByType("resource").length;
report.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const out = document.createElement("pre");
out.id = "report";
out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(report))));
document.body.append(out);
</script>"""


def run(page: str, script: str, tmp_path: Path, width: int = 1200) -> Any:
    """The report of a script that runs on the page in a headless Chromium."""
    file = tmp_path / "page.html"
    page = page.replace("<title>", WATCH + "<title>").replace(
        "</body>", SCRIPT % script + "</body>"
    )
    file.write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--window-size={width},800",
            f"--user-data-dir={tmp_path / 'profile'}",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = re.search(r'<pre id="report">([^<]*)</pre>', done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    report = json.loads(base64.b64decode(found[1]))
    assert report["errors"] == []
    assert report["requests"] == 0
    return report
