"""What a test asks of a model: each pair encoded once, and what it says of the pair in the other order."""

import pytest
import torch
from idc_data.readers import open_reader
from idc_data.tokenizers.words import Words
from idc_models.encoders.cnn import CnnEncoder
from idc_models.spec import build_captioner

from idc_run.training.predict import predict

CPU = torch.device("cpu")


class Joint(CnnEncoder):
    """Looks at both images together: what it makes of a swapped pair is not the pair's, swapped."""

    def pair(self, before, after):
        first, second = super().pair(before, after)
        return first - 2 * second, second


@pytest.mark.parametrize(("kind", "passes"), [(CnnEncoder, 1), (Joint, 2)])
def test_a_swapped_pair_is_encoded_again_only_by_an_encoder_of_both_images(spec, monkeypatch, kind, passes):
    chosen = spec()
    reader = open_reader({"name": "scenes", "val_pairs": 4}, "val", image_size=32)
    pairs = [reader[row] for row in range(4)]
    tokenizer = Words.train([text for pair in pairs for text in pair.references], max_length=40)
    torch.manual_seed(0)
    model = build_captioner(chosen.model, tokenizer, chosen.train.objectives).eval()
    model.encoder.__class__ = kind
    seen = []
    monkeypatch.setattr(kind, "forward", lambda self, image, real=kind.forward: seen.append(1) or real(self, image))
    predictions = predict(model, reader, tokenizer, chosen.data, chosen.eval, CPU, diagnose=True)
    assert len(seen) == passes
    sides = [
        torch.stack([torch.from_numpy(getattr(pair, side)).movedim(2, 0) for pair in pairs])
        for side in ("before", "after")
    ]
    said = model.generate(sides[1], sides[0]).tokens.tolist()
    assert [each.swapped for each in predictions] == [tokenizer.decode(tokens) for tokens in said]


def test_a_loss_is_computed_of_the_pairs_that_are_captioned(spec, monkeypatch):
    chosen = spec()
    pairs = open_reader({"name": "scenes", "val_pairs": 4}, "val", image_size=32)
    tokenizer = Words.train([text for pair in pairs for text in pair.references], max_length=40)
    model = build_captioner(chosen.model, tokenizer, chosen.train.objectives).eval()
    losses, seen = [], []

    def teach(batch, fused):
        losses.append((model.loss(batch, fused)["loss"], model.loss(batch)["loss"]))

    real = CnnEncoder.forward
    monkeypatch.setattr(CnnEncoder, "forward", lambda self, image: seen.append(1) or real(self, image))
    predict(model, pairs, tokenizer, chosen.data, chosen.eval, CPU, each=teach)
    assert len(losses) == 1 and len(seen) == 2  # the second is of the loss that fuses the pairs itself
    assert torch.equal(*losses[0])
