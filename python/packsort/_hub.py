"""Reach of the Hugging Face Hub, found out before a client retries for a minute."""

from __future__ import annotations

from threading import Thread

_SECONDS = 5.0


def hub_is_reachable() -> bool:
    """Return whether the Hugging Face Hub answers, by the settings of `huggingface_hub`: offline mode, mirror, proxies.

    Its own client retries for most of a minute where there is no network. One request without a retry tells at once.
    What is in its cache can be loaded all the same, with `local_files_only=True`.
    """
    from huggingface_hub import constants, get_session

    answers: list[bool] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=_SECONDS)
        # The client's exceptions depend on its version and on the proxy. Each means the same here.
        except Exception:
            return
        answers.append(True)

    # A thread, because no timeout of the client bounds the look-up of the host's name.
    asking = Thread(target=ask, name="packsort-hub", daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return bool(answers)
