"""Open a report in headless Chromium as people do, and say what is wrong with it.

``python docs/browse.py runs/quickstart/report.html --shots docs --name quickstart`` opens the page
on a wide screen, dark, on a phone, in print and without scripts. A console message, a request, a
fault that axe-core calls serious or critical, a page wider than the phone, or a table that does not
sort is printed, and the exit code is 1. ``--shots`` keeps pictures: ``NAME.png`` (first screen),
``NAME-phone.png``, ``NAME-print.png``.

Needs Chromium, and Playwright with axe-core: ``pip install --group browser``.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

WIDE, PHONE, SHEET = (1280, 1120), (390, 844), (794, 1123)  # CSS pixels; the last is A4 at 96 dpi
LARGEST_BYTES = 3_000_000
IMPACTS = ("serious", "critical")
VIEWS: dict[str, dict[str, Any]] = {
    "wide": {"size": WIDE},
    "dark": {"size": WIDE, "color_scheme": "dark"},
    "phone": {"size": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
    "print": {"size": SHEET},
    "without scripts": {"size": WIDE, "java_script_enabled": False},
}
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WIDE_TAGS = """[...document.body.querySelectorAll('*')]
  .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1 &&
    !one.closest('.scroll'))
  .slice(0, 3).map(one => one.tagName + ' ' + one.textContent.slice(0, 40))"""


def faults(browser: Browser, report: Path, shots: Path | None, name: str) -> Iterator[str]:
    """Everything that is wrong with the page, view by view, in words."""
    if report.stat().st_size > LARGEST_BYTES:
        yield f"{report.stat().st_size:,} bytes; {LARGEST_BYTES:,} are allowed"
    for view, options in VIEWS.items():
        size = dict(zip(("width", "height"), options["size"], strict=True))
        further = {key: value for key, value in options.items() if key != "size"}
        context = browser.new_context(viewport=size, **further)
        page = context.new_page()
        heard: list[str] = []
        page.on("console", lambda said, heard=heard: heard.append(f"console: {said.text}"))
        page.on("pageerror", lambda error, heard=heard: heard.append(f"error: {error}"))
        page.on("request", lambda asked, heard=heard: heard.append(f"request: {asked.url[:100]}"))
        page.goto(report.resolve().as_uri())
        if view == "print":
            page.emulate_media(media="print")
        if shots is not None:
            _shoot(page, view, shots, name)
        yield from (f"{view}: {one}" for one in _seen(page, view))
        own = f"request: {report.resolve().as_uri()[:100]}"
        yield from (f"{view}: {one}" for one in heard if one not in (own, "request: data:,"))
        context.close()


def _seen(page: Page, view: str) -> Iterator[str]:
    """What a look at one view finds."""
    if view == "without scripts":
        return
    if view == "wide":
        yield from _sorting(page)
    page.evaluate(OPEN_ALL)
    if page.evaluate(TOO_WIDE) > 0 and view != "print":
        yield f"wider than the screen by {page.evaluate(TOO_WIDE)} px: {page.evaluate(WIDE_TAGS)}"
    for fault in Axe().run(page).response["violations"]:
        if fault["impact"] in IMPACTS:
            places = [" ".join(map(str, node["target"])) for node in fault["nodes"][:3]]
            yield (
                f"axe-core, {fault['impact']}: {fault['help']} ({fault['id']}), "
                f"{len(fault['nodes'])} places: {'; '.join(places)}"
            )


def _sorting(page: Page) -> Iterator[str]:
    """Sorts the first sortable table by the keyboard."""
    button = page.locator("table.sortable .sort").first
    if not button.count():
        yield "no table that sorts"
        return
    page.evaluate(OPEN_ALL)
    button.focus()
    page.keyboard.press("Enter")
    if page.locator("table.sortable th[aria-sort]").count() != 1:
        yield "Enter on a column's name does not sort its table"


def _shoot(page: Page, view: str, shots: Path, name: str) -> None:
    file = {"wide": f"{name}.png", "phone": f"{name}-phone.png", "print": f"{name}-print.png"}
    if view in file:
        page.screenshot(path=shots / file[view], scale="device")


def main() -> int:
    """Print the faults; 1 if there is any."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("report", type=Path)
    asked.add_argument("--shots", type=Path, help="folder for pictures")
    asked.add_argument("--name", default="report", help="what their names begin with")
    given = asked.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        found = list(faults(browser, given.report, given.shots, given.name))
        browser.close()
    sys.stdout.write("".join(f"{one}\n" for one in found) or "no fault\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
