"""The exceptions users meet.

Every one of them names the thing, the value met, what was expected and what to do, in one line; the command line
prints that line and exits with code 2. Anything else that escapes is a bug of ours (exit code 1).
"""


class NanoarbError(Exception):
    """Base of all errors that the user can mend."""


class ConfigError(NanoarbError, ValueError):
    """A setting is unknown, out of range or contradicts another one."""


class SettingError(ConfigError):
    """A setting has a value that it cannot have.

    Args:
        key: of the setting, with its table: "train.lr".
        value: it has.
        expected: values, in words.
    """

    def __init__(self, key: str, value: object, expected: str):
        super().__init__(key, value, expected)
        self.key, self.value, self.expected = key, value, expected

    def __str__(self) -> str:
        return f"{self.key}={self.value!r}: expected {self.expected}"


class DataError(NanoarbError, ValueError):
    """A data file, a stream or a feature array is missing, damaged or not what was expected."""


class ShortSeriesError(DataError):
    """A series has no ticks, or too few to be split and learnt from."""


class DataWarning(UserWarning):
    """Something about market data that is not an error, and that whoever uses them must know."""


class CheckpointError(NanoarbError):
    """A checkpoint is missing, truncated, altered or made for something else."""


class OutputError(NanoarbError):
    """What is to be written exists already, or cannot be written where it was asked for."""


class ExportError(NanoarbError):
    """An exported model could not be written, verified or read back."""


class DeviceError(NanoarbError):
    """The devices, or the processes that share them, are not those of one run."""


class TrainingError(NanoarbError):
    """Training cannot go on: the loss is no longer finite."""
