"""Finds problems in a published dataset, and fixes some of them in a copy."""

from idc_data.doctor.diagnosis import FIXES, Diagnosis, Finding
from idc_data.doctor.examine import examine
from idc_data.doctor.mend import mended

__all__ = ["FIXES", "Diagnosis", "Finding", "examine", "mended"]
