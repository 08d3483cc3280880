import json
import math
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from click.testing import CliRunner
from idc_eval import METRICS, Prediction, reference_ceiling, score, write_predictions
from idc_eval.calibration import confidence
from idc_eval.cli import main
from idc_eval.images import open_image
from idc_eval.prediction import Regions
from idc_eval.report import report_folder, write_report
from idc_eval.report_data import EXPLAINED, bar_charts, curve_panels, metric_rows, outcomes
from idc_eval.report_gallery import choose
from PIL import Image

CUBE = {"size": "large", "color": "red", "material": "metal", "shape": "cube", "right": 0.0, "front": 0.0}
GONE = {"change_type": "drop", "before": [CUBE], "after": [], "changed_before": 0, "changed_after": None}
STILL = {"change_type": "none", "before": [CUBE], "after": [CUBE], "changed_before": None, "changed_after": None}
SAID = {"right": "the cube is gone", "wrong": "the sphere is gone", "miss": "nothing changed"}
EVIL = (
    "</script><script>document.title = 'owned'</script> \"quoted\" & <img src=x onerror=alert(1)>\u2028next 🟥 "
    + "w" * 150
)
CURVES = {"train/loss": [(step, 4.0 / (1 + step)) for step in range(1000)], "val/loss": [(10, 2.0), (20, 1.0)]}


def made(at):
    """Pairs of known outcomes: changed ones are right, wrong or missed in turn, every fourth is unchanged."""
    changed = at % 4 != 0
    outcome = ("right", "wrong", "miss")[at % 3]
    false_alarm = not changed and at % 8 == 0
    return Prediction(
        id=f"pair-{at}",
        hypothesis=SAID[outcome] if changed else (SAID["right"] if false_alarm else SAID["miss"]),
        references=["the red cube is gone", "someone removed the cube"]
        if changed
        else ["nothing changed", "no change"],
        changed=changed,
        change_type="drop" if changed else "none",
        truth=GONE if changed else STILL,
        log_prob=-0.1 * at,
        before="images/before.png",
        after=f"images/after{at}.png",
        change_map=[[0.0, 0.25, 0.0], [0.0, 0.0, 0.5]],
        regions=Regions(before=[[0.25, 0.25, 0.5, 0.5]]),
        swapped="a cube was added",
        difficulty={"camera_turn": float(at % 7)},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with 32 pairs, one of them hostile and without images."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "images").mkdir()
    Image.new("RGB", (300, 200), (200, 30, 30)).save(folder / "images" / "before.png")
    for at in range(31):
        Image.new("RGB", (300, 200), (8 * at, 30, 200)).save(folder / "images" / f"after{at}.png")
    predictions = [*map(made, range(31)), Prediction(id=EVIL, hypothesis=EVIL, references=[EVIL], change_type=EVIL)]
    write_predictions(folder / "predictions.jsonl", predictions)
    (folder / "spec.json").write_text(json.dumps({"name": "a run", "seed": 7}))
    (folder / "curves.json").write_text(json.dumps(CURVES))
    report_folder(folder)
    return folder


@pytest.fixture(scope="module")
def predictions(run):
    return [*map(made, range(31)), Prediction(id=EVIL, hypothesis=EVIL, references=[EVIL], change_type=EVIL)]


@pytest.fixture
def opened(browser, run):
    """Opens the report, and fails the test if the page complains or asks anybody for anything."""
    complaints, asked, contexts = [], [], []

    def open_page(link="", **how):
        contexts.append(browser.new_context(**({"viewport": {"width": 1300, "height": 900}} | how)))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{run}/report.html{link}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {f"file://{run}/report.html"}


def shown(page):
    """Ids of the cards that are drawn, in order."""
    return page.eval_on_selector_all("article", "cards => cards.map(card => card.dataset.id)")


def told(path):
    return json.loads(re.search(r"^const data = (.*);$", path.read_text(encoding="utf-8"), re.M)[1])


def test_the_table_shows_the_scores(opened, predictions):
    scores, ceiling = score(predictions), reference_ceiling(predictions)
    page = opened()
    rows = page.eval_on_selector_all(
        "#metrics tr[data-metric]",
        "rows => rows.map(row => [row.dataset.metric, ...[...row.cells].slice(1, 5).map(cell => cell.textContent)])",
    )
    assert [name for name, *_ in rows] == list(scores.values)
    for name, value, interval, best, pairs in rows:
        assert float(value) == pytest.approx(100 * scores.values[name], abs=0.051)
        assert best == (f"{100 * ceiling.values[name]:.1f}" if name in ceiling.values else "–")
        assert int(pairs) == scores.counts[name]
        if name == "statement_accuracy":
            low, high = map(float, interval.split("–"))
            assert low < 100 * scores.values[name] < high
        if name.startswith("bleu"):
            assert interval == "–"
    assert page.inner_text("h1") == page.title() == "a run"
    assert json.loads(page.text_content("#spec pre")) == {"name": "a run", "seed": 7}


def test_plots_show_means_and_numbers_of_pairs(opened, predictions):
    page = opened()
    # false alarms: 0, 8, 16 and 24 of the eight unchanged pairs
    page.select_option("#metric", "false_alarm_rate")
    chart = page.locator("figure", has=page.locator("h3", has_text="Change type"))
    texts = chart.locator("g.row").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('text')].map(t => t.textContent))"
    )
    assert texts[0][0].startswith("</script>") and texts[1:] == [["drop", "–", "0"], ["none", "50.0", "8"]]
    assert "95 % interval 21.5 to 78.5" in chart.locator("g.row title").last.text_content()
    titles = page.locator("#s-plots h3").all_inner_texts()
    assert titles == [
        "Change type", "Reference length", "Confidence", "Difficulty: camera_turn", "Learning curve: loss"
    ]  # fmt: skip
    assert page.locator("#curves path").count() == 2 and page.locator("#curves circle").count() == 2


