"""Real classes of transformers with small random weights, loaded by `from_pretrained`."""

import numpy as np
import pytest
import torch
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asking, Local, Question
from idc_data.generate.caption import Blip
from idc_data.generate.chat import Vlm
from idc_data.generate.collect import ImageFolder, collect
from idc_data.generate.difference import Captioned
from idc_data.generate.embed import Clip, embed
from idc_data.generate.filters import Filters
from idc_data.generate.loading import Weights
from idc_data.generate.models import ChatModel, Drawn

pytestmark = pytest.mark.slow


def through(what, description, length):
    return what


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def asking(tmp_path):
    return Asking(Answers(tmp_path / "answers.sqlite"), Local(), through)


@pytest.fixture
def images(photos):
    return collect(photos, ImageFolder(root=photos).paths(), through)[0]


@pytest.mark.parametrize("prompt", ["", "a dog"])
@pytest.mark.parametrize("kind", ["blip", "blip2", "llava"])
def test_captioners_say_the_same_in_a_batch_and_alone(kind, prompt, request, photos, images, tmp_path):
    folder = str(request.getfixturevalue(kind))
    said = []
    for size in (5, 1):
        asking = Asking(Answers(tmp_path / f"{size}.sqlite"), Local(), through)
        captioner = Blip(model=folder, prompt=prompt, batch_size=size, beam=2, max_new_tokens=8, device="cpu")
        said.append(captioner(images[:5], photos, asking))
        assert asking.spent.asked == 5 and asking.spent.tokens_out > 0
    assert said[0] == said[1]
    if kind != "blip":
        assert "user:" not in str(said), "what was asked is no part of the answer"


def test_sampled_captions_are_the_same_in_any_batch_and_differ_from_each_other(blip, photos, images, tmp_path):
    said = []
    for size in (5, 2):
        asking = Asking(Answers(tmp_path / f"{size}.sqlite"), Local(), through)
        settings = {"sampled": 3, "temperature": 1.5, "beam": 1, "max_new_tokens": 6, "device": "cpu"}
        said.append(Blip(model=str(blip), batch_size=size, **settings)(images[:5], photos, asking))
    assert said[0] == said[1]
    assert all(len(row["captions"]) > 1 for row in said[0])
    other = Blip(model=str(blip), batch_size=5, **settings, seed=1)(images[:5], photos, asking)
    assert [row["captions"][0] for row in other] == [row["captions"][0] for row in said[0]] and other != said[0]


def test_draws_are_from_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    drawn = Drawn(0.5, range(4000))(torch.zeros(4000, 0), logits.expand(4000, 4)).argmax(1)
    seen = torch.bincount(drawn, minlength=4) / 4000
    assert torch.allclose(seen, (logits / 0.5).softmax(0), atol=0.03)


def test_llama_says_the_same_in_a_batch_and_alone(llama):
    asker = ChatModel(Weights(str(llama), device="cpu"), max_new_tokens=8)
    texts = ("a dog", "a cat on the red sofa and some more", "x")
    questions = [Question({"chat": [{"role": "user", "content": text}]}) for text in texts]
    together = dict(next(asker.ask(questions)))
    assert together == {index: dict(next(asker.ask([some])))[0] for index, some in enumerate(questions)}
    short, long = together[2].tokens_in, together[1].tokens_in
    assert 0 < short < long, "padding is not counted"


def test_a_vision_language_model_sees_both_images_and_the_captions(llava, photos, asking):
    def pair(*names):
        files = tuple(str(photos / name) for name in names)
        return Captioned(*names, files, ("a dog",), ("a cat",))

    writer = Vlm(model=str(llava), max_new_tokens=8, device="cpu")
    written = writer([pair("0_0.png", "1_0.png"), pair("0_0.png", "2_0.png")], asking)
    assert all(difference.rejected is not None for difference in written), "random weights write no JSON"
    assert asking.spent.asked == 4, "each is asked, and repaired"
    assert asking.spent.tokens_in > 4 * 2 * 16, "two images of 16 patches are read each time"


def test_clip_embeds_and_judges(clip, photos, images, asking):
    vectors = embed(Clip(model=str(clip), device="cpu"), images, photos, asking)
    assert vectors.shape == (12, 16) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    at = {row["path"]: row["image"] for row in images}
    files = (str(photos / "0_0.png"), str(photos / "1_0.png"))
    pair = Captioned(at["0_0.png"], at["1_0.png"], files, ("a dog",), ("a cat",))
    row = {"pair": "p", "similarity": 0.7}
    said = {"references": ["the dog is gone"], "change_type": "drop", "confidence": 0.9, "rejected": None}
    for least, reason in ((-1, None), (1, "caption that does not fit its image")):
        rows, _ = Filters(clip=str(clip), min_agreement=least, device="cpu")([row], [pair], [said], asking)
        assert rows[0]["reason"] == reason
    assert asking.spent.asked == 14, "twelve embeddings, two judgements, none twice"
