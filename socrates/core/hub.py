"""What the Hugging Face hub's client raises, as one line that says what to do and never shows a token."""

import contextlib
import errno
from collections.abc import Iterator

from socrates.core.errors import SocratesError, SourceError


@contextlib.contextmanager
def hub_errors(what: str, check: str, error_class: type[SocratesError] = SourceError) -> Iterator[None]:
    """Turn the errors of a block that fetches or sends ``what`` into one line.

    ``check``: what the user gave, such as ``data.repo and data.revision``.
    """
    # Imported here because it reads HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE when it is imported.
    from huggingface_hub import constants, errors

    try:
        yield
        return
    except errors.HFValidationError as error:
        problem = f"not a repository name ({check}): {' '.join(str(error).split())}"
    except errors.LocalEntryNotFoundError:
        problem = f"cannot be reached; check the network and {check}, what arrived is kept"
        if constants.HF_HUB_OFFLINE:
            cache = constants.HF_HUB_CACHE
            problem = f"HF_HUB_OFFLINE is set and {cache} does not hold all of it; unset it once"
    except (errors.HTTPError, errors.XetDownloadError, OSError, RuntimeError) as raised:
        # An upload raises in one of its threads. Only the type is shown: the words could hold the headers it sent.
        cause = raised.__cause__ if isinstance(raised, RuntimeError) and raised.__cause__ else raised
        name = type(cause).__name__
        problem = f"the hub cannot be reached ({name}); check the network and HF_ENDPOINT, and run again"
        if isinstance(cause, errors.HfHubHTTPError):
            status = cause.response.status_code
            problem = f"the hub refused ({name}, {status}); check {check}, and the token of `hf auth login`"
        elif isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            problem = f"no space left in {constants.HF_HUB_CACHE}; free some or point HF_HOME at another disk"
    raise error_class(f"{what} at {constants.ENDPOINT}: {problem}")