def test_filters_search_and_order(opened, predictions):
    page = opened()
    count = page.locator("#shown")
    assert count.inner_text() == "32 of 32 pairs"
    assert len(shown(page)) < 32, "cards are drawn when they are needed"
    became = dict(zip((p.id for p in predictions), outcomes(predictions, score(predictions)), strict=True))
    page.select_option("#outcome", "miss")
    assert set(shown(page)) == {name for name, outcome in became.items() if outcome == "miss"} != set()
    page.select_option("#changed", "unchanged")
    assert shown(page) == [] and page.locator("#nothing").is_visible()
    page.click("#clear")
    page.select_option("#changed", "unchanged")
    assert count.inner_text() == "8 of 32 pairs"
    page.select_option("#type", "drop")
    assert count.inner_text() == "0 of 32 pairs"
    page.click("#clear")
    page.fill("#search", "SPHERE gone")
    assert {became[name] for name in shown(page)} == {"wrong"}
    page.fill("#search", "pair-30")
    assert shown(page) == ["pair-30"]
    page.fill("#search", "pair-")
    page.select_option("#sort", "confidence")
    sure = [p.id for p in sorted(predictions[:31], key=confidence)]
    assert shown(page)[:10] == sure[:10]
    page.click("#direction")
    assert shown(page)[:10] == sure[::-1][:10]
    page.select_option("#sort", "statement_accuracy")
    assert became[shown(page)[0]] != "right" and page.inner_text("#direction") == "worst first"
    page.click("#direction")
    assert became[shown(page)[0]] == "right"
    page.select_option("#sort", "miss_rate")
    assert became[shown(page)[0]] == "miss", "where lower is better the highest is the worst"
    page.select_option("#sort", "random")
    orders = []
    for _ in range(4):
        orders.append(tuple(shown(page)))
        page.click("#direction")
    assert len(set(orders)) > 1


def test_scrolling_draws_all_cards(opened):
    page = opened()
    for _ in range(40):
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(30)
    assert len(shown(page)) == 32


def test_every_link_of_the_head_leads_to_its_heading(opened):
    page = opened()
    for link in page.locator("nav a").all():
        link.click()
        page.wait_for_timeout(300)  # cards that are drawn as one scrolls must not push it away
        target = page.locator(link.get_attribute("href")).locator("h2")
        assert target.inner_text() == link.inner_text()
        assert 0 <= target.bounding_box()["y"] < 100, link.inner_text()


