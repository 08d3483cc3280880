"""How the commands report mistakes of the user."""

import sys
from typing import Any

import click
from idc_data.mistakes import Mistake

from idc_run.address import mask
from idc_run.tracking.server import explain


class OneLineErrors(click.Command):
    """Reports a user's mistake as one line on stderr with exit code 2; any other error keeps its traceback.

    Args:
        *args: Arguments of `click.Command`.
        stopped: The message when the command is interrupted.
        **kwargs: Keyword arguments of `click.Command`.
    """

    def __init__(self, *args: Any, stopped: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopped = stopped

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of the pipe has closed it; click exits quietly
        except Exception as error:
            message = explain(error) or (str(error) if isinstance(error, ValueError | OSError) else None)
            if message is None:
                raise
            raise Mistake(mask(message)) from error
        except KeyboardInterrupt as error:
            click.echo(self._stopped, err=True)
            sys.exit(getattr(error, "code", 130))
