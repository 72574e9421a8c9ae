"""One thin file per DVC stage, named like the stage."""

import socrates  # noqa: F401  first: it sets what other libraries read from the environment
