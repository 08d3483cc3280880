"""The checks of the contract, one function each; it raises AssertionError if the plugin fails."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from idc_models.contract import Decoded, Fused
from idc_models.testing.subjects import (
    BATCH,
    GRID,
    VOCAB,
    DecoderSubject,
    EncoderSubject,
    FusionSubject,
    ObjectiveSubject,
    Subject,
)

# -- for every kind of plugin ---------------------------------------------------------------------------------


def gradients(subject: Subject) -> None:
    """Every trainable parameter gets a finite gradient."""
    module, inputs = subject.build().train(), subject.inputs()
    loss = subject.signal(subject.run(module, inputs))
    if loss.requires_grad:  # a frozen encoder has no gradient
        loss.backward()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"parameter {name!r} has no gradient"
            assert parameter.grad.isfinite().all(), f"the gradient of parameter {name!r} is not finite"


def learning(subject: Subject) -> None:
    """The plugin can overfit one batch."""
    module, inputs = subject.build().train(), subject.inputs()
    own = [parameter for parameter in module.parameters() if parameter.requires_grad]
    leaves = subject.leaves(inputs)
    if not own + leaves:
        return
    # Leaves stand for the output of a network, which changes faster than any of its parameters.
    optimizer = torch.optim.Adam([{"params": own, "lr": 2e-3}, {"params": leaves, "lr": 0.05}])
    first = last = subject.loss(subject.run(module, inputs))
    if isinstance(subject, ObjectiveSubject) and subject.loss(subject.run(module, inputs)) != first:
        return  # a random objective has a fluctuating loss
    for _ in range(200):
        if last <= first / 2:
            return
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
        last = subject.loss(subject.run(module, inputs))
    raise AssertionError(f"200 steps on one batch took the loss from {first:.3f} to {last:.3f}, expected half or less")


def state_dict(subject: Subject) -> None:
    """A second instance computes the same after loading the state dict of the first."""
    first, second, inputs = subject.build().eval(), subject.build().eval(), subject.inputs()
    second.load_state_dict(first.state_dict())
    outputs = (_all(subject, _seeded(subject, module, inputs)) for module in (second, first))
    for ours, theirs in zip(*outputs, strict=True):
        _close(ours, theirs, "the output differs after loading the state dict")


def meta(subject: Subject) -> None:
    """Construction on the meta device yields the same state dict as on the CPU."""
    with torch.device("meta"):
        built = subject.build()
    wanted = subject.build().state_dict()
    for name, value in chain(built.named_parameters(), built.named_buffers()):
        assert value.is_meta, f"{name!r} is not on the meta device: it is created with an explicit device"
    given = built.state_dict()
    assert given.keys() == wanted.keys(), (
        f"the state dict differs on the meta device: {sorted(given.keys() ^ wanted.keys())}"
    )
    for name, value in given.items():
        assert value.shape == wanted[name].shape, f"{name!r} has another shape on the meta device"


def rows(subject: Subject) -> None:
    """In eval mode, each row of a batch is independent of the others."""
    module, inputs = subject.build().eval(), subject.inputs()
    together, alone = subject.run(module, inputs), subject.run(module, subject.first(inputs))
    for ours, theirs in zip(subject.tensors(alone), subject.tensors(together), strict=True):
        _close(ours, theirs[:1], "the output for one row depends on the other rows of the batch")


def single(subject: Subject) -> None:
    """A batch of one yields finite values and gradients."""
    module, inputs = subject.build().train(), subject.first(subject.inputs())
    output = subject.run(module, inputs)
    for value in _all(subject, output):
        assert value.isfinite().all(), "a batch of one yields values that are not finite"
    loss = subject.signal(output)
    if loss.requires_grad:
        loss.backward()
    for name, parameter in module.named_parameters():
        given = parameter.grad is not None and not parameter.grad.isfinite().all()
        assert not given, f"with a batch of one, the gradient of parameter {name!r} is not finite"


def extras(subject: Subject) -> None:
    """Extras are named tensors, batch first."""
    inputs = subject.inputs()
    for name, value in subject.extras(subject.run(subject.build(), inputs)).items():
        assert isinstance(value, Tensor), f"extra {name!r} is {type(value).__name__}, expected a tensor"
        assert value.shape[:1] == (len(inputs[0]),), f"extra {name!r} is {list(value.shape)}, expected the batch first"


# -- for one kind of plugin -----------------------------------------------------------------------------------


def grid_shape(subject: EncoderSubject) -> None:
    """Both grids of a pair are `b gh gw d`, where d is the attribute `dim`."""
    encoder = subject.build()
    grids = subject.run(encoder, subject.inputs())
    assert len(grids) == 2, f"pair returns {len(grids)} grids, expected two: before and after"
    for side, grid in zip(("before", "after"), grids, strict=True):
        shape = grid.shape
        assert len(shape) == 4 and (shape[0], shape[3]) == (BATCH, encoder.dim), (
            f"the grid of {BATCH} {side} images is {tuple(shape)}, expected ({BATCH}, gh, gw, {encoder.dim})"
        )


def memory_shape(subject: FusionSubject) -> None:
    """The memory is `b m e`, where e is the attribute `memory_dim`; a change map is `b gh gw`."""
    fusion = subject.build()
    fused = fusion(*subject.inputs())
    assert isinstance(fused, Fused), f"forward returns {type(fused).__name__}, expected Fused"
    shape = fused.memory.shape
    assert len(shape) == 3 and (shape[0], shape[2]) == (BATCH, fusion.memory_dim), (
        f"the memory of {BATCH} pairs is {tuple(shape)}, expected ({BATCH}, m, {fusion.memory_dim})"
    )
    slots = getattr(subject.plugin, "slots", None)
    assert slots in (None, shape[1]), f"the memory has {shape[1]} slots, but the class attribute slots is {slots}"
    if fused.change_map is not None:
        _shape("change_map", fused.change_map, (BATCH, *GRID))
    if fused.grid is not None:
        cells = fused.grid[0] * fused.grid[1]
        assert shape[1] % cells == 0, f"the memory has {shape[1]} slots, expected a multiple of the grid {fused.grid}"


def oblong(subject: FusionSubject) -> None:
    """A grid that is not square yields finite values and a change map of the same shape."""
    fusion, inputs = subject.build().eval(), subject.inputs()
    for height, width in ((2, 7), (7, 2)):
        fused = subject.run(fusion, tuple(grid.flatten(1, 2)[:, :14].unflatten(1, (height, width)) for grid in inputs))
        for value in _all(subject, fused):
            assert value.isfinite().all(), f"a grid of {height} x {width} cells yields values that are not finite"
        if fused.change_map is not None:
            _shape(f"change_map of a grid of {height} x {width} cells", fused.change_map, (BATCH, height, width))
        assert fused.grid in (None, (height, width)), f"a grid of {height} x {width} cells yields grid={fused.grid}"


def order(subject: FusionSubject) -> None:
    """Swapping before and after changes the memory: otherwise "added" and "removed" would look the same."""
    fusion, (before, after) = subject.build().eval(), subject.inputs()
    memory, swapped = fusion(before, after).memory, fusion(after, before).memory
    assert not torch.allclose(memory, swapped, rtol=1e-3, atol=1e-4), "swapping before and after yields the same memory"


def unchanged(subject: FusionSubject) -> None:
    """A pair of identical images yields finite values and gradients."""
    fusion, (before, _) = subject.build().train(), subject.inputs()
    fused = fusion(before, before)
    for value in _all(subject, fused):
        assert value.isfinite().all(), "identical images yield values that are not finite"
    loss = subject.signal(fused)
    if loss.requires_grad:
        loss.backward()
    for name, parameter in fusion.named_parameters():
        given = parameter.grad is not None and not parameter.grad.isfinite().all()
        assert not given, f"with identical images, the gradient of parameter {name!r} is not finite"


def logits_shape(subject: DecoderSubject) -> None:
    """Logits are `n l v`, attention `n l m`, states `n l s`, where s is the attribute `state_dim`; `vocab` is kept."""
    decoder, (memory, tokens) = subject.build(), subject.inputs()
    decoded = decoder(memory, tokens)
    assert isinstance(decoded, Decoded), f"forward returns {type(decoded).__name__}, expected Decoded"
    assert decoder.vocab == VOCAB, "vocab is not kept: call super().__init__(memory_dim, vocab)"
    _shape("logits", decoded.logits, (*tokens.shape, VOCAB.size))
    assert hasattr(decoder, "state_dim"), f"state_dim, the width of the states, is not set: {decoded.states.shape[-1]}"
    _shape("states", decoded.states, (*tokens.shape, decoder.state_dim))
    if decoded.attention is not None:
        _shape("attention", decoded.attention, (*tokens.shape, subject.slots))


def causality(subject: DecoderSubject) -> None:
    """Later tokens do not change earlier logits."""
    decoder, (memory, tokens) = subject.build().eval(), subject.inputs()
    logits = decoder(memory, tokens).logits
    for place in range(1, tokens.shape[1]):
        other = tokens.clone()
        other[:, place:] = VOCAB.size - 1 - other[:, place:]
        changed = decoder(memory, other).logits
        _close(changed[:, :place], logits[:, :place], f"the token at position {place} changes earlier logits")


def padding(subject: DecoderSubject) -> None:
    """Padding after a caption does not change its logits."""
    decoder, (memory, tokens) = subject.build().eval(), subject.inputs()
    padded = decoder(memory, pad(tokens, (0, 3), value=VOCAB.pad_id)).logits
    _close(padded[:, : tokens.shape[1]], decoder(memory, tokens).logits, "padding changes the logits of the caption")


def incremental(subject: DecoderSubject) -> None:
    """Decoding token by token yields the logits of `forward`, even after reordering the batch."""
    decoder, (memory, tokens) = subject.build().eval(), subject.inputs()
    state, whole, index = decoder.start(memory), decoder(memory, tokens).logits, torch.tensor([2, 0, 0, 3, 1])
    for place in range(tokens.shape[1]):
        if place == 2:
            state, tokens, whole = decoder.reorder(state, index), tokens[index], whole[index]
        logits, state = decoder.step(state, tokens[:, place])
        _close(logits, whole[:, place], f"step differs from forward at position {place}")


def sharing(subject: DecoderSubject) -> None:
    """If `of_memory` is set, captions that share a row of memory yield the same as with one row each."""
    decoder, (memory, tokens) = subject.build().eval(), subject.inputs()
    start = getattr(decoder, "of_memory", None)
    if start is None:
        return
    shared, copied = memory[: BATCH // 2], memory[: BATCH // 2].repeat_interleave(2, dim=0)
    ours, theirs = decoder(shared, tokens), decoder(copied, tokens)
    for one, other in zip(subject.tensors(ours), subject.tensors(theirs), strict=True):
        _close(one, other, "sharing a row of memory changes the output")
    state = decoder.start(shared)
    kept = {name: value for name, value in state.items() if name.startswith(start)}
    for place in range(tokens.shape[1]):
        logits, state = decoder.step(state | kept, tokens[:, place])
        _close(logits, theirs.logits[:, place], f"step differs with shared memory at position {place}")


def scalar(subject: ObjectiveSubject) -> None:
    """The loss is a finite scalar."""
    loss = subject.run(subject.build(), subject.inputs())
    _shape("the loss", loss, ())
    assert loss.isfinite(), f"the loss is {loss.item()}"


def loss_padding(subject: ObjectiveSubject) -> None:
    """Padding after the captions does not change the loss."""
    objective, (*seen, tokens, lengths, pair) = subject.build().eval(), subject.inputs()
    subject.decoder.eval()  # dropout differs between shapes
    longer = pad(tokens, (0, 3), value=VOCAB.pad_id)
    losses = []
    for each in (longer, tokens):
        losses.append(_seeded(subject, objective, (*seen, each, lengths, pair)))
    _close(losses[0], losses[1], "padding changes the loss")


def _seeded(subject: Subject, module: Any, inputs: tuple[Any, ...]) -> Any:
    torch.manual_seed(0)  # an objective may be random even in eval mode
    return subject.run(module, inputs)


def _all(subject: Subject, output: Any) -> list[Tensor]:
    return [*subject.tensors(output), *subject.extras(output).values()]


def _shape(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    assert value.shape == expected, f"{name} has shape {tuple(value.shape)}, expected {tuple(expected)}"


def _close(ours: Tensor, theirs: Tensor, message: str) -> None:
    # Another order of summation changes the last digits of float32; a broken rule changes the first.
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4), f"{message} (by {(ours - theirs).abs().max():.2g})"
