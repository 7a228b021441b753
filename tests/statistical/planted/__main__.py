"""Print the table of planted faults: ``python -m tests.statistical.planted [KIND or NAME ...]``."""

from __future__ import annotations

import sys

from tests.statistical.planted import PLANTED
from tests.statistical.planted.workbench import HEAD, judge, row

if __name__ == "__main__":
    print("\n".join(HEAD), flush=True)
    for name, fault in PLANTED.items():
        if not sys.argv[1:] or any(word in (name, fault.kind) for word in sys.argv[1:]):
            print(row(fault, judge(fault)), flush=True)
