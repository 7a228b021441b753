"""The names of all files and directories under ``results/``, defined only here."""

from __future__ import annotations

# In a results directory: the stamps of sessions, the pages of sessions, stored baselines.  INDEX is the name of a
# session's page, and of the page over all sessions in the results directory itself.
STAMPS = ".sessions"
SESSIONS = "sessions"
SESSION_RECORD = "session.json"
INDEX = "index.html"
BASELINES = "baselines"
# Update batches by digest, shared by all experiments.
UPDATE_BATCHES = "update_batches"
# In one of them, the stamp of the session that computed it.
SESSION = "session.txt"
# In a category: how the name of a directory of the old script begins, which `migrate` has put there.
LEGACY = "legacy_"
# In an experiment's directory.
LOCKS = ".locks"
MANIFEST = "experiment.json"
CONCLUSION = "conclusion.json"
TARGET_ERROR = "target_error.json"
COMPARISON = "comparison.json"
PLUGIN_ANALYSES = "plugin_analyses.json"
FAILED_ITEMS = "failed_items.json"
# A check's outcome, by the item's name and the check's.
CHECK, CHECKS = "check_{item}_{check}.json", "check_*.json"
# Written at the end of a session from all of these.
SUMMARY = "summary.json"
SUMMARY_TEXT = "summary.md"
TABLE = "results.csv"
REPORT = "report.html"
# In a run's directory, and in the update batch's.
CONFIG = "config.yaml"
LOG = "probe_log.txt"
ERROR = "error.txt"
# The error of an earlier attempt at it, by the attempt's number from 1.
EARLIER_ERROR = "error_{attempt}.txt"
RESULTS = "results.json"
ARRAYS = "arrays.npz"
ROLLOUTS = "rollouts.json"
ENTROPY_GRADIENT = "entropy_gradient.safetensors"
UPDATE = "update"
UPDATE_RECORD = "update.json"
DIRECTION = "direction.safetensors"
UPDATE_GRADIENT = "update_gradient.safetensors"
ACTION_VALUES = "action_values.safetensors"
RESPONSES = "responses.safetensors"
# In an experiment's directory: the probes of memory scaling, and their record.
MEMORY_PROBES = "memory_probes"
MEMORY_RECORD = "memory_probes.json"


def update_directory(number: int) -> str:
    """The name of the directory of an experiment's update batch by its number, from 1.

    >>> update_directory(1), update_directory(2)
    ('update', 'update_002')
    """
    return UPDATE if number == 1 else f"{UPDATE}_{number:03d}"


def earlier_error(attempt: int) -> str:
    """The name of the file with the error of an earlier attempt.

    >>> earlier_error(1)
    'error_1.txt'
    """
    return EARLIER_ERROR.format(attempt=attempt)


def is_update_directory(name: str) -> bool:
    """Whether a directory in an experiment's holds an update batch and no run."""
    return name == UPDATE or (name.startswith(f"{UPDATE}_") and name[len(UPDATE) + 1 :].isdigit())


def check_file(item: str, check: str) -> str:
    """The name of the file with the outcome of a check in a test item.

    Args:
        item: the test item's name.
        check: the check's name.

    >>> check_file("test_a[x/y]", "se_slope")
    'check_test_a[x_y]_se_slope.json'
    """
    return CHECK.format(item=item, check=check).replace("/", "_")
