"""The page in a real browser: opens from disk without errors, sorts, toggles, fits a phone, is quick when large."""

from pathlib import Path

import pytest

from tests.reporting.folders import FakeRun, write_run
from unet_exp.reporting.build import build_report
from unet_exp.reporting.settings import ReportSettings

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        write_run(runs, FakeRun("unet", seed, 0.80))
        write_run(runs, FakeRun("resunet", seed, 0.88, gmacs=9.0))
    long = "a_model_with_a_name_that_is_much_too_long_for_any_phone_and_has_no_space_in_it"
    write_run(runs, FakeRun(long, quality=0.7, name=f"{long}-bcss-00000001"))
    lesion = {"classes": ("lesion",), "target": "unet_exp.data.isic.ISIC", "config": {"data.year": 2017}}
    write_run(runs, FakeRun("<script>alert(1)<", name="<script>alert(1)<-isic-0000000a", **lesion))
    write_run(runs, FakeRun("unet", state="running", name="unfinished"))
    return build(runs)


def build(runs: Path, **changes) -> Path:
    given = {"draws": 200, "picture_side": 64, "case_runs": 8, "all_pairs": 6} | changes
    return build_report(
        ReportSettings(
            runs=str(runs), output=None, title="Test", part="auto", score="dice", baseline=None, level=0.95, seed=0,
            **given,
        )
    )  # fmt: skip


@pytest.fixture
def open_page(browser):
    pages, problems = [], []

    def open_it(path: Path, *, width: int = 1200, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        page.on("dialog", lambda dialog: problems.append(dialog.message) or dialog.dismiss())
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_it
    for page in pages:
        page.close()
    assert problems == []


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_overflows(open_page, report, width):
    page = open_page(report, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_overflows_on_paper(open_page, report):
    page = open_page(report, width=718)  # A4 less margins, at 96 dots per inch
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_tables_sort_both_ways_and_say_so(open_page, report):
    page = open_page(report)
    table = page.locator("table.sortable").first
    names = "rows => rows.map(row => row.cells[0].textContent.trim().slice(0, 7))"
    rows = table.locator("tbody tr")
    assert rows.evaluate_all(names) == ["resunet", "unet", "a_model"]
    header = table.locator("thead th", has_text="GMACs")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert rows.evaluate_all(names)[0] == "resunet"
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert rows.evaluate_all(names)[-1] == "resunet"
    # the model without a spread over seeds stays last in both directions
    for _ in range(2):
        table.locator("thead th", has_text="SD of seeds").locator("button").click()
        assert rows.evaluate_all(names)[-1] == "a_model"


def test_cases_toggle_by_mouse_by_keyboard_and_all_at_once(open_page, report):
    page = open_page(report)
    viewer = page.locator(".viewer").first
    shown = "figures => figures.filter(f => f.offsetParent).map(f => f.className)"
    figures = viewer.locator(".stage figure")
    assert figures.evaluate_all(shown) == ["view-image"]
    viewer.get_by_text("prediction", exact=True).first.click()
    assert figures.evaluate_all(shown) == ["view-prediction"]
    page.keyboard.press("ArrowRight")
    assert figures.evaluate_all(shown) == ["view-error"]
    page.locator("button[data-view=truth]").first.click()
    grid = page.locator("#s1-cases-grid details[open] .stage figure")
    assert grid.evaluate_all(shown) == ["view-truth"] * 3


def test_the_buttons_for_all_cases_say_which_is_pressed(open_page, report):
    page = open_page(report)
    buttons = page.locator("button[data-section=s1-cases-grid]")
    pressed = "all => all.filter(b => b.getAttribute('aria-pressed') === 'true').map(b => b.dataset.view)"
    assert buttons.evaluate_all(pressed) == ["image"]
    buttons.filter(has_text="error").press("Space")
    assert buttons.evaluate_all(pressed) == ["error"]
    page.locator(".viewer").first.get_by_text("truth", exact=True).first.click()
    assert buttons.evaluate_all(pressed) == []


def test_every_control_is_reached_by_the_tabulator(open_page, report):
    page = open_page(report)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    # Of a group of radio buttons only one is a stop; the arrow keys lead to the others.
    controls = page.locator("a[href], button:not([hidden]), summary, input:checked, .scroll").count()
    seen = set()
    for _ in range(controls + 5):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("""() => {
          const all = [...document.querySelectorAll('a[href], button:not([hidden]), summary, input:checked, .scroll')];
          return all.indexOf(document.activeElement);
        }""")
        )
    assert seen - {-1} == set(range(controls))


def test_paper_is_light_whatever_the_theme(open_page, report):
    page = open_page(report, color_scheme="dark")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print")
    variable = "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    assert page.evaluate(variable, "--paper") == "#fff"
    assert page.evaluate(variable, "--series-0") == "#0072b2"
    assert not page.locator("figure details").first.is_visible()


def test_the_theme_follows_the_system_and_the_button(open_page, report):
    background = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('svg.plot text')).fill"
    light, dark = open_page(report, color_scheme="light"), open_page(report, color_scheme="dark")
    assert light.evaluate(background) == "rgb(255, 255, 255)"
    assert dark.evaluate(background) == "rgb(13, 17, 23)"
    assert light.evaluate(ink) != dark.evaluate(ink)
    dark.locator("#theme").click()
    assert dark.evaluate(background) == light.evaluate(background)
    assert dark.evaluate(ink) == light.evaluate(ink)


