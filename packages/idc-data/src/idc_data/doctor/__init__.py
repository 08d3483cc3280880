"""What is wrong with a published dataset, what of it can be mended, and the mending."""

from idc_data.doctor.diagnosis import FIXES, Diagnosis, Finding
from idc_data.doctor.examine import examine
from idc_data.doctor.mend import mended

__all__ = ["FIXES", "Diagnosis", "Finding", "examine", "mended"]
