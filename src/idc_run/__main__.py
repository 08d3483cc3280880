"""Entry point of `python -m idc_run`, which torchrun uses."""

from idc_run.cli import run

if __name__ == "__main__":
    run()
