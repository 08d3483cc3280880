"""Change-captioning evaluation: captions in, scores out."""

from idc_eval.changed import claims_change
from idc_eval.cider import Cider
from idc_eval.meteor import Meteor
from idc_eval.metrics import DIAGNOSTICS, FAST_METRICS, METRICS
from idc_eval.prediction import Prediction, Regions, read_predictions, write_predictions
from idc_eval.protocols import PROTOCOLS, Protocol, find_protocol
from idc_eval.scene_truth import SceneTruth, Verdict, judge
from idc_eval.score import Scores, reference_ceiling, score
from idc_eval.statement import Statement, read_statement

__all__ = [
    "Cider",
    "DIAGNOSTICS",
    "FAST_METRICS",
    "METRICS",
    "PROTOCOLS",
    "Meteor",
    "Prediction",
    "Protocol",
    "Regions",
    "SceneTruth",
    "Scores",
    "Statement",
    "Verdict",
    "claims_change",
    "find_protocol",
    "judge",
    "read_predictions",
    "read_statement",
    "reference_ceiling",
    "score",
    "write_predictions",
]
