"""Names and synopses of the markers of experiments, checks and tolerances."""

from __future__ import annotations

import pytest

EXPERIMENT = "entropy_experiment"
CHECK = "entropy_check"
TOLERANCE = "entropy_tolerance"

_SYNOPSES = (
    f"{EXPERIMENT}(name, **configuration): the entropy experiment the tests belong to; keyword "
    "arguments override its built-in configuration, section by section",
    f"{CHECK}(weight=1): the test takes a share of the session's false-alarm budget",
    f"{TOLERANCE}(*expressions): what --entropy-compare calls a regression of the experiment, such as "
    "'delta_h1:5%'; as the module's pytestmark",
)


def register(config: pytest.Config) -> None:
    """Register the markers with pytest, for ``--markers`` and ``--strict-markers``."""
    for synopsis in _SYNOPSES:
        config.addinivalue_line("markers", synopsis)
