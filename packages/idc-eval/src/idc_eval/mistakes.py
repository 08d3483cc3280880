"""How commands report a user's mistake."""

from typing import Any

import click


class Mistake(click.ClickException):
    """A mistake of the person who typed the command: one line on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(f"error: {' '.join(self.message.split())}", file=file, err=True)


class OneLineGroup(click.Group):
    """Commands that report ValueError and OSError as mistakes; other errors are bugs and keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reading end of a pipe is closed: click exits quietly
        except (ValueError, OSError) as error:
            raise Mistake(str(error)) from error
