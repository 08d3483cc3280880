"""How commands report a user's mistake."""

from typing import Any

import click


class Mistake(click.ClickException):
    """A mistake of the user: one line on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(f"error: {' '.join(self.message.split())}", file=file, err=True)


class OneLineErrors(click.Command):
    """A command that reports ValueError and OSError as mistakes; other exceptions are bugs and keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe has closed it: click exits silently
        except (ValueError, OSError) as error:
            raise Mistake(str(error)) from error


class OneLineGroup(OneLineErrors, click.Group):
    """A group of such commands."""
