"""How the commands tell of a user's mistake."""

import sys
from typing import Any

import click
from idc_data.mistakes import Mistake

from idc_run.address import mask
from idc_run.tracking.server import explain


class OneLineErrors(click.Command):
    """A mistake of the user's is one line on stderr and exit code 2; anything else is ours and keeps its traceback.

    Args:
        *args: Of `click.Command`.
        stopped: What is said when the command is interrupted.
        **kwargs: Likewise.
    """

    def __init__(self, *args: Any, stopped: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopped = stopped

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe has gone: click ends quietly
        except Exception as error:
            message = explain(error) or (str(error) if isinstance(error, ValueError | OSError) else None)
            if message is None:
                raise
            raise Mistake(mask(message)) from error
        except KeyboardInterrupt as error:
            click.echo(self._stopped, err=True)
            sys.exit(getattr(error, "code", 130))
