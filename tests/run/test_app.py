"""The page of `idc-app` in a real browser, and its server: started as a user starts it."""

import asyncio
import base64
import csv
import io
import json
import re
import subprocess
import threading
import zipfile
from http.client import HTTPConnection
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import uvicorn
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_eval.rating.server import listen
from idc_models.serving.inference import PairCaptioner
from PIL import Image
from playwright.sync_api import expect

from idc_run.checkpoint import load_checkpoint
from idc_run.serving.app import model_elsewhere, page_app
from idc_run.serving.caption_cli import app
from idc_run.tracking.store import connect

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow")]


@pytest.fixture(scope="module")
def pairs():
    reader = open_reader("scenes", "test", image_size=48)
    return [(reader[index].before, reader[index].after) for index in range(4)]


@pytest.fixture(scope="module")
def said(registered, pairs):
    """What the model says of the pairs as the page asks: four captions each."""
    return PairCaptioner(registered.result.checkpoint).caption(pairs, num_captions=4)


@pytest.fixture(scope="module")
def files(pairs, tmp_path_factory):
    """A folder with the pairs as files, and what is no image."""
    folder = tmp_path_factory.mktemp("files")
    for index, pair in enumerate(pairs):
        for side, image in zip(("before", "after"), pair, strict=True):
            Image.fromarray(image).save(folder / f"{index}_{side}.png")
    (folder / "notes.png").write_text("nothing has changed")
    return folder