def test_the_slider_moves_by_keyboard_and_pointer(opened):
    page = opened("#pair-3")
    stage = page.locator("article.linked .stage")
    assert stage.locator(".before").evaluate("layer => getComputedStyle(layer).clipPath") == "inset(0px 50% 0px 0px)"
    stage.locator("input").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert stage.locator(".before").evaluate("layer => getComputedStyle(layer).clipPath") == "inset(0px 40% 0px 0px)"
    box = stage.bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 10)
    assert abs(int(stage.locator("input").input_value()) - 20) <= 1
    page.keyboard.down("f")
    assert stage.locator(".before").evaluate("layer => getComputedStyle(layer).clipPath") == "none"
    page.keyboard.up("f")
    page.click("button[data-mode=side]")
    assert stage.locator(".after").bounding_box()["x"] > stage.locator(".before").bounding_box()["x"] + 100
    page.click("button[data-mode=flicker]")
    assert not stage.locator(".before").is_visible()
    page.keyboard.down("f")
    assert stage.locator(".before").is_visible()


def test_the_change_map_and_the_boxes_can_be_laid_over(opened):
    page = opened("#pair-3")
    canvas = page.locator("article.linked .after canvas")
    opacity = "canvas => +getComputedStyle(canvas).opacity"
    assert canvas.evaluate(opacity) == 0
    page.keyboard.press("m")
    assert canvas.evaluate(opacity) == pytest.approx(0.7)
    page.locator("#opacity").fill("30")
    assert canvas.evaluate(opacity) == pytest.approx(0.3)
    levels = canvas.evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, n) => n % 4 === 3)"
    )
    assert levels == [0, 128, 0, 0, 0, 255], "the highest value of the page is opaque"
    assert page.inner_text("#map-top") == "0.5"
    page.keyboard.press("m")
    assert canvas.evaluate(opacity) == 0
    frame, image = page.locator("article.linked .before .box"), page.locator("article.linked .before img")
    assert not frame.is_visible()
    page.keyboard.press("b")
    inner, outer = frame.bounding_box(), image.bounding_box()
    assert inner["x"] == pytest.approx(outer["x"] + outer["width"] / 4, abs=1)
    assert inner["height"] == pytest.approx(outer["height"] / 2, abs=1)
    assert page.locator("article.linked .after .box").count() == 0


def test_pairs_unlike_the_training_images_are_counted_and_marked(browser, tmp_path):
    said = [
        Prediction(id=str(row), hypothesis="it moved", references=[f"cube {row} moved"], familiar=familiar)
        for row, familiar in enumerate((0.9, 0.02, None))
    ]
    scores = score(said, ["bleu-1"])
    assert "1 of 2 pairs" in scores.details["note"]
    write_report(tmp_path / "report.html", said, scores, folder=tmp_path, title="a")
    page = browser.new_page()
    page.goto(f"file://{tmp_path}/report.html")
    assert "1 of 2 pairs is unlike" in page.inner_text("#familiar") and "1 of 2 pairs" in page.inner_text("#warnings")
    marked = page.eval_on_selector_all("article", "cards => cards.map(card => !card.querySelector('.problem').hidden)")
    assert sum(marked) == 1
    assert page.locator("article", has_text="Unlike what the model was trained on").get_attribute("data-id") == "1"
    assert page.locator("article[data-id='0'] dl").text_content().count("familiar90.0 %") == 1
    page.close()
    assert score([p.model_copy(update={"familiar": 0.9}) for p in said], ["bleu-1"]).details["note"] == ""


def test_images_are_found_in_either_unicode_form_of_their_name(tmp_path):
    composed, split = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))
    Image.new("RGB", (9, 9)).save(tmp_path / split)
    said = [Prediction(id="1", hypothesis="x", references=["x"], before=composed, after=split)]
    assert write_report(tmp_path / "r.html", said, score(said, ["bleu-1"]), folder=tmp_path, title="a") == []


