"""The name of every file and directory under ``results/``, each written here and nowhere else."""

from __future__ import annotations

# Of a results directory: what living sessions hold, the pages of sessions, stored baselines.
STAMPS = ".sessions"
SESSIONS = "sessions"
SESSION_RECORD = "session.json"
INDEX = "index.html"
BASELINES = "baselines"
# Of an experiment's directory.
LOCKS = ".locks"
MANIFEST = "experiment.json"
CONCLUSION = "conclusion.json"
COMPARISON = "comparison.json"
PLUGIN_ANALYSES = "plugin_analyses.json"
FAILED_ITEMS = "failed_items.json"
# A check's outcome: the item's name and the check's.
CHECK, CHECKS = "check_{item}_{check}.json", "check_*.json"
# What session end makes from all these.
SUMMARY = "summary.json"
SUMMARY_TEXT = "summary.md"
TABLE = "results.csv"
REPORT = "report.html"
# Of a run's directory, and of the update batch's.
CONFIG = "config.yaml"
LOG = "probe_log.txt"
ERROR = "error.txt"
RESULTS = "results.json"
ARRAYS = "arrays.npz"
ENTROPY_GRADIENT = "entropy_gradient.safetensors"
UPDATE = "update"
UPDATE_RECORD = "update.json"
DIRECTION = "direction.safetensors"
UPDATE_GRADIENT = "update_gradient.safetensors"
ACTION_VALUES = "action_values.safetensors"


def check_file(item: str, check: str) -> str:
    """The name of the file that holds what a check found in a test item.

    >>> check_file("test_a[x/y]", "se_slope")
    'check_test_a[x_y]_se_slope.json'
    """
    return CHECK.format(item=item, check=check).replace("/", "_")
