"""Error types. Every message says what was wrong, the value seen and the next step.

Each error is both ours and the Python builtin a caller would expect, so `except ValueError` keeps working.
"""


class PlanksegError(Exception):
    """Base of every error that plankseg raises on purpose."""


class SettingsError(PlanksegError, ValueError):
    """A setting or a parameter cannot be used."""


class ImageReadError(PlanksegError, ValueError):
    """The bytes are no image that we can read."""


class ImageTooLargeError(ImageReadError):
    """The header announces more pixels than we are willing to decode."""


class MaskShapeError(PlanksegError, ValueError):
    """A mask does not have the size of its image."""


class PromptError(PlanksegError, ValueError):
    """A click or a box of a person is not on its image."""


class ArchiveError(PlanksegError, ValueError):
    """An archive of images, or a table in it, cannot be read or ends too early."""


class DownloadError(PlanksegError, ConnectionError):
    """A data set cannot be downloaded, or what came is not what was published."""


class EcoTaxaError(PlanksegError, RuntimeError):
    """EcoTaxa answered with an error, or with something unexpected."""


class EcoTaxaDownError(EcoTaxaError, ConnectionError):
    """EcoTaxa does not answer, breaks off, or asks to wait too often."""


class EcoTaxaAuthError(EcoTaxaError, PermissionError):
    """EcoTaxa refuses our token, or does not let it do this."""


class BrushError(PlanksegError, ValueError):
    """A brush run-length code is malformed."""


class AnswerError(BrushError):
    """An answer cannot be used for a reason that its brush code does not show; the message names the cure."""


class WeightsError(PlanksegError, OSError):
    """Encoder or model weights cannot be had."""


class BackendError(PlanksegError, RuntimeError):
    """A way of computing the network is not to be had here, or gives another answer than the network."""


class TrainingError(PlanksegError, RuntimeError):
    """A training cannot start or cannot go on."""


class ModelError(PlanksegError, LookupError):
    """No model is the one that is meant, or there is none to go back to."""


class EmptyPoolError(PlanksegError, ValueError):
    """No image is left to choose from."""


class ScoreError(PlanksegError, ValueError):
    """A score is missing or not a finite number."""


class ManifestError(PlanksegError, ValueError):
    """The record of a choice cannot be read or holds no choice."""


class StoreError(PlanksegError, OSError):
    """The label store cannot be read or written."""


class ObjectMissingError(StoreError, FileNotFoundError):
    """An object that a table names is not in the store."""


class ObjectCorruptError(StoreError):
    """An object's bytes do not have the hash they are stored under."""


class StoreBusyError(StoreError, BlockingIOError):
    """Another process is at work on the same store."""


class StoreRefusedError(StoreError, PermissionError):
    """The store's server does not accept our credentials, or does not let them do this."""


class StoreDownError(StoreError, ConnectionError):
    """The store's server does not answer."""


class OutputError(PlanksegError, OSError):
    """A folder or file of results cannot be written, or holds something else."""


class LabelStudioError(PlanksegError, RuntimeError):
    """Label Studio answered with an error, or with something unexpected."""


class ProjectGoneError(LabelStudioError, LookupError):
    """The Label Studio project that rounds were pushed into is not there any more."""


class LabelStudioDownError(LabelStudioError, ConnectionError):
    """Label Studio does not answer."""


class LabelStudioAuthError(LabelStudioError, PermissionError):
    """Label Studio refuses our token."""


class ServerError(PlanksegError, RuntimeError):
    """A server that we started did not come up, or went away."""


class RunnerError(PlanksegError, ConnectionError):
    """The workers that shards are given to, or their scheduler, are not there or went away."""


class HookError(PlanksegError, ValueError):
    """The body of a webhook cannot be read."""
