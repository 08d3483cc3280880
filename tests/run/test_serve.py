"""The registered model behind `mlflow models serve`, as a user starts it."""

import base64
import contextvars
import io
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import numpy as np
import pandas as pd
import pytest
import torch
from idc_data.readers import open_reader
from idc_models.serving.guard import deadline
from idc_models.serving.inference import PairCaptioner
from mlflow.exceptions import MlflowException
from PIL import Image

from idc_run.checkpoint import load_checkpoint
from idc_run.serving import served_model
from idc_run.serving.served_model import CaptionerModel
from idc_run.training.predict import predict

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture(scope="module")
def pairs():
    reader = open_reader("scenes", "test", image_size=48)
    return [(reader[index].before, reader[index].after) for index in range(3)]


@pytest.fixture(scope="module")
def expected(registered, pairs):
    """Gives what the model says of the pairs, by decoding settings."""
    captioner = PairCaptioner(registered.result.checkpoint)
    assert len({each.caption for each in captioner.caption(pairs)}) > 1, "else any answer would do for any pair"
    return lambda **decoding: captioner.caption(pairs, **decoding)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_captions_are_those_of_the_predictions(registered, beam):
    path = registered.result.checkpoint
    checkpoint = load_checkpoint(path)
    spec, reader = checkpoint.spec, open_reader({"name": "scenes", "test_pairs": 12}, "test", image_size=48)
    decoding = spec.eval.model_copy(update={"beam": beam})
    predictions = predict(checkpoint.build(), reader, checkpoint.tokenizer, spec.data, decoding, torch.device("cpu"))
    # The tests' model repeats itself, which a test lets it: the figures of this field are computed so.
    pairs = [(each.before, each.after) for each in reader]
    captions = PairCaptioner(path).caption(pairs, beam=beam, no_repeat=spec.eval.no_repeat_ngram)
    assert [each.caption for each in captions] == [each.hypothesis for each in predictions]
    assert len({each.caption for each in captions}) > 1
    assert [each.log_prob for each in captions] == pytest.approx([each.log_prob for each in predictions], abs=1e-5)


@pytest.fixture(scope="module")
def model(registered):
    """The registered model without a server."""
    loaded = CaptionerModel()
    loaded.load(registered.result.checkpoint)
    return loaded


@pytest.fixture
def decoded(monkeypatch):
    """The widths of the images that are decoded, as it begins; each takes a while."""
    widths, read = [], served_model.read_pixels

    def slowly(content, **limits):
        with Image.open(io.BytesIO(content)) as image:
            widths.append(image.width)
        time.sleep(0.02)
        return read(content, **limits)

    monkeypatch.setattr(served_model, "read_pixels", slowly)
    return widths


def asking(model, pair, num=1, seconds=None, **params):
    """Asks as a server's thread does, with so many seconds left."""

    def ask():
        deadline.set(None if seconds is None else time.monotonic() + seconds)
        rows = [[coded(image) for image in pair]] * num
        return model.predict(None, pd.DataFrame(rows, columns=["before", "after"]), params)

    return contextvars.copy_context().run(ask)


def test_a_request_has_only_so_many_pixels(model, pairs, monkeypatch):
    monkeypatch.setattr(served_model, "MAX_REQUEST_PIXELS", 6 * 48 * 48)
    assert len(asking(model, pairs[0], 3)) == 3
    with pytest.raises(MlflowException, match="13,824 pixels.*send fewer pairs") as error:
        asking(model, pairs[0], 4)
    assert error.value.get_http_status_code() == 400


@pytest.mark.parametrize("seconds", [-1, 0.2])
def test_a_request_without_time_left_costs_no_more_work(model, pairs, seconds, decoded):
    large = Image.new("RGB", (5000, 5000))
    with pytest.raises(MlflowException, match="too long.*retry later.*send fewer pairs") as error:
        asking(model, (large, large), 8, seconds)
    assert error.value.get_http_status_code() == 429
    assert len(asking(model, pairs[0], seconds=300, change_map=True)) == 1
    assert decoded.count(5000) < 16


@pytest.mark.parametrize(
    "spelled",
    [
        lambda content: base64.encodebytes(content).decode(),
        lambda content: base64.encodebytes(content).decode().replace("\n", "\r\n"),
        lambda content: base64.b64encode(content).decode() + "\n",
        lambda content: base64.urlsafe_b64encode(content).decode(),
        lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
        lambda content: "data:image/png;base64," + base64.encodebytes(content).decode(),
    ],
    ids=["lines of 76", "CRLF", "a line end", "for addresses", "without padding", "data URI"],
)
def test_base64_may_have_line_ends_and_be_spelled_for_addresses(model, spelled):
    noise = np.random.default_rng(0).integers(0, 256, (2, 300, 300, 3), np.uint8)
    content = [base64.b64decode(coded(image)) for image in noise]
    assert min(map(len, content)) > 200_000
    content = [each + bytes(-len(each) % 3 + 1) for each in content]  # else there is no padding to leave out
    asked = pd.DataFrame([[spelled(side) for side in content]], columns=["before", "after"])
    assert model.predict(None, asked) == asking(model, noise)


