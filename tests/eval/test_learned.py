"""BERTScore and CLIPScore by real model classes with small random weights."""

import pytest
from idc_eval import Prediction, score
from idc_eval.learned import BERT, CLIP
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore:::transformers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "cube", "ball", "is", "gone", "moved", "red", "blue"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]"
    )
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = {**sizes, "vocab_size": len(WORDS), "max_position_embeddings": 40, **ids}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    images = CLIPImageProcessor(size=size, crop_size=size)
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_bertscore_is_that_of_the_best_reference(bert, monkeypatch):
    monkeypatch.setenv(BERT, str(bert))
    several = [
        Prediction(id="1", hypothesis="the cube is gone", references=["a ball", "the cube is gone"]),
        Prediction(id="2", hypothesis="a ball moved", references=["the red ball is gone now", "blue"]),
        Prediction(id="3", hypothesis="", references=["a ball"]),
    ]
    values = score(several, ["bertscore"]).per_example["bertscore"]
    assert values[0] == pytest.approx(1, abs=1e-5) and 0 < values[1] < 0.99 and values[2] == 0
    alone = [
        score([several[1].model_copy(update={"references": [reference]})], ["bertscore"]).values["bertscore"]
        for reference in several[1].references
    ]
    assert values[1] == pytest.approx(max(alone), abs=1e-5)


def test_bertscore_by_hand(bert, monkeypatch):
    from torch import cosine_similarity, no_grad, tensor
    from transformers import AutoModel

    monkeypatch.setenv(BERT, str(bert))
    said = Prediction(id="1", hypothesis="a ball moved", references=["the red ball is gone"])
    model = AutoModel.from_pretrained(bert).eval()
    sides = []
    for caption in (said.hypothesis, said.references[0]):
        ids = [2, *map(WORDS.index, caption.split()), 3]
        with no_grad():
            sides.append(model(tensor([ids])).last_hidden_state[0][1:-1])
    alike = [[float(cosine_similarity(one, other, dim=0)) for other in sides[1]] for one in sides[0]]
    precision = sum(max(row) for row in alike) / 3
    recall = sum(max(column) for column in zip(*alike, strict=True)) / 5
    expected = 2 * precision * recall / (precision + recall)
    assert score([said], ["bertscore"]).values["bertscore"] == pytest.approx(expected, abs=1e-5)


def test_a_model_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(BERT, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=f"nowhere' cannot be loaded.*Set {BERT}"):
        score([Prediction(id="1", hypothesis="a", references=["a"])], ["bertscore"])


def test_clipscore_goes_by_the_after_image(clip, monkeypatch, tmp_path):
    monkeypatch.setenv(CLIP, str(clip))
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    Image.effect_noise((40, 40), 90).convert("RGB").save(tmp_path / "noise.png")
    said = [
        Prediction(id=name, hypothesis="the cube moved", references=["x"], before="red.png", after=f"{name}.png")
        for name in ("red", "noise")
    ]
    scores = score(said, ["clipscore"], images=tmp_path)
    red, noise = scores.per_example["clipscore"]
    assert 0 <= red <= 1 and 0 <= noise <= 1 and red != noise
    again = score([said[0].model_copy(update={"before": "noise.png"})], ["clipscore"], images=tmp_path)
    assert again.values["clipscore"] == pytest.approx(red)
    assert "after" in score(said, ["clipscore"]).skipped["clipscore"]
