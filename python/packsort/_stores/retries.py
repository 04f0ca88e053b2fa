"""Repeat calls of a store that failed in passing.

The clients of S3 and of Google retry by themselves, others do not; none asks again where an answer is shorter than it
should be. So each call is made up to four times, with pauses that grow. Errors that stay, such as a missing bucket, are
raised at once, and so is the error of a client that has waited long between attempts of its own.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

ATTEMPTS = 4
FIRST_PAUSE = 0.2
"""Seconds before the second attempt; each later pause is three times as long."""
CLIENT_SECONDS = 30
"""Seconds after which a client that waits between attempts of its own has made all of them."""

_STAY = (
    FileNotFoundError,
    PermissionError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    MemoryError,
)
_STAYING_ERRNOS = {
    errno.EINVAL,
    errno.EPERM,
    errno.ENOSYS,
    errno.EMSGSIZE,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
}
_PASSING_STATUSES = {408, 425, 429}
_CLIENT_WAITED = ("ServiceRequestError", "ServiceResponseError")  # that of Azure, for more than a minute
_STAYING_NAMES = ("CredentialsError", "ProfileNotFound", "TokenRetrievalError", "SSOError", "ParamValidationError")

_Result = TypeVar("_Result")


class ShortAnswerError(OSError):
    """A store sent fewer or more bytes than were asked for."""


def repeated(call: Callable[[], _Result]) -> _Result:
    """Call a function until it succeeds, at most `ATTEMPTS` times.

    Args:
        call: The function, which may be called several times.

    Raises:
        OSError: It failed each time, or in a way that stays.
    """
    pause, begun = FIRST_PAUSE, time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        # Clients raise exceptions of their own beside OSError.
        except Exception as error:
            waited = type(error).__name__ in _CLIENT_WAITED and time.monotonic() - begun >= CLIENT_SECONDS
            if attempt == ATTEMPTS or stays(error) or waited:
                raise as_os_error(error) from error
        time.sleep(pause * (0.5 + random.random()))
        pause *= 3
    raise AssertionError


def stays(error: BaseException) -> bool:
    """Return whether an error of a store would come again.

    Example:
        >>> stays(FileNotFoundError()), stays(TimeoutError()), stays(OSError(errno.EBUSY, "slow down"))
        (True, False, False)
    """
    status = _status(error)
    if isinstance(status, int) and 400 <= status < 500:
        return status not in _PASSING_STATUSES
    if isinstance(error, OSError) and error.errno in _STAYING_ERRNOS:
        return True
    return isinstance(error, _STAY) or type(error).__name__.endswith(_STAYING_NAMES)


def as_os_error(error: Exception) -> BaseException:
    """Return an error of a client as one of Python's, so that callers need not know the clients."""
    status = _status(error)
    words = " ".join(str(error).split()) or type(error).__name__
    if status in (401, 403):
        return PermissionError(errno.EACCES, words)
    if status == 404:
        return FileNotFoundError(errno.ENOENT, words)
    return error if isinstance(error, (OSError, ImportError, MemoryError, NotImplementedError)) else OSError(words)


def _status(error: BaseException) -> Any:
    """Return the status of the answer that an error is about, or None."""
    if type(error) is OSError and str(error).startswith("Forbidden: "):  # gcsfs
        return 403
    response = getattr(error, "response", None)
    found = getattr(error, "status", None) or getattr(response, "status_code", None)
    return found or getattr(error, "code", None)  # gcsfs
