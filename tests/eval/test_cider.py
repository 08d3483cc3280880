"""CIDEr, BLEU and ROUGE-L of any captions equal pycocoevalcap's; CIDEr by the word weights of another corpus."""

import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from idc_eval.captions import Captions, bleu, bleu_sums, cider, rouge_l, tokenized
from idc_eval.cider import Cider
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider as CocoCider
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge

CLOSE = {"abs": 1e-9, "rel": 0}
CAPTION = st.lists(st.sampled_from(["the", "cube", "moved", "é", "'s", "3"]), max_size=9).map(" ".join)
EXAMPLES = st.lists(st.tuples(CAPTION, st.lists(CAPTION, min_size=1, max_size=4)), min_size=1, max_size=8)


def check(captions: Captions) -> None:
    coco = dict(enumerate(captions.references)), {n: [each] for n, each in enumerate(captions.hypotheses)}
    values, per_example = Bleu(4).compute_score(*coco, verbose=0)
    ours = bleu(captions)
    assert [each.value for each in ours] == pytest.approx(values, **CLOSE)
    for own, theirs in zip(ours, per_example, strict=True):
        assert own.per_example == pytest.approx(theirs, **CLOSE)
    for own, scorer in ((rouge_l(captions), Rouge()), (cider(captions), CocoCider())):
        value, per_example = scorer.compute_score(*coco)
        assert own.value == pytest.approx(value, **CLOSE)
        assert own.per_example == pytest.approx(list(per_example), **CLOSE)


def made(seed: int, num: int) -> Captions:
    """Captions with many words, of which some are in many of them."""
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(200)]
    often = [1 / (n + 1) for n in range(200)]

    def caption() -> str:
        return " ".join(rng.choices(words, often, k=rng.randint(0, 14)))

    return Captions(
        [caption() for _ in range(num)], [[caption() for _ in range(rng.randint(1, 5))] for _ in range(num)]
    )


@settings(deadline=None, max_examples=200)
@given(EXAMPLES)
def test_any_captions_score_as_with_pycocoevalcap(examples):
    assume(any(reference for _, references in examples for reference in references))  # it fails where there is no word
    check(Captions([hypothesis for hypothesis, _ in examples], [references for _, references in examples]))


def test_stored_and_many_captions_score_as_with_pycocoevalcap(predictions):
    check(tokenized(predictions))
    check(made(seed=0, num=2_000))


def test_sums_of_bleu_are_what_pycocoevalcap_adds_up():
    captions = Captions(["a a b", ""], [["a b b c", "a"], ["x y"]])
    assert bleu_sums(captions).tolist() == [
        [3, 2, 1, 0, 2, 1, 0, 0, 3, 4],  # "a" counts once, "a b" is right; 4 words are closer to 3 than 1 is
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    ]
    tied = Captions(["a b c"], [["a b c d", "a b"]])
    assert bleu_sums(tied)[0, -1] == 2


def test_weights_may_come_from_another_corpus():
    corpus, scored = made(seed=1, num=300), made(seed=2, num=40)
    # pycocoevalcap takes the frequencies from what it scores; here it is given the others, and as many examples.
    weigher = CiderScorer()
    for references in corpus.references:
        weigher.cook_append("", references)
    weigher.compute_doc_freq()
    theirs = CiderScorer()
    theirs.document_frequency = weigher.document_frequency
    for hypothesis, references in zip(scored.hypotheses, scored.references, strict=True):
        theirs.cook_append(hypothesis, references)
    for _ in range(300 - 40):
        theirs.cook_append("", [""])
    expected = theirs.compute_cider()[:40]

    scorer = Cider(corpus.references)
    values = scorer.score(scored.hypotheses, scored.references)
    assert values == pytest.approx(expected, **CLOSE)
    assert not np.allclose(values, cider(scored).per_example)


def test_a_reward_does_not_depend_on_the_batch():
    corpus, scored = made(seed=3, num=100), made(seed=4, num=30)
    scorer = Cider(corpus.references)
    together = scorer.score(scored.hypotheses, scored.references)
    alone = [
        scorer.score([hypothesis], [references])[0]
        for hypothesis, references in zip(scored.hypotheses, scored.references, strict=True)
    ]
    assert together == pytest.approx(alone, **CLOSE)
    assert together.max() > 0


def test_words_that_the_corpus_lacks_count_fully():
    scorer = Cider([["a b"], ["a c"], ["a d"]])
    same, other = scorer.score(["never seen before here", "never seen before there"], [["never seen before here"]] * 2)
    assert same == pytest.approx(10)
    assert 0 < other < same
    common, rare = scorer.score(["a x", "z b"], [["a b"]] * 2)
    assert common == 0  # "a" is in every example
    assert rare > 0


def test_references_without_a_word_score_nothing():
    assert Cider([[""]]).score(["a", ""], [[""], [""]]).tolist() == [0, 0]


def test_a_corpus_without_references_is_refused():
    with pytest.raises(ValueError, match="no references to take word weights from"):
        Cider([])