@pytest.mark.parametrize("nothing", [None, "", "None", float("nan")])
def test_an_image_that_is_missing_is_called_missing(model, pairs, nothing):
    asked = pd.DataFrame([[nothing, coded(pairs[0][1])]], columns=["before", "after"])
    with pytest.raises(MlflowException, match="row 0, 'before'.*missing.*expected the image file's bytes"):
        model.predict(None, asked)


def test_a_request_of_many_pairs_lets_others_in_between(model, pairs, decoded):
    small = Image.fromarray(pairs[0][0]).resize((20, 20))
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(asking, model, pairs[0], 60)
        while not (decoded or large.done()):
            time.sleep(0.001)
        asking(model, (small, small))
        assert len(large.result()) == 60
    assert decoded.count(20) == 2 and max(at for at, width in enumerate(decoded) if width == 20) < 60


def test_as_many_images_are_decoded_at_a_time_as_there_are_cores_to_use(registered, pairs, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5}, raising=False)
    alone, threads, read = CaptionerModel(), [], served_model.read_pixels
    alone.load(registered.result.checkpoint)
    monkeypatch.setattr(
        served_model, "read_pixels", lambda *given, **limits: threads.append(get_ident()) or read(*given, **limits)
    )
    asking(alone, pairs[0], 6)
    assert len(threads) == 12 and len(set(threads)) == 1


@pytest.fixture(scope="module")
def post(served):
    """Gives a function from a request to the status and the reply of a served model."""
    return served.post


def coded(image, kind="PNG"):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def split(rows, columns=("before", "after"), **params):
    return {"dataframe_split": {"columns": columns, "data": rows}, "params": params}


