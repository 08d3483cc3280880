"""DIRL with CCR, on CLEVR-DC: `dirl` is models.DIRL.DIRL, `ccr` is models.CCR.CCR, with layer norms; see `dirl`."""

from dataclasses import replace

from idc_models.zoo.dirl import METHOD as CLEVR_CHANGE

METHOD = replace(CLEVR_CHANGE, objectives={"caption": 1.0, "decorrelation": 0.03, "ccr": 0.05})
