"""The page in a real browser, and the server as people run it."""

import json
import signal

import krippendorff
import pytest
from idc_eval.rating.store import Ratings
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

# What two people think is true of the captions; they differ on three of eleven.
ANN = {
    "the cube is gone": 5,
    "a cylinder moved": 1,
    "there is a dog": 5,
    "more cars": 4,
    "</script><b>cars</b>": 2,
    "no difference": 5,
    "the sky turned dark": 1,
    "the door has another color": 4,
    "a window": 2,
    "white roofs": 4,
    "it snowed": 5,
}
BEN = ANN | {"more cars": 5, "a window": 1, "it snowed": 3}


@pytest.fixture
def open_page(browser):
    """Opens a page as one person's browser; anything on its console is an error."""
    made = []

    def opened(address, *, rater="", quiet=True, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        if rater:
            page.fill("#name", rater)
            page.keyboard.press("Enter")
            page.wait_for_selector("#item, #done", state="visible")
        made.append((context, said, quiet))
        return page

    yield opened
    for context, said, quiet in made:
        context.close()
        assert not (quiet and said), said


def captions(page):
    return page.locator("blockquote p").all_inner_texts()


def rate(page, opinions, *, items=None):
    """Press keys as a rater who thinks so; a caption that is none of the systems' is a check. Gives what was shown."""
    shown = []
    while items is None or len(shown) < items:
        where = page.inner_text("#where")
        if where == "All answered":
            break
        (caption,) = captions(page)
        for key in (opinions.get(caption, 1), 3, 5):
            page.keyboard.press(str(key))
        expect(page.locator("#where")).not_to_have_text(where)
        shown.append(caption)
    return shown


def test_two_raters_agree_as_they_should(study, serve, open_page, outcome, tmp_path):
    path = study()
    with serve(path) as (_, address):
        ann = open_page(address, rater="Ann")
        ann.screenshot(path=tmp_path / "light.png")
        by_ann = rate(ann, ANN)
        ann.screenshot(path=tmp_path / "done.png")
        ben = open_page(
            address, rater="ben", viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True
        )
        ben.screenshot(path=tmp_path / "phone.png")
        assert ben.evaluate("document.documentElement.scrollWidth") <= 390
        by_ben = rate(ben, BEN)
    assert len(by_ann) == 12 and sorted(by_ann) == sorted(by_ben) and by_ann != by_ben, "an order for each"
    assert "</script><b>cars</b>" in by_ann, "a caption is text, whatever it holds"
    assert {(tmp_path / f"{name}.png").stat().st_size > 10_000 for name in ("light", "done", "phone")} == {True}
    found = outcome(path)
    expected = krippendorff.alpha([[ANN[c] for c in ANN], [BEN[c] for c in ANN]], level_of_measurement="ordinal")
    assert found["alphas"]["correctness"]["value"] == pytest.approx(expected)
    assert found["alphas"]["fluency"]["value"] is None and "every answer is 5" in found["alphas"]["fluency"]["note"]
    assert [(r["name"], r["items"], r["checks"], r["passed"], r["kept"]) for r in found["raters"]] == [
        ("ann", 11, 1, 1, True),
        ("ben", 11, 1, 1, True),
    ]
    lstm = (
        "the cube is gone",
        "there is a dog",
        "more cars",
        "no difference",
        "the door has another color",
        "white roofs",
    )
    mean = next(m for m in found["means"] if (m["system"], m["question"]) == ("lstm", "correctness"))
    assert mean["value"] == pytest.approx(sum(ANN[c] + BEN[c] for c in lstm) / 12) and mean["pairs"] == 6


def test_a_closed_page_goes_on_where_it_stopped_and_answers_can_be_changed(study, serve, open_page):
    path = study()
    with serve(path) as (_, address):
        first = open_page(address, rater="ann")
        seen = rate(first, ANN, items=4)
        first.keyboard.press("2")
        first.wait_for_selector("fieldset:nth-child(2).now")
        halfway = captions(first)
        first.close()
        page = open_page(f"{address}?rater=Ann")
        page.wait_for_selector("fieldset:nth-child(2).now")
        assert captions(page) == halfway and page.inner_text("#where") == "5 of 12"
        # One step back is the first question of this item, and another the last one of the item before.
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Backspace")
        assert captions(page) == [seen[-1]]
        page.keyboard.press("2")
        expect(page.locator("#where")).to_have_text("5 of 12")
        page.click("fieldset:nth-child(3) button:nth-child(4)")
        page.wait_for_selector("fieldset:nth-child(3) [aria-pressed=true]")
        page.click("#back")
        page.click("#back")
        assert captions(page) == [seen[-1]], "two questions back"
        page.keyboard.press("End")
        page.wait_for_selector("fieldset:nth-child(2).now")
        assert captions(page) == halfway, "on to what is not answered yet"
    with Ratings(path) as ratings:
        said = {(ratings.items[j.item].captions[0], j.question): j.value for j in ratings.last("ann")}
        assert len(said) == 14
        assert said[seen[-1], "fluency"] == 2, "the changed answer counts"
        assert (said[halfway[0], "correctness"], said[halfway[0], "fluency"]) == (2, 4)


def test_a_key_held_down_answers_once(study, serve, open_page):
    path = study()
    with serve(path) as (_, address):
        page = open_page(address, rater="ann")
        for _ in range(5):
            page.keyboard.down("4")
        page.keyboard.up("4")
        page.wait_for_selector("fieldset:nth-child(2).now")
    with Ratings(path) as ratings:
        assert len(ratings.last()) == 1


def test_both_images_in_one_place_while_f_is_held(study, serve, open_page):
    with serve(study()) as (_, address):
        page = open_page(address, rater="ann")
        top, label = page.locator("figure").first.locator("img").nth(1), page.locator("figcaption").first
        assert top.is_hidden() and label.inner_text() == "before"
        page.keyboard.down("f")
        assert top.is_visible() and label.inner_text() == "after"
        top.wait_for(state="hidden")
        top.wait_for(state="visible")
        page.keyboard.up("f")
        assert top.is_hidden() and label.inner_text() == "before"


def test_killing_the_server_loses_nothing(study, serve, open_page):
    path = study()
    with serve(path) as (server, address):
        page = open_page(address, rater="ann", quiet=False)
        seen = rate(page, ANN, items=2)
        server.send_signal(signal.SIGKILL)
        server.wait()
        with Ratings(path) as ratings:
            assert len(ratings.last("ann")) == 6
        (caption,) = captions(page)
        page.keyboard.press("4")
        expect(page.locator("#problem")).to_contain_text("cannot be reached")
        page.keyboard.press("5")
        assert captions(page) == [caption] and page.locator("[aria-pressed=true]").count() == 0, "it waits"
    with serve(path, "--port", address.rsplit(":", 1)[1].strip("/")):
        page.wait_for_selector("fieldset:nth-child(2).now")
        assert page.inner_text("#problem") == ""
        page.keyboard.press("2")
        page.wait_for_selector("fieldset:nth-child(3).now")
    with Ratings(path) as ratings:
        said = [(ratings.items[j.item].captions[0], j.question, j.value) for j in ratings.last("ann")]
    assert len(said) == 8 and said[6:] == [(caption, "correctness", 4), (caption, "completeness", 2)]
    assert {each for each, *_ in said[:6]} == set(seen)


def test_an_answer_on_its_way_when_the_page_was_closed_is_sent_later(study, serve, open_page):
    path = study()
    with serve(path) as (server, address):
        page = open_page(address, rater="ann", quiet=False)
        server.send_signal(signal.SIGKILL)
        server.wait()
        page.keyboard.press("4")
        expect(page.locator("#problem")).to_contain_text("cannot be reached")
        context = page.context
        page.close()
    with serve(path, "--port", address.rsplit(":", 1)[1].strip("/")):
        page = context.new_page()
        page.goto(f"{address}?rater=ann")
        page.wait_for_selector("fieldset:nth-child(2).now")
    with Ratings(path) as ratings:
        assert [j.value for j in ratings.last("ann")] == [4]


def test_a_page_that_was_sent_out_comes_back(study, command, open_page, outcome, tmp_path):
    path = study()
    files = []
    for name, opinions in (("ann", ANN), ("ben", BEN)):
        page = open_page((tmp_path / "made.html").as_uri(), rater=name)
        first = rate(page, opinions, items=5)
        page.reload()
        page.wait_for_selector("#item", state="visible")
        assert page.inner_text("#where") == "6 of 12", "kept in the browser"
        assert len(first + rate(page, opinions)) == 12
        with page.expect_download() as saved:
            page.click("#save")
        assert saved.value.suggested_filename == f"ratings_{name}.json"
        files.append(tmp_path / saved.value.suggested_filename)
        saved.value.save_as(files[-1])
    for new in (36, 0):
        ended = command("rate", "--out", path, "--import", files[0], "--import", files[1])
        assert ended.exit_code == 0
        assert [line.split(": ")[1] for line in ended.stdout.splitlines()[1:]] == [f"{new} new answers"] * 2
    expected = krippendorff.alpha([[ANN[c] for c in ANN], [BEN[c] for c in ANN]], level_of_measurement="ordinal")
    assert outcome(path)["alphas"]["correctness"]["value"] == pytest.approx(expected)
    answers = json.loads(files[0].read_text())
    answers["judgements"][-1]["item"] = "0" * 12
    files[0].write_text(json.dumps(answers | {"study": answers["study"]}).replace('"ann"', '"eve"'))
    ended = command("rate", "--out", path, "--import", files[0])
    assert ended.exit_code == 2 and "there is no item '000000000000'" in ended.stderr
    with Ratings(path) as ratings:
        assert ratings.last("eve") == [], "all or nothing"


def test_a_preference_is_for_a_system_whatever_the_side(study, serve, open_page, outcome, pairs):
    path = study("--mode", "prefer", "--checks", 0.5)
    shown = {}
    with serve(path) as (_, address):
        for rater in ("ann", "ben", "eve"):
            page = open_page(address, rater=rater)
            sides = shown[rater] = {}
            while page.inner_text("#where") != "All answered":
                where, (left, right) = page.inner_text("#where"), captions(page)
                mine = {said[place] for said in pairs.values() for place in (0, 1)}
                # lstm's caption, the reference of a check; but ben thinks that cars are the same.
                key = "2" if rater == "ben" and "more cars" in (left, right) else "1" if left in mine else "3"
                if {left, right} <= {said[0] for said in pairs.values()}:
                    with Ratings(path) as ratings:
                        item = next(i for i in ratings.items.values() if set(i.captions) == {left, right})
                    key = "1" if left == item.captions[0 if item.accepted == (-1,) else 1] else "3"
                else:
                    sides[frozenset((left, right))] = left in mine
                page.keyboard.press(key)
                expect(page.locator("#where")).not_to_have_text(where)
    assert len({tuple(sides[key] for key in shown["ann"]) for sides in shown.values()}) > 1, "sides for each rater"
    assert {side for sides in shown.values() for side in sides.values()} == {True, False}
    found = outcome(path, "--metrics", "none")
    assert [(r["checks"], r["passed"]) for r in found["raters"]] == [(2, 2)] * 3
    told = found["preference"]
    assert (told["first"], told["second"], told["pairs"]) == ("lstm", "transformer", [5, 0, 0])
    assert told["wins"] == pytest.approx([14 / 15, 1 / 15, 0])
    lefts = sum(left for sides in shown.values() for left in sides.values())
    tie = next(sides for key, sides in shown["ben"].items() if "more cars" in key)
    assert (told["left"], told["decided"]) == (lefts - tie, 14)
