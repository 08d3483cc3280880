"""Any fusion with any decoder: every parameter learns something of a batch."""

import pytest
import torch
from idc_models import ModelSpec, build_captioner
from idc_models.registry import find, names
from torch.nn import Module

CNN = {"name": "cnn", "widths": [8, 16]}


def still(captioner: Module) -> list[str]:
    """Names the parameters that a batch teaches nothing."""
    return [
        name
        for name, parameter in captioner.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]


def captioner_of(fusion, decoder, vocab):
    spec = ModelSpec.model_validate({"encoder": CNN, "fusion": fusion, "decoder": decoder})
    return build_captioner(spec, vocab, {"caption": 1.0})


@pytest.mark.slow
@pytest.mark.parametrize("decoder", names("decoder"))
@pytest.mark.parametrize("fusion", names("fusion"))
def test_any_fusion_goes_with_any_decoder(fusion, decoder, vocab, batch):
    slots = getattr(find("decoder", decoder), "slots", None)
    if slots not in (None, getattr(find("fusion", fusion), "slots", None)):
        with pytest.raises(ValueError, match=f"decoder '{decoder}' needs a memory of {slots} slots"):
            captioner_of(fusion, decoder, vocab)
        return
    captioner = captioner_of(fusion, decoder, vocab)
    captioner(batch)["loss"].backward()
    assert still(captioner) == []
    with torch.no_grad():
        written = captioner.eval().generate(batch.before, batch.after, beam=2, locate=True)
    assert written.tokens.shape[0] == 3 and written.log_probs.isfinite().all()


@pytest.mark.parametrize("decoder", ["dynamic-speaker", "gru", "post-norm"])
def test_duda_speaks_through_any_decoder(decoder, vocab, batch):
    captioner = captioner_of("duda", decoder, vocab)
    captioner(batch)["loss"].backward()
    assert still(captioner) == []
    written = captioner.eval().generate(batch.before, batch.after, locate=True)
    assert written.change_map is not None and written.change_map.shape == (3, 8, 8)
