"""`tomofilt report`: one page that holds everything, checked as text and in a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from strategies_evaluate import EXAMPLE, tomograms_of_the_example

from tomofilt.cli.app import main

VOID = {"meta", "img", "br", "path", "circle", "image"}


@pytest.fixture(scope="module")
def tomograms(tmp_path_factory):
    return tomograms_of_the_example(tmp_path_factory.mktemp("tomograms"))


class Checker(HTMLParser):
    """Every element closed in order, nothing from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.addresses = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        addresses = [v for name, v in attributes if name in ("src", "href", "xlink:href")]
        self.addresses += [address for address in addresses if not address.startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tomograms):
    path = tomograms[0].parents[1] / "report.html"
    measured = ["--series", str(EXAMPLE), "--truth", str(tomograms[1])]
    assert main(["report", *map(str, tomograms), *measured, "-o", str(path)]) == 0
    return path


def test_report_is_whole_and_needs_nothing_else(page):
    text = page.read_text()
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert all(address.startswith("data:image/png;base64,") for address in checker.addresses)
    # two slices of each tomogram and of the truth, and two filters
    assert len(checker.addresses) == 2 * 3 + 2
    without_records = re.sub(r"(?s)<pre>.*?</pre>|<dd>.*?</dd>", "", text)
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link", without_records)
    assert checker.tags.count("svg") >= 7
    assert not re.search(r'(d|cx|cy|x|y)="[^"]*(nan|inf)', text)
    for heading in ("Slices", "Figures", "Curves", "Filters", "Records"):
        assert f"<h2>{heading}</h2>" in text


def test_report_escapes_names(tomograms, call, tmp_path):
    """A name of a file is text, never markup."""
    rec = tmp_path / "<b>&'.mrc"
    shutil.copy(tomograms[0], rec)
    code, _, _ = call("report", rec, "-o", tmp_path / "r.html")
    assert code == 0
    text = (tmp_path / "r.html").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;&#39;.mrc" in text
    assert "record</dt><dd>none" in text
    checker = Checker()
    checker.feed(text)
    assert checker.open == []


def test_report_replaces_reports_alone(tomograms, call, tmp_path):
    path = tmp_path / "r.html"
    assert call("report", tomograms[0], "-o", path)[0] == 0
    first = path.read_bytes()
    assert call("report", tomograms[1], "-o", path)[0] == 0
    assert path.read_bytes() != first
    path.write_text("<html>my own</html>")
    code, _, err = call("report", tomograms[0], "-o", path)
    assert (code, path.read_text()) == (2, "<html>my own</html>")
    assert "is no report of tomofilt" in err
    code, _, err = call("report", tomograms[0], "-o", tmp_path / "nowhere" / "r.html")
    assert code == 2
    assert "no such folder" in err


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_draws_the_report(page, tmp_path):
    """Everything is laid out, in view and painted, by a real browser without network."""
    probe = """
    <script>
      const box = (e) => e.getBoundingClientRect();
      const bad = [];
      for (const e of document.querySelectorAll('svg, img, table'))
        if (box(e).width < 100 || box(e).height < 20) bad.push(e.tagName + ' is too small');
      for (const e of document.images)
        if (!e.complete || e.naturalWidth < 20) bad.push('an image is broken');
      for (const svg of document.querySelectorAll('svg'))
        for (const e of svg.querySelectorAll('text, use, g > path'))
          if (box(e).right > box(svg).right + 12 || box(e).left < box(svg).left - 2 ||
              box(e).top < box(svg).top - 2 || box(e).bottom > box(svg).bottom + 2)
            bad.push(svg.getAttribute('aria-label') + ': ' + e.outerHTML.slice(0, 90));
      if (document.documentElement.scrollWidth > innerWidth) bad.push('wider than the window');
      document.title = bad.length ? bad.join('; ') : 'all is well';
    </script></body>"""
    copy = tmp_path / "probe.html"
    copy.write_text(page.read_text().replace("</body>", probe))
    browser = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu"]
    browser += [f"--user-data-dir={tmp_path}/profile", "--hide-scrollbars"]
    browser += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,5000"]

    def run(*arguments):
        command = [*browser, *arguments, copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    title = re.search(r"<title>(.*?)</title>", run("--dump-dom"))[1]
    assert title == "all is well"
    run(f"--screenshot={tmp_path}/page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"), float)
    assert pixels.shape == (5000, 1200)
    # slices above, curves below: something is painted in every part of the page but its end
    for top in range(0, 3500, 500):
        assert pixels[top : top + 500].std() > 3
