"""The text files: self-contained, escaped, accessible, and with the right numbers."""

import csv
import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser

import pytest

from tests.reporting.folders import FakeRun, write_run
from unet_exp.reporting.build import build_report
from unet_exp.reporting.page import breakable, latex, markdown

EVIL = "<script>alert(1)<"
"""As much of a tag as a folder name can be; the slash of a closing tag cannot be in one."""


TOPICS = (
    "Data preprocessing",
    "Results",
    "Training against validation",
    "Prediction images",
    "Dice coefficient",
    "Confusion matrices",
    "Calibration",
)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.stack = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def build(folder, settings, *runs, **changes):
    for run in runs:
        write_run(folder / "runs", run)
    changed = replace(settings, runs=str(folder / "runs"), output=str(folder / "report"), **changes)
    return build_report(changed).read_text(encoding="utf-8")


@pytest.fixture
def report(tmp_path, settings):
    return partial(build, tmp_path, settings)


@pytest.fixture(scope="module")
def evil_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evil")


@pytest.fixture(scope="module")
def evil_page(evil_folder, settings):
    quoted = f"{EVIL}\"onload=x '{{{{7*7}}}}-bcss-0000000a"
    return build(
        evil_folder,
        settings,
        FakeRun(EVIL, name=quoted, quality=0.9, config={"optim.name": "</style><img src=x onerror=alert(1)>"}),
        FakeRun("unet", config={"data.classes": {"<b>bold": {"color": [1, 2, 3], "codes": ["<i>"]}}}),
        title="<h1>&title",
    )


def test_nothing_of_a_run_becomes_markup(evil_page):
    page = Page(evil_page)
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1
    assert not page.all("b", "i")
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert {a["src"][:11] for a in page.all("img")} == {"data:image/"}
    assert "&lt;script&gt;alert(1)&lt;" in evil_page
    assert "{{7*7}}" in evil_page  # a template would have made it 49


def test_the_page_needs_nothing_else(evil_page):
    page = Page(evil_page)
    assert [a["href"] for a in page.all("link")] == ["data:,"]
    assert all(a["href"].startswith(("#", "https://")) for a in page.all("a"))
    assert not page.all("iframe", "object", "embed", "base")
    style = evil_page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_ids_are_unique_and_links_lead_somewhere(evil_page):
    page = Page(evil_page)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= set(ids)
    labelled = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert labelled <= set(ids)


def test_every_picture_has_words_and_every_table_headers(evil_page):
    page = Page(evil_page)
    assert page.all("img")
    assert all(a["alt"] for a in page.all("img"))
    assert all(a["role"] == "img" and a["aria-label"] for a in page.all("svg"))
    assert all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert all(a["aria-label"] for a in page.all("div") if a.get("class", "").startswith("scroll"))
    assert ("html", {"lang": "en"}) in page.tags


def test_companions_escape_names_too(evil_page, evil_folder):
    report = (evil_folder / "report" / "report.md").read_text()
    assert "<script>" not in report
    tex = (evil_folder / "report" / "results.tex").read_text()
    assert r"\textless{}script\textgreater{}alert(1)\textless{}" in tex
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 2


def test_escapes_by_hand():
    assert latex("a_b & 50% \\x {y}") == r"a\_b \& 50\% \textbackslash{}x \{y\}"
    assert markdown("*a*|<b>") == r"\*a\*\|&lt;b&gt;"
    assert latex("\N{MINUS SIGN}1") == "$-$1"


def test_a_single_run_shows_every_topic(report):
    page = report(FakeRun("unet"))
    headings = [re.sub("<[^>]+>", "", h) for h in re.findall(r"<h3[^>]*>(.*?)</h3>", page)]
    assert set(TOPICS) <= set(headings)
    assert "There is no second model" in page
    assert "<title>unet on bcss</title>" in page
    assert "Which model is better" not in headings
    assert "ColorJitter (p = 0.8)" in page


def test_the_best_epoch_is_the_recorded_one(report):
    page = report(FakeRun("unet", epochs=6))
    assert re.search(r'<td class="number">6</td><td class="number">6</td>\s*<td>01234567</td>', page)


def test_every_section_links_to_its_parts(report):
    page = report(FakeRun("unet"), FakeRun("resunet", quality=0.9))
    (contents,) = re.findall(r'<nav class="contents".*?</nav>', page, re.DOTALL)
    linked = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', contents)
    headings = re.findall(r'<h3 id="([^"]+)">([^<]+)</h3>', page)
    assert sorted(linked) == sorted(headings)


def test_the_leaderboard_says_how_it_is_sorted(report):
    page = report(FakeRun("unet"), FakeRun("resunet", quality=0.9), score="iou")
    assert re.findall(r'aria-sort="(\w+)">([^<]+)<', page) == [("descending", "IoU")]


def test_names_break_after_underscores_and_stay_escaped():
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"


def test_lesions_have_a_table_of_thresholds(report):
    page = report(FakeRun("unet", classes=("lesion",), target="unet_exp.data.isic.ISIC", config={"data.year": 2017}))
    assert "Confidence thresholds of unet" in page
    assert "PMC10407008, table 5" in page


def test_published_results_are_comparable_only_on_the_official_test_part(report, evil_page):
    assert "Ours are on the official test part" in evil_page
    page = report(FakeRun("unet"), part="val")
    assert "Ours are not on the official test part" in page
    assert "<strong>yes</strong>" not in page


def test_results_csv_holds_every_run(report, tmp_path):
    report(FakeRun("unet", 0), FakeRun("unet", 1), FakeRun("=cmd()", quality=0.9, name="=cmd()-bcss-00000001"))
    with (tmp_path / "report" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert {row["seed"] for row in rows if row["model"] == "unet"} == {"0", "1"}
    assert "'=cmd()" in {row["model"] for row in rows}  # no spreadsheet takes it for a formula
    assert all(0 < float(row["dice_tumor"]) < 1 for row in rows)


def test_limits_are_stated(report):
    page = report(FakeRun("unet"), FakeRun("resunet", quality=0.9), case_runs=1)
    assert "shown for 1 of 2 models (case_runs=1)" in page
    assert len(Page(page).all("fieldset")) == 3
    assert re.search(r"without links to the network, [\d.]+ [kM]B", page)


def test_settings_that_differ_stand_side_by_side(report):
    page = report(
        FakeRun("unet", name="unet-bcss-00000001"),
        FakeRun("unet", config={"optim.lr": 0.01}, name="unet-bcss-00000002"),
    )
    assert "<code>optim.lr</code>" in page
    assert "<td>0.01</td>" in page
    assert "unet (lr=0.002)" in page


def test_figures_are_files_for_papers(report, tmp_path):
    report(FakeRun("unet"), FakeRun("resunet", quality=0.9))
    names = {file.name for file in (tmp_path / "report" / "figures").iterdir()}
    stems = {"differences", "compute", "classes", "calibration", "accuracy", "loss", "dice"}
    assert names == {f"s1-{stem}.{suffix}" for stem in stems for suffix in ("svg", "pdf")}
