"""`python -m idc_run`, which is what torchrun starts."""

from idc_run.cli import run

if __name__ == "__main__":
    run()