def test_images_of_sixteen_bits_and_transparent_ones_look_as_the_model_sees_them(tmp_path):
    Image.fromarray(np.array([[0, 1000, 4095]], np.uint16)).save(tmp_path / "sensor.png")  # 12 bits in use
    Image.new("RGBA", (1, 1), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(open_image(tmp_path / "sensor.png"))[0, :, 0].tolist() == [0, 62, 255]
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_link_leads_to_a_pair(opened, predictions):
    page = opened("#pair-17")
    page.wait_for_function("document.activeElement.dataset.id === 'pair-17'")
    assert page.locator("article.linked").bounding_box()["y"] < 300
    page.select_option("#outcome", "miss")
    page.evaluate("location.hash = '#pair-3'")
    page.wait_for_function("document.activeElement.dataset.id === 'pair-3'")
    assert page.input_value("#outcome") == "", "filters that hide it are taken away"
    page.keyboard.press("j")
    following = shown(page)[shown(page).index("pair-3") + 1]
    assert page.evaluate("document.activeElement.dataset.id") == following
    page.evaluate("location.hash = '#nobody'")
    page.wait_for_function("document.querySelector('#shown').textContent === 'Pair nobody is not on this page'")


def test_hostile_captions_are_text(opened):
    page = opened()
    page.fill("#search", "owned")
    assert page.title() == "a run"
    card = page.locator("article")
    assert card.locator(".hypothesis").text_content() == EVIL
    assert card.locator(".references li").text_content() == EVIL
    assert card.locator("header .id").text_content() == EVIL
    assert card.locator("script, .hypothesis *").count() == 0
    assert "names no image 'before'" in card.locator(".problem").inner_text()
    card.locator(".id").click()
    page.wait_for_function("document.querySelectorAll('article.linked').length === 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone(opened, tmp_path, scheme):
    page = opened(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    for where in ("#s-scores", "#s-plots", "#s-pairs", "#s-origin"):
        page.locator(where).scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    stage = page.locator("article .stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    assert abs(int(stage.locator("input").input_value()) - 75) <= 1
    page.screenshot(path=tmp_path / "phone.png")
    with Image.open(tmp_path / "phone.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**6)) > 50
        light = picture.convert("L").getpixel((2, 2))
    assert (light > 128) == (scheme == "light")


def test_each_image_is_on_the_page_once(run):
    data = told(run / "report.html")
    assert len(data["images"]) == 32 and len({pair["before"] for pair in data["pairs"][:31]}) == 1


def test_the_same_input_gives_the_same_page(run, tmp_path):
    page, problems = report_folder(run, out=tmp_path / "again.html")
    assert problems == [] and page.read_bytes() == (run / "report.html").read_bytes()


def test_what_has_no_value_is_null_and_what_is_not_there_is_said(browser, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    says = {"references": ["a"], "hypothesis": "a", "before": "good.png"}
    pairs = [
        Prediction(id="0", **says, after="gone.png", difficulty={"overlap": math.nan}),
        Prediction(id="1", **says, after="bad.png", log_prob=-math.inf),
    ]
    problems = write_report(
        tmp_path / "r.html", pairs, score(pairs, ["rouge-l", "miss_rate"]), folder=tmp_path, title="t",
        curves={"val/cider": [(1, math.nan)], "train/loss": [(1, math.inf), (2, 0.5)]},
    )  # fmt: skip
    data = told(tmp_path / "r.html")
    assert (
        problems
        == data["problems"]
        == ["2 images are not shown, the first: there is no image 'gone.png' beside the predictions"]
    )
    page = browser.new_page()
    page.goto(f"file://{tmp_path}/r.html")
    # The one image that is there is shown whole.
    assert page.locator(".before").first.evaluate("layer => getComputedStyle(layer).clipPath") == "none"
    assert page.locator(".before .name").first.is_visible() and page.locator(".after").count() == 0
    assert page.locator(".warning").first.inner_text() == problems[0] and not page.locator("#became").is_visible()
    page.close()
    assert data["pairs"][0]["before"] == 0 and data["pairs"][0]["after"] is None
    assert "bad.png' is damaged" in data["pairs"][1]["problem"]
    assert data["pairs"][0]["difficulty"] == {"overlap": None} and data["pairs"][1]["scores"] == {"rouge-l": 1.0}
    assert data["curves"] == [{"title": "loss", "lines": [{"name": "train/loss", "points": [[2, 0.5]]}]}]
    assert list(data["skipped"]) == ["miss_rate"]


def test_the_worst_the_best_and_some_at_random_are_chosen(predictions):
    pairs = [made(at).model_copy(update={"id": str(at)}) for at in range(400)]
    scores = score(pairs, ["statement_accuracy"])
    rows, note = choose(pairs, scores, 200)
    values = [scores.per_example["statement_accuracy"][row] for row in rows]
    assert len(set(rows)) == 200 and rows == sorted(rows)
    assert "200 of 400 pairs are shown: the 50 worst and 50 best by statement_accuracy" in note
    assert values.count(0) >= 50 and values.count(1) >= 50
    assert choose(pairs, scores, 200) == (rows, note) and choose(pairs, scores, 200, seed=1)[0] != rows
    assert max(rows[:50]) > 50, "equals are drawn, not taken from the front"
    assert choose(pairs, scores, 400) == (list(range(400)), "")
    bare = [p if int(p.id) % 2 else p.model_copy(update={"before": None}) for p in pairs]
    some, note = choose(bare, scores, 100)
    assert (
        all(row % 2 for row in some) and "the 25 worst and 25 best by statement_accuracy of the 200 with images" in note
    )
    most, _ = choose(bare, scores, 300)
    assert {row for row in range(400) if row % 2} <= set(most), "those without images only fill up"


def test_a_protocol_shows_the_pairs_that_it_scores(tmp_path):
    pairs = [made(at) for at in range(8)]
    write_report(tmp_path / "r.html", pairs, score(pairs, protocol="scenes/semantic"), folder=tmp_path, title="t")
    data = told(tmp_path / "r.html")
    assert data["n"] == len(data["pairs"]) == sum(data["outcomes"].values()) == 6
    with pytest.raises(ValueError, match="there are scores of 8 pairs, but 7 predictions"):
        write_report(tmp_path / "r.html", pairs[:7], score(pairs), folder=tmp_path, title="t")


def test_bars_hold_what_the_scores_hold(predictions):
    scores = score(predictions)
    charts = {chart["title"]: chart for chart in bar_charts(predictions, scores)}
    types = charts["Change type"]
    for name in ("statement_accuracy", "miss_rate", "pointing_game"):
        for label, bar in zip(types["labels"], types["metrics"][name], strict=True):
            assert (bar[0] if bar else None) == pytest.approx(scores.by_type[label].get(name), abs=1e-6)
    sure = charts["Confidence"]["metrics"]["rouge-l"]
    assert sum(bar[3] for bar in sure) == 31, "one pair has no log_prob"
    assert all(low <= mean <= high for mean, low, high, _ in sure)
    assert charts["Difficulty: camera_turn"]["labels"] == ["0 to 2", "3 to 4", "5 to 6"]


def test_shares_are_never_certain():
    pairs = [made(4 * at + 4) for at in (1, 3, 5)]
    rows = {row["name"]: row for row in metric_rows(score(pairs, ["false_alarm_rate", "rouge-l"]), None)}
    assert rows["false_alarm_rate"]["value"] == 1 and rows["false_alarm_rate"]["low"] == pytest.approx(0.4385, abs=1e-4)


def test_curves_keep_their_last_point():
    (panel,) = curve_panels(CURVES)
    assert [line["name"] for line in panel["lines"]] == ["train/loss", "val/loss"]
    steps = [step for step, _ in panel["lines"][0]["points"]]
    assert len(steps) <= 300 and steps[-1] == 999 and steps == sorted(steps)


def test_every_metric_is_explained():
    assert list(METRICS) == [name for name in METRICS if EXPLAINED.get(name)]


def test_the_command(run, tmp_path):
    (tmp_path / "predictions.jsonl").write_bytes((run / "predictions.jsonl").read_bytes())
    (tmp_path / "scores.json").write_text(json.dumps(score([made(1), made(2)], ["rouge-l", "bleu"]).summary()))
    ended = CliRunner().invoke(main, ["report", str(tmp_path), "--num", "8"])
    assert ended.exit_code == 0 and f"{tmp_path}/report.html: " in ended.stdout
    assert "images are not shown" in ended.stderr
    data = told(tmp_path / "report.html")
    assert len(data["pairs"]) == 8 and data["main"] == "rouge-l" and data["title"] == tmp_path.name
    assert [row["name"] for row in data["metrics"]] == ["rouge-l", "bleu-1", "bleu-2", "bleu-3", "bleu-4"]
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.suffix] == []


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({"curves.json": '{"a": [[1, "x"]]}'}, [], "expected {name: [[step, value], ...]}; a.0.1"),
        ({"scores.json": "no"}, [], "scores.json: not JSON"),
        ({}, ["--metrics", "blue"], "did you mean 'bleu'"),
        ({}, ["--out", "/nowhere/r.html"], "the folder '/nowhere' does not exist"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, files, arguments, message):
    (tmp_path / "predictions.jsonl").write_bytes((run / "predictions.jsonl").read_bytes())
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ended = CliRunner().invoke(main, ["report", str(tmp_path), *arguments])
    assert ended.exit_code == 2 and message in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_predictions(tmp_path):
    with pytest.raises(FileNotFoundError, match="no predictions.jsonl in"):
        report_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_needs_no_heavy_library():
    heavy = "{'torch', 'matplotlib', 'mlflow'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, idc_eval.report; assert not {heavy}, {heavy}"], check=False
    )
    assert done.returncode == 0