def agrees(predictions, captions):
    assert [each["caption"] for each in predictions] == [each.caption for each in captions]
    assert [each["log_prob"] for each in predictions] == pytest.approx(
        [each.log_prob for each in captions], rel=1e-6, abs=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("decoding", [{}, {"beam": 3}, {"beam": 2, "max_length": 5}])
def test_the_server_says_what_the_model_says(post, pairs, expected, decoding):
    rows = [[coded(before), coded(after)] for before, after in pairs]
    status, reply = post(split(rows, **decoding))
    assert status == 200
    agrees(reply["predictions"], expected(**decoding))


@pytest.mark.slow
def test_every_form_of_request_gets_the_same_answer(post, pairs, expected):
    records = [{"before": coded(before), "after": f"data:image/png;base64,{coded(after)}"} for before, after in pairs]
    columns = {side: [record[side] for record in records] for side in ("before", "after")}
    forms = {"dataframe_records": records}, {"inputs": records}, {"inputs": columns}, {"instances": records}
    for body in forms:
        status, reply = post(body)
        assert status == 200
        agrees(reply["predictions"], expected())
    status, reply = post({"inputs": records[0], "params": {"beam": None}})
    assert status == 200
    agrees(reply["predictions"], expected()[:1])


@pytest.mark.slow
def test_an_answer_has_every_key_and_what_was_asked_for(post, pairs, expected):
    turned = Image.new("RGB", (30, 20)).getexif()
    turned[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pairs[0][0][:20, :30]).save(file, "JPEG", exif=turned)
    sideways = base64.b64encode(file.getvalue()).decode()
    rows = [[coded(pairs[0][0], "WEBP"), coded(pairs[0][1])], [sideways, coded(pairs[1][1])]]
    status, reply = post(split(rows, num_captions=4, change_map=True, align=True))
    assert status == 200
    for answered, shape in zip(reply["predictions"], [(48, 48), (30, 20)], strict=True):
        assert answered.keys() == {"caption", "log_prob", "changed", "alternatives", "change_map", "note", "familiar"}
        said = [answered, *answered["alternatives"]]
        assert len({each["caption"] for each in said}) == len(said) <= 4
        assert [each["log_prob"] for each in said] == sorted((each["log_prob"] for each in said), reverse=True)
        assert 0 <= answered["changed"] <= 1
        assert answered["change_map"].startswith("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(answered["change_map"].partition(",")[2]))) as change_map:
            assert (change_map.mode, change_map.size) == ("L", shape[::-1])
    status, reply = post(split(rows[:1]))
    (answered,) = reply["predictions"]
    assert (answered["alternatives"], answered["change_map"], answered["note"]) == ([], None, None)


@pytest.mark.slow
def test_the_same_draw_in_any_company(post, pairs):
    rows = [[coded(before), coded(after)] for before, after in pairs]
    drawing = {"sample": True, "num_captions": 3, "temperature": 2, "seed": 5}
    _, together = post(split(rows, **drawing))
    alone = [post(split([row], **drawing))[1]["predictions"][0] for row in rows]
    for one, other in zip(together["predictions"], alone, strict=True):
        assert texts(one) == texts(other)
    _, others = post(split(rows, **drawing | {"seed": 6}))
    assert list(map(texts, others["predictions"])) != list(map(texts, together["predictions"]))


def texts(answered):
    return [each["caption"] for each in (answered, *answered["alternatives"])]


@pytest.mark.slow
def test_everyone_in_a_crowd_gets_their_own_answer(post, pairs, expected):
    rows = [[coded(before), coded(after)] for before, after in pairs]
    asked = [(row, beam) for row in range(len(rows)) for beam in (1, 2)] * 8
    with ThreadPoolExecutor(len(asked)) as pool:
        replies = list(pool.map(lambda one: post(split([rows[one[0]]], beam=one[1])), asked))
    for (row, beam), (status, reply) in zip(asked, replies, strict=True):
        assert status == 200
        agrees(reply["predictions"], expected(beam=beam)[row : row + 1])


@pytest.mark.slow
def test_a_faulty_request_gets_one_sentence_and_the_server_lives_on(post, pairs, expected, tmp_path):
    good = coded(pairs[0][0])
    text = base64.b64encode(b"Nothing has changed.\n" * 9).decode()
    half = base64.b64encode(base64.b64decode(good)[:-300]).decode()
    huge = coded(Image.new("L", (6000, 6000)))
    assert len(huge) < 100_000
    (tmp_path / "secret.png").write_bytes(base64.b64decode(good))
    no_image = "the image is damaged or not an image"
    faults = {
        "truncated base64": (split([[good, good[:-3]]]), "row 0, 'after': not base64"),
        "half an image": (split([[half, good]]), f"row 0, 'before': {no_image}"),
        "a text file": (
            split([[good, good], [good, text]]),
            f"row 1, 'after': {no_image} (189 bytes); expected a complete",
        ),
        "no image at all": (split([["", good]]), "row 0, 'before': the image is missing"),
        "a GIF": (split([[good, coded(pairs[0][0], "GIF")]]), f"row 0, 'after': {no_image}"),
        "too many pixels": (split([[huge, good]]), "row 0, 'before': the image has 6000 x 6000 pixels, more than the"),
        "null": (
            split([[good, None]]),
            "row 0, 'after': the image is missing; expected the image file's bytes as base64 text",
        ),
        "a number": (split([[good, 5]]), "row 0, 'after': expected the image file's bytes as base64 text, got int"),
        "a list": (
            split([[[good], good]]),
            "row 0, 'before': expected the image file's bytes as base64 text, got list",
        ),
        "a file of the server": (split([[str(tmp_path / "secret.png"), good]]), "row 0, 'before': not base64"),
        "an address of one": (split([[(tmp_path / "secret.png").as_uri(), good]]), "row 0, 'before': not base64"),
        "an address elsewhere": (split([[good, "http://127.0.0.1/a.png"]]), "row 0, 'after': not base64"),
        "a row too short": (split([[good, good], [good]]), "row 1, 'after': the image is missing"),
        "a column too few": (split([[good]], ["before"]), "after"),
        "wrong columns": (split([[good, good]], ["before", "later"]), "after"),
        "a column twice": (split([[good, good]], ["before", "before"]), "DataFrame"),
        "columns of two lengths": ({"inputs": {"before": [good, good], "after": [good]}}, "the same length"),
        "texts in place of pairs": ({"instances": [good, good]}, "missing inputs ['before', 'after']"),
        "beam out of range": (split([[good, good]], beam=99), "beam is 99; expected 1 to 10"),
        "no length": (split([[good, good]], max_length=0), "max_length is 0; expected 1 to 200"),
        "no captions": (split([[good, good]], num_captions=0), "num_captions is 0; expected 1 to 10"),
        "frozen": (split([[good, good]], temperature=0), "temperature is 0.0; expected 0.05 to 10"),
        "no temperature": (split([[good, good]], temperature=float("nan")), "temperature is nan; expected 0.05 to 10"),
        "a negative seed": (split([[good, good]], seed=-1), "seed is -1; expected 0 to"),
        "a beam of the wrong type": (split([[good, good]], beam="many"), 'beam is "many"; expected a whole number'),
        "an unknown setting": (split([[good, good]], beams=2), "unknown parameter 'beams'; did you mean 'beam'?"),
        "too many pairs": (split([[good, good]] * 65), "the request has 65 pairs; expected 1 to 64"),
        "no pairs": (split([]), "expected 1 to 64"),
        "no known form": ({"pairs": [[good, good]]}, "dataframe_split"),
        "no JSON": (b"before and after", "the request is not valid JSON: Expecting value"),
        "a nest": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "more than 900 commas and brackets"),
        "a long number": (b'{"inputs": ' + b"1" * 5000 + b"}", "not valid JSON: Exceeds the limit"),
    }
    for name, (body, message) in faults.items():
        status, reply = post(body)
        assert 400 <= status < 500, f"{name}: {status} {reply}"
        answered = json.loads(reply)
        assert answered.keys() == {"error_code", "message"}, f"{name}: {reply}"
        assert message in answered["message"] and "\n" not in answered["message"], f"{name}: {reply}"
        assert not re.search(r"Traceback|\.py\b|/[a-z]+/", reply), f"{name}: {reply}"
    status, reply = post(split([[coded(before), coded(after)] for before, after in pairs]))
    assert status == 200
    agrees(reply["predictions"], expected())
