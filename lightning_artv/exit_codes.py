"""What every command ends with: an exit code, and one sentence on stderr (`docs/cli.md`)."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lightning_artv.errors import UserError, system_sentence

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


def exit_code(command: Callable[[], int], stopped: str) -> int:
    """Run a command and return its exit code; a user's errors become one line on stderr.

    Args:
        stopped: what is said after Ctrl-C.
    """
    try:
        return command()
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(stopped, INTERRUPTED)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        return _fail(stopped, INTERRUPTED)  # Lightning turns Ctrl-C during training into exit 1
    except OSError as error:
        if (sentence := system_sentence(error)) is None:
            raise
        return _fail(sentence, UserError.exit_code)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
