"""Failures that a person can act on: one message each, and the exit code that the command ends with."""


class Failure(Exception):
    """Something went wrong that the message explains: what, where, and what to do. Exit code 1."""

    exit_code = 1


class UsageFailure(Failure):
    """What was asked for makes no sense: a wrong option, name or value. Exit code 2."""

    exit_code = 2


class DataFailure(Failure):
    """The images or labels cannot be used as they are. Exit code 3."""

    exit_code = 3
