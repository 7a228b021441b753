"""Write runs as TensorBoard scalars and histograms (``--entropy-tensorboard DIR``)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from errno import ENOTDIR
from importlib.util import find_spec
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.reports.view import ExperimentView

SCALARS = ("delta_h1", "se_conditional", "se_total", "entropy_mean", "length_mean", "peak_memory_mb")


def require_tensorboard(directory: Path) -> None:
    """Check before the session that TensorBoard is installed, and that its directory can be written.

    Args:
        directory: of the events; not made, and nothing is left in it.

    Raises:
        UsageError: names the extra to install, or what cannot be written.
    """
    if find_spec("tensorboard") is None:
        raise UsageError("--entropy-tensorboard needs TensorBoard: pip install 'pytest-entropy[tensorboard]'")
    place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    try:
        if not place.is_dir():
            raise NotADirectoryError(ENOTDIR, f"{place} is a file")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UsageError(
            f"--entropy-tensorboard {directory} cannot be written: {error.strerror}"
            f"{'' if place == directory else f' (in {place})'}; give a directory that can be"
        ) from error


def write_events(views: Sequence[ExperimentView], root: Path) -> None:
    """Write one TensorBoard run per experiment directory: a curve per B_E and quantity over the run number.

    The per-prompt contributions eta s_n become a histogram per B_E, with a slice for each run.

    Args:
        views: the experiments.
        root: directory of the events, in a folder by experiment and directory name.
    """
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

    for view in views:
        with SummaryWriter(str(root / view.name / view.directory.name)) as writer:
            for run in view.runs:
                for name in SCALARS:
                    value = getattr(run, name)
                    if value is not None:
                        writer.add_scalar(f"{name}/B_E {run.B_E}", value, run.run)
                writer.add_histogram(f"eta_s_n/B_E {run.B_E}", run.eta * np.asarray(run.per_prompt), run.run)
                writer.add_scalar(f"seconds/B_E {run.B_E}", sum(run.seconds.values()), run.run)
            writer.add_text("verdict", view.headline)