@pytest.fixture
def open_page(browser, app_address):
    """Opens the page in a context of its own; nothing may come from elsewhere, and the console stays empty."""
    contexts, troubles = [], []

    def opened(path="", *, quiet=True, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(180_000)
        expect.set_options(timeout=180_000)
        if quiet:
            page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((app_address, "blob:", "data:")) or troubles.append(request.url),
        )
        page.goto(app_address + path)
        page.wait_for_selector(".past", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def says(page, wanted):
    """Wait until the page shows a caption; models this small often say nothing."""
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#caption")).to_have_text(wanted.caption or "(no words)")


def give(page, files, name="0", sides=("before", "after")):
    for side in sides:
        page.set_input_files(f".slot[data-side={side}] input", files / f"{name}_{side}.png")


def test_two_files_get_a_caption_with_alternatives_and_a_map(open_page, files, said):
    page = open_page()
    assert page.is_hidden("#work")
    give(page, files)
    says(page, said[0])
    expect(page.locator("#captions li")).to_have_count(1 + len(said[0].alternatives))
    shown = page.locator("#captions li").all_inner_texts()
    for text, wanted in zip(shown, (said[0], *said[0].alternatives), strict=True):
        assert text.startswith(wanted.caption or "(no words)") and text.endswith(" %")
    part = float(re.search(r"[\d.]+", page.inner_text("#changed b")).group()) / 100
    assert part == pytest.approx(said[0].changed, abs=0.002)
    assert page.locator("#stage").bounding_box()["height"] <= 0.67 * 860, "picture and caption fit the window"
    assert page.locator("#stage canvas").count() == 2, "the map lies over both images"
    assert page.evaluate("getComputedStyle(document.querySelector('canvas')).opacity") == "0"
    page.keyboard.press("m")
    expect(page.locator("#map")).to_have_attribute("aria-pressed", "true")
    # A second pair, at once: one by one, the new image beside the old one may be a pair as well. And the first one
    # again, from the history that outlives the page.
    dropped(page, "body", [files / "1_before.png", files / "1_after.png"])
    says(page, said[1])
    expect(page.locator(".past button")).to_have_count(2)
    page.reload()
    expect(page.locator(".past button")).to_have_count(2)
    page.locator(".past button").nth(1).evaluate("button => { button.click(); button.click(); }")
    says(page, said[0])
    expect(page.locator("#stage canvas")).to_have_count(2)
    assert "0_before.png · 48 × 48" in page.inner_text(".slot[data-side=before]")
    expect(page.locator("#map")).to_have_attribute("aria-pressed", "true")
    page.click("#forget")
    expect(page.locator("#history")).to_be_hidden()


def dropped(page, where, paths):
    """Drop files as a file manager does."""
    given = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
    page.evaluate(
        """([where, given]) => {
          const transfer = new DataTransfer();
          for (const [name, text] of given)
            transfer.items.add(new File([Uint8Array.from(atob(text), sign => sign.charCodeAt(0))], name));
          const send = kind => document.querySelector(where).dispatchEvent(
            new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
          send("dragover");
          send("drop");
        }""",
        [where, given],
    )


def test_images_are_dropped_pasted_swapped_and_tried(open_page, files, said, registered, pairs):
    page = open_page()
    # Two at once are told apart by their names.
    dropped(page, "main", [files / "0_after.png", files / "0_before.png"])
    says(page, said[0])
    page.click("#swap")
    backwards = PairCaptioner(registered.result.checkpoint).caption([pairs[0][::-1]], num_captions=4)[0]
    assert "0_after.png" in page.inner_text(".slot[data-side=before]")
    says(page, backwards)
    page.click("[aria-label='Remove the before image']")
    expect(page.locator("#work")).to_be_hidden()
    # What is pasted goes where there is room.
    page.evaluate(
        """text => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
          transfer.items.add(new File([bytes], "pasted.png", {type: "image/png"}));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
        }""",
        base64.b64encode((files / "0_before.png").read_bytes()).decode(),
    )
    expect(page.locator(".slot[data-side=before]")).to_contain_text("pasted.png")
    expect(page.locator("#work")).to_be_visible()
    page.locator(".strip button").first.click()
    expect(page.locator(".slot[data-side=after]")).to_contain_text("example_1_after.webp · 256 × 256")
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    assert page.inner_text("#problem") == ""
    assert page.is_disabled("#curl") and "“example_1_before.webp” is an example" in page.get_attribute("#curl", "title")


def test_a_caption_of_foreign_images_is_not_told_as_if_it_were_true(open_page, files):
    reply = {"caption": "a cube moved", "log_prob": -1.0, "changed": 1.0, "alternatives": [], "familiar": 0.02}
    warning = (
        "these images are unlike those that the model was trained on (procedural scenes): do not trust this caption"
    )
    replies = [reply | {"note": warning}, reply | {"familiar": 0.97, "note": None}, reply | {"familiar": None}]
    page = open_page()
    page.route("**/invocations", lambda route: route.fulfill(json={"predictions": [replies.pop(0)]}))
    give(page, files)
    expect(page.locator("#note")).to_have_text(f"{warning[0].upper()}{warning[1:]}.")
    expect(page.locator("#familiar b")).to_have_text("2.0 %")
    assert page.locator("#note").bounding_box()["y"] < page.locator("#caption").bounding_box()["y"]

    expect(page.locator("#caption")).to_have_css("font-weight", "400")
    page.click("#swap")
    expect(page.locator("#familiar b")).to_have_text("97.0 %")
    expect(page.locator("#caption")).to_have_css("font-weight", "600")
    expect(page.locator("#note")).to_be_hidden()
    page.click("#swap")  # now of a model that does not say
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#caption")).to_have_css("font-weight", "600")
    expect(page.locator("#familiar")).to_be_hidden()


def test_the_page_says_what_its_model_was_trained_on_and_shows_pairs_of_its_own(open_page, registered, app_address):
    description = load_checkpoint(registered.result.checkpoint).description
    page = open_page()
    expect(page.locator("#trained")).to_have_text(f"Trained on {description.sentence()}")
    expect(page.locator(".strip button")).to_have_count(len(description.examples))
    for row, pair in enumerate(description.examples):
        for side, content in zip(("before", "after"), pair, strict=True):
            with urlopen(f"{app_address}examples/{row}-{side}.webp") as reply:
                assert reply.read() == content


def test_before_a_served_model_and_an_older_checkpoint_the_page_has_no_examples():
    from starlette.testclient import TestClient

    page = TestClient(
        page_app(model_elsewhere("http://127.0.0.1:9"), "elsewhere", "127.0.0.1"), base_url="http://localhost"
    )
    assert page.get("/about").json() == {"model": "elsewhere", "trained": None}
    assert page.get("/examples").json() == [] and page.get("/examples/0-before.webp").status_code == 404
    assert page.get("/").status_code == 200


def test_the_last_image_that_was_chosen_for_a_side_is_shown(open_page, files, said):
    page = open_page()
    page.evaluate(
        """() => {
          const decode = HTMLImageElement.prototype.decode;
          let wait = 1000;
          HTMLImageElement.prototype.decode = async function () {
            await new Promise(done => setTimeout(done, wait, wait = 0));
            return decode.call(this);
          };
        }"""
    )
    page.set_input_files(".slot[data-side=before] input", files / "1_before.png")
    give(page, files)
    says(page, said[0])
    page.wait_for_timeout(1200)
    says(page, said[0])
    assert "0_before.png" in page.inner_text(".slot[data-side=before]")


def test_the_map_lies_on_the_image_and_not_beside_it(open_page, files):
    Image.new("RGB", (96, 48), "blue").save(files / "wide.png")
    white = io.BytesIO()
    Image.new("L", (48, 48), 255).save(white, "PNG")
    everywhere = f"data:image/png;base64,{base64.b64encode(white.getvalue()).decode()}"
    reply = {"caption": "all of it", "log_prob": -1.0, "changed": 1.0, "alternatives": [], "change_map": everywhere}
    page = open_page(reduced_motion="reduce")
    page.route("**/invocations", lambda route: route.fulfill(json={"predictions": [reply]}))
    page.set_input_files(".slot[data-side=before] input", files / "0_before.png")
    page.set_input_files(".slot[data-side=after] input", files / "wide.png")
    page.click("text=Side by side")
    page.fill("#opacity", "100")
    expect(page.locator("#stage canvas")).to_have_count(2)
    before, after = (shown(page.locator(f"#stage .{side}")) for side in ("before", "after"))
    pink, middle = [255, 20, 140], len(after) // 2
    assert (before[middle, 4:-4] == pink).all() and (before[4:-40, len(before) // 2] == pink).all()
    # The wide image fills the width and half the height.
    column = (after[:, len(after) // 2] == pink).all(1)
    assert column.mean() == pytest.approx(0.5, abs=0.02) and column[middle]
    assert (after[middle, 4:-4] == pink).all()
    # The model saw the image after in another place.
    page.click("label:has(#align)")
    expect(page.locator("#stage canvas")).to_have_count(1)
    assert page.locator("#stage .before canvas").count() == 1


def shown(part):
    with Image.open(io.BytesIO(part.screenshot())) as image:
        return np.asarray(image.convert("RGB"))


def test_all_of_it_works_by_keyboard_and_has_names(open_page, files):
    page = open_page()
    give(page, files)
    expect(page.locator("#captions li").first).to_be_visible()
    nameless = """() => [...document.querySelectorAll("button, input, select, img")].filter(node => {
      const name = node.ariaLabel || node.innerText || node.title || node.labels?.[0]?.innerText;
      return node.checkVisibility() && !name && node.getAttribute("alt") === null;
    }).map(node => node.outerHTML)"""
    assert page.evaluate(nameless) == []
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('#stage').style.getPropertyValue('--at')") == "51%"
    page.keyboard.down("f")
    assert page.get_attribute("#stage", "class") == "stage flick late"
    page.keyboard.up("f")
    assert page.get_attribute("#stage", "class") == "stage"
    page.focus("#tab-one")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#many") and page.is_hidden("#one")
    assert page.evaluate("document.activeElement.id") == "tab-many"
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#one")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.slot').dataset.side") == "before"
    # Every stop of the tabulator can be seen.
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate("(document.activeElement ?? document.body).checkVisibility()")


def test_settings_ask_again(open_page, files, registered, pairs):
    captioner = PairCaptioner(registered.result.checkpoint)
    page = open_page()
    give(page, files)
    expect(page.locator("#captions li").first).to_be_visible()
    page.click("summary >> text=Settings")
    page.fill("#num_captions", "2")
    page.press("#num_captions", "Enter")
    wanted = captioner.caption(pairs[:1], num_captions=2)[0]
    expect(page.locator("#captions li")).to_have_count(1 + len(wanted.alternatives))
    page.click("label:has(#sample)")
    page.fill("#seed", "5")
    page.press("#seed", "Enter")
    drawn = captioner.caption(pairs[:1], num_captions=2, sample=True, seed=5)[0]
    says(page, drawn)
    page.click("label:has(#align)")
    expect(page.locator("#note")).to_contain_text("ould not be aligned")
    page.fill("#num_captions", "99")
    page.press("#num_captions", "Enter")
    expect(page.locator("#problem")).to_contain_text("Captions: ")


def copied(page, button):
    """Clicks a button that copies; gives what is in the clipboard, which all pages share, once it is there."""
    page.evaluate("navigator.clipboard.writeText('')")
    page.click(button)
    # Playwright's wait_for_function takes the first promise, also that of an empty text.
    for _ in range(3600):
        if text := page.evaluate("navigator.clipboard.readText()"):
            return text
        page.wait_for_timeout(50)
    raise AssertionError("nothing was copied")


def test_the_copied_command_works_in_a_shell(open_page, files, said):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    give(page, files)
    says(page, said[0])
    assert copied(page, "#copy") == said[0].caption
    command = copied(page, "#curl")
    ended = subprocess.run(["sh", "-c", command], cwd=files, capture_output=True, text=True, check=False)
    (row,) = json.loads(ended.stdout)["predictions"]
    assert row["caption"] == said[0].caption and row["change_map"].startswith("data:image/png;base64,")


def test_an_earlier_pair_comes_back_with_its_question(open_page, files):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    give(page, files)
    page.click("summary >> text=Settings")
    for name, value in (("num_captions", "2"), ("beam", "5")):
        page.fill(f"#{name}", value)
        page.press(f"#{name}", "Enter")
    page.click("label:has(#align)")
    expect(page.locator("#note")).to_be_visible()
    dropped(page, "body", [files / "1_before.png", files / "1_after.png"])
    expect(page.locator(".past button")).to_have_count(2)
    page.fill("#beam", "")
    page.click("label:has(#align)")
    page.click("label:has(#sample)")
    expect(page.locator("#note")).to_be_hidden()
    page.locator(".past button").nth(1).click()
    assert [page.input_value(f"#{name}") for name in ("num_captions", "beam", "temperature")] == ["2", "5", "1"]
    assert page.is_checked("#align") and not page.is_checked("#sample") and page.is_disabled("#seed")
    # What has not been asked yet is in no command.
    page.fill("#num_captions", "99")
    page.locator("#num_captions").blur()  # the sentence that appears would move the button under the mouse
    expect(page.locator("#problem")).to_contain_text("Captions: ")
    assert '{"change_map":true,"num_captions":2,"beam":5,"align":true}' in copied(page, "#curl")


def test_why_a_side_is_empty_is_shown_until_it_is_filled(open_page, files, said):
    page = open_page()
    page.set_input_files(".slot[data-side=before] input", files / "notes.png")
    why = "“notes.png” is not an image that this browser can read; choose a PNG, JPEG or WebP file."
    expect(page.locator("#problem")).to_have_text(why)
    give(page, files, sides=["after"])
    expect(page.locator(".slot[data-side=after] .about")).to_contain_text("0_after.png")
    expect(page.locator("#problem")).to_have_text(why)
    give(page, files, sides=["before"])
    says(page, said[0])
    expect(page.locator("#problem")).to_be_hidden()


def test_what_goes_wrong_is_one_sentence(open_page, files, said):
    page = open_page(quiet=False)
    give(page, files)
    says(page, said[0])
    page.set_input_files(".slot[data-side=after] input", files / "notes.png")
    expect(page.locator("#problem")).to_have_text(
        "“notes.png” is not an image that this browser can read; choose a PNG, JPEG or WebP file."
    )
    says(page, said[0])
    page.set_input_files(".slot[data-side=after] input", [])
    dropped(page, "main", [files / f"{index}_before.png" for index in range(3)])
    expect(page.locator("#problem")).to_contain_text("You chose 3 images; a pair has two.")
    half = files / "half.png"
    half.write_bytes((files / "1_after.png").read_bytes()[:-300])
    page.set_input_files(".slot[data-side=after] input", half)  # browsers show half an image
    expect(page.locator("#problem")).to_contain_text("The server rejects the image “after”: the image is damaged")
    page.route("**/invocations", lambda route: route.abort())
    page.clock.install()
    give(page, files, "1", ["after"])
    expect(page.locator("#toast")).to_have_text("The server cannot be reached; retrying …")
    waited = 0  # a server takes up to 20 seconds to start
    while not page.inner_text("#problem"):
        page.clock.run_for(1000)
        waited += 1
    assert 40 < waited < 120
    expect(page.locator("#problem")).to_have_text("The server cannot be reached; is idc-app still running?")
    page.unroute("**/invocations")
    busy = [429, 503]
    page.route("**/invocations", lambda route: route.fulfill(status=busy.pop()) if busy else route.continue_())
    give(page, files, "1")
    says(page, said[1])


def test_a_large_photo_is_made_smaller_before_it_travels(open_page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    photo = Image.fromarray(noise).resize((6000, 4000))
    upright = Image.Exif()
    upright[0x0112] = 6  # a phone held upright
    for side in ("before", "after"):
        photo.save(tmp_path / f"0_{side}.jpg", quality=80, exif=upright)
    page = open_page()
    with page.expect_request("**/invocations") as asked:
        for side in ("before", "after"):
            page.set_input_files(f".slot[data-side={side}] input", tmp_path / f"0_{side}.jpg")
    expect(page.locator("#captions li").first).to_be_visible()
    (row,) = json.loads(asked.value.post_data)["inputs"]
    with Image.open(io.BytesIO(base64.b64decode(row["before"].partition(",")[2]))) as sent:
        assert sent.size == (1365, 2048) and sent.format == "JPEG"
    expect(page.locator(".slot[data-side=before]")).to_contain_text("4000 × 6000")
    assert page.is_disabled("#curl"), "no file has what was asked about"
    assert "“0_before.jpg” was resized" in page.get_attribute("#curl", "title")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_half_a_photo_is_refused_before_a_copy_of_it_travels(open_page, tmp_path, kind):
    """Browsers show half a file, the rest white: a smaller copy of that is whole, and would be captioned."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((3000, 2000)).save(file, kind)
    for side, part in (("before", 1), ("after", 0.5)):
        (tmp_path / f"0_{side}").write_bytes(file.getvalue()[: int(part * len(file.getvalue()))])
    page = open_page(quiet=False)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("invocations") else None)
    for side in ("before", "after"):
        page.set_input_files(f".slot[data-side={side}] input", tmp_path / f"0_{side}")
    expect(page.locator("#problem")).to_contain_text(re.compile("“0_after” is (damaged|not an image)"))
    expect(page.locator(".slot.full")).to_have_count(1)
    assert asked == []


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(open_page, files, dark):
    page = open_page(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark" if dark else "light"
    )
    give(page, files)
    expect(page.locator("#captions li").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.tap("#tab-many")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark


# ---- many pairs


def zipped(path, files, names):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(files / name, f"pairs/{name}")
        archive.writestr("__MACOSX/pairs/._0_before.png", b"x")
    return path


def rows_of(page):
    with page.expect_download() as saved:
        page.click("#save")
    assert saved.value.suggested_filename == "captions.csv"
    return list(csv.DictReader(io.StringIO(saved.value.path().read_text())))


def test_a_zip_of_pairs_becomes_a_csv(open_page, files, said, tmp_path, registered, pairs):
    names = [f"{index}_{side}.png" for index in range(4) for side in ("before", "after")]
    (files / "4_before.png").write_bytes((files / "0_before.png").read_bytes())
    (files / "4_after.png").write_text("nothing has changed")
    (files / "alone.png").write_bytes((files / "0_before.png").read_bytes())
    page = open_page("#many")
    archive = zipped(tmp_path / "pairs.zip", files, [*names, "4_before.png", "4_after.png", "alone.png"])
    page.set_input_files("#drop input[multiple]", archive)
    expect(page.locator("#found")).to_have_text("5 pairs. 1 image has no partner: pairs/alone.png.")
    page.click("#start")
    expect(page.locator("#told")).to_have_text("5 of 5, 1 failed")
    wanted = PairCaptioner(registered.result.checkpoint).caption(pairs)
    found = rows_of(page)
    assert [row["caption"] for row in found] == [*(each.caption for each in wanted), ""]
    assert [float(row["log_prob"]) for row in found[:4]] == pytest.approx([w.log_prob for w in wanted], abs=1e-4)
    assert (found[2]["before"], found[2]["after"]) == ("pairs/2_before.png", "pairs/2_after.png")
    assert found[4]["error"].startswith("“4_after.png” is not an image")
    expect(page.locator("#start")).to_have_text("Retry 1 pair")
    assert page.locator("#rows tr.failed").count() == 1


def test_a_csv_names_the_files_and_keeps_its_columns(open_page, files, said, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text('\ufeffid;After;Before\n"a;""b""";1_after.png;1_before.png\n7;gone.png;0_before.png\n')
    page = open_page("#many")
    page.set_input_files("#drop input[multiple]", [table, *sorted(files.glob("[01]_*.png"))])
    expect(page.locator("#found")).to_have_text("2 pairs.")
    page.click("#start")
    expect(page.locator("#told")).to_have_text("2 of 2, 1 failed")
    found = rows_of(page)
    assert [row["id"] for row in found] == ['a;"b"', "7"] and found[0]["caption"]
    assert found[1]["error"] == "The file “gone.png” is missing."


def test_half_an_image_among_many_fails_alone(open_page, files):
    (files / "half_before.png").write_bytes((files / "0_before.png").read_bytes())
    (files / "half_after.png").write_bytes((files / "0_after.png").read_bytes()[:-300])
    page = open_page("#many", quiet=False)
    page.set_input_files("#drop input[multiple]", [*sorted(files.glob("1_*.png")), *sorted(files.glob("half_*.png"))])
    page.click("#start")
    expect(page.locator("#told")).to_have_text("2 of 2, 1 failed")
    expect(page.locator("#cancel")).to_be_hidden()
    assert page.locator("#rows img").count() == 4, "browsers show half an image"
    found = rows_of(page)
    assert found[0]["caption"] and found[1]["error"].startswith("The server rejects the image “after”: ")
    # Not even a browser that draws nothing loses a row.
    page.evaluate("() => { HTMLCanvasElement.prototype.toDataURL = () => { throw new Error('no'); }; }")
    page.click("text=Retry 1 pair")
    expect(page.locator("#rows img")).to_have_count(2)
    expect(page.locator("#told")).to_have_text("2 of 2, 1 failed")
    expect(page.locator("#start")).to_have_text("Retry 1 pair")


def test_many_pairs_can_be_cancelled_and_gone_on_with(open_page, files):
    page = open_page("#many")
    gate = threading.Event()
    answered = []

    def slow(route):
        if len(answered) < 2 or gate.is_set():
            answered.append(route)
            route.continue_()

    page.route("**/invocations", slow)
    page.set_input_files("#drop input[multiple]", sorted(files.glob("[0-3]_*.png")))
    page.click("#start")
    expect(page.locator("#told")).to_contain_text("2 of 4")
    page.click("#cancel")
    expect(page.locator("#told")).to_have_text("2 of 4, stopped")
    assert [bool(row["caption"]) for row in rows_of(page)].count(True) == 2
    gate.set()
    page.click("text=Continue with 2 pairs")
    expect(page.locator("#told")).to_have_text("4 of 4")


def test_many_pairs_wait_for_a_server_that_has_gone(open_page, files):
    page = open_page("#many", quiet=False)
    gone = "the model server cannot be reached; is it running?"
    page.route("**/invocations", lambda route: route.fulfill(status=502, json={"message": gone}))
    page.clock.install()
    page.set_input_files("#drop input[multiple]", sorted(files.glob("[0-3]_*.png")))
    page.click("#start")
    for _ in range(120):
        page.clock.run_for(1000)
        if page.is_hidden("#cancel"):
            break
    expect(page.locator("#told")).to_have_text("0 of 4, stopped")
    expect(page.locator("#batch-problem")).to_have_text(f"The server does not answer: {gone}")
    page.unroute("**/invocations")
    page.click("text=Continue with 4 pairs")
    expect(page.locator("#told")).to_have_text("4 of 4")
    assert page.inner_text("#batch-problem") == "" and page.locator("#rows tr.failed").count() == 0


def test_bombs_and_broken_zips_are_refused_and_named(open_page, files, tmp_path):
    page = open_page("#many")

    def problem(name, content):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#drop input[multiple]", tmp_path / name)
        return page.locator("#batch-problem")

    expect(problem("no.zip", b"PK nothing")).to_have_text("“no.zip” cannot be unpacked: it is not a complete zip file.")
    whole = zipped(tmp_path / "whole.zip", files, ["0_before.png", "0_after.png"]).read_bytes()
    expect(problem("torn.zip", whole[:-400] + whole[-22:])).to_contain_text("its directory is damaged")
    expect(problem("alone.zip", zipped(tmp_path / "1.zip", files, ["0_before.png"]).read_bytes())).to_contain_text(
        "Found no pair in 1 file"
    )
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1_before.png", bytes(100_000_000))
        archive.write(files / "0_after.png", "1_after.png")
    liar = bytearray((tmp_path / "bomb.zip").read_bytes())
    place = liar.index(b"PK\x01\x02")
    for name, size in (("bomb.zip", None), ("liar.zip", 1000)):
        if size:
            liar[place + 24 : place + 28] = size.to_bytes(4, "little")
            (tmp_path / name).write_bytes(liar)
        page.set_input_files("#drop input[multiple]", tmp_path / name)
        page.click("#start")
        expect(page.locator("td.said").first).to_have_text(
            "“1_before.png” is damaged in the zip."
            if size
            else "“1_before.png” has 100 MB unpacked; expected at most 64."
        )


# ---- the server


def fetch(address, body=None, headers=None):
    try:
        with urlopen(Request(address, body, headers or {}), timeout=600) as reply:
            return reply.status, reply.headers, reply.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


JSON = {"Content-Type": "application/json"}


def asked(pair):
    def coded(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()

    return json.dumps(
        {"inputs": [{"before": coded(pair[0]), "after": coded(pair[1])}], "params": {"num_captions": 4}}
    ).encode()


@pytest.fixture(scope="module")
def passed_on(app_address):
    """A page whose model is served elsewhere."""
    listening = listen("127.0.0.1", 0)
    page = page_app(model_elsewhere(f"{app_address}invocations"), app_address, "127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(page, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("way", ["in process", "passed on"])
def test_the_server_answers_as_a_served_model_does(app_address, passed_on, pairs, said, way):
    address = app_address if way == "in process" else passed_on
    status, _, text = fetch(f"{address}invocations", asked(pairs[0]), JSON)
    (row,) = json.loads(text)["predictions"]
    assert status == 200 and row["caption"] == said[0].caption
    assert [each["caption"] for each in row["alternatives"]] == [each.caption for each in said[0].alternatives]
    for body, headers, status, message in [
        (b"{", JSON, 400, "not valid JSON"),
        (asked(pairs[0]), {"Content-Type": "text/plain"}, 415, "expected application/json"),
        (asked(pairs[0]).replace(b"num_captions", b"num_caption"), JSON, 400, "did you mean 'num_captions'"),
    ]:
        found, _, text = fetch(f"{address}invocations", body, headers)
        assert found == status and message in json.loads(text)["message"], text
    connection = HTTPConnection(address.split("/")[2], timeout=600)
    connection.putrequest("POST", "/invocations")
    for name, value in (JSON | {"Content-Length": 65 * 2**20}).items():
        connection.putheader(name, value)
    connection.endheaders()
    with connection.getresponse() as reply:
        assert reply.status == 413 and "longer than 64 MiB" in json.load(reply)["message"]
    connection.close()


def test_a_model_that_is_not_there_is_told(pairs):
    from starlette.testclient import TestClient

    with TestClient(
        page_app(model_elsewhere("http://127.0.0.1:9"), "elsewhere", "127.0.0.1"), base_url="http://localhost"
    ) as client:
        reply = client.post("/invocations", content=asked(pairs[0]), headers=JSON)
    assert reply.status_code == 502 and "cannot be reached" in reply.json()["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.safetensors"], "'gone.safetensors'"),
        (["models:/nobody/1"], "no registered model 'models:/nobody/1'"),
        (["http://"], "'http://' is not a valid server address"),
        (["http://[1"], "'http://[1' is not a valid server address"),
        (["gone.safetensors", "--port", "TAKEN"], "give another --port"),
        (["gone.safetensors", "--host", "no.such.host.invalid"], "cannot serve at no.such.host.invalid"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(registered, monkeypatch, arguments, message):
    monkeypatch.chdir(registered.folder)
    connect()
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        given = [port if each == "TAKEN" else each for each in arguments]
        ended = CliRunner().invoke(app, given if "--port" in given else [*given, "--port", "0"])
    (line,) = ended.stderr.splitlines()
    assert (ended.exit_code, ended.stdout) == (2, "") and line.startswith("error: ") and message in line


def test_nobody_is_told_the_password_of_the_model(monkeypatch):
    from starlette.testclient import TestClient

    pages = []
    monkeypatch.setattr("idc_run.serving.app.serve", lambda page, listening: pages.append(page))
    ended = CliRunner().invoke(app, ["http://user:secret@127.0.0.1:9/invocations", "--port", "0"])
    assert ended.exit_code == 0 and "secret" not in ended.output
    assert TestClient(pages[0], base_url="http://localhost").get("/about").json() == {
        "model": "http://127.0.0.1:9",
        "trained": None,
    }


def test_nothing_but_the_page_is_given_out(app_address):
    status, headers, _ = fetch(app_address)
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
    paths = "page/../app.py page/%2e%2e%2fapp.py page/..%5capp.py examples/../../app.py app.py docs openapi.json page/"
    for path in paths.split():
        status, headers, text = fetch(app_address + path)
        assert status == 404 and b"import" not in text, path
        assert "Content-Security-Policy" in headers
    assert fetch(app_address, headers={"Host": "evil.example"})[0] == 400
    assert fetch(f"{app_address}invocations")[0] == 405
    assert fetch(f"{app_address}health")[0] == 200