def test_text_has_contrast_in_both_themes(open_page, report):
    """WCAG AA: 4.5 to 1 for text, in every colour that text has."""
    ratio = """() => {
      const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const luminance = hex => [1, 3, 5].map(i => channel(parseInt(hex.slice(i, i + 2), 16)))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const style = getComputedStyle(document.documentElement);
      const of = name => luminance(style.getPropertyValue(name).trim());
      const texts = ['--ink', '--muted', '--accent', '--better', '--worse'];
      return texts.flatMap(name => ['--paper', '--panel'].map(ground => {
        const [a, b] = [of(name), of(ground)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      }));
    }"""
    for scheme in ("light", "dark"):
        assert min(open_page(report, color_scheme=scheme).evaluate(ratio)) >= 4.5


def test_a_run_called_script_stays_text(open_page, report):
    page = open_page(report)
    assert page.locator("script").count() == 1
    assert page.get_by_text("<script>alert(1)<").first.is_visible()


def test_the_page_works_without_scripts(open_page, report):
    page = open_page(report, java_script_enabled=False)
    viewer = page.locator(".viewer").first
    viewer.get_by_text("truth", exact=True).first.click()
    assert viewer.locator(".view-truth").is_visible()
    assert not page.locator("#theme").is_visible()


def test_two_hundred_runs_give_a_page_that_is_small(open_page, tmp_path):
    for number in range(200):
        fake = FakeRun(f"m{number}", quality=0.6 + number / 1000, images=45, parts=("test",), epochs=3)
        write_run(tmp_path / "runs", fake)
    path = build(tmp_path / "runs")
    assert path.stat().st_size < 3_000_000
    page = open_page(path, width=390)
    assert page.locator("table.sortable").first.locator("tbody tr").count() == 200
    assert page.locator(".viewer").count() == 8 * 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelectorAll('*').length") < 60_000


def test_two_thousand_cases_give_a_page_as_small_as_twenty(open_page, tmp_path):
    lesion = {"classes": ("lesion",), "target": "unet_exp.data.isic.ISIC", "config": {"data.year": 2017}}
    for model, quality in (("unet", 0.8), ("resunet", 0.85)):
        for images in (20, 2000):
            fake = FakeRun(model, quality=quality, images=images, patients=images, parts=("test",), **lesion)
            write_run(tmp_path / str(images), fake)
    few, many = (build(tmp_path / str(images)) for images in (20, 2000))
    assert abs(many.stat().st_size - few.stat().st_size) < 5_000  # cases are counted, not listed
    page = open_page(many, width=390)
    assert page.locator(".viewer img").count() == 2 * 3 * 4
    assert page.get_by_text("2,000 of the test part").is_visible()
    sides = page.locator(".viewer img").evaluate_all("all => all.map(i => Math.max(i.naturalWidth, i.naturalHeight))")
    assert max(sides) <= 64
