"""Errors that a user can mend. Each message is one sentence that names the thing and the fix.

The command line prints only the message and exits with `exit_code`; from Python they are ordinary
exceptions.
"""


class UserError(Exception):
    """Bad input: a missing file, a wrong size, an unknown option."""

    exit_code = 2


class MissingWeightsError(UserError):
    """A weight file or folder that the configuration names is not there."""

    exit_code = 3


class CorruptWeightsError(UserError):
    """A weight file whose size or sha256 is not the expected one; it was not loaded."""

    exit_code = 4


class DataError(UserError):
    """Training data that cannot be used: no shards, or too many corrupt samples."""

    exit_code = 5
