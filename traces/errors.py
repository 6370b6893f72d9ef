"""What a user sees when an input is wrong: one sentence saying what, where and what to do."""

__all__ = ["SlosimError", "TraceWarning"]


class SlosimError(ValueError):
    """The base of every error that a user can mend: a wrong file, field, name or option.

    Its message is one readable line; the command line prints it as it is and ends with code 2.
    """


class TraceWarning(UserWarning):
    """A file could be read, but not all of it: what was left out, and how much was kept."""
