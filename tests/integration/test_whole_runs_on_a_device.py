"""Whole runs on a device that is not the CPU: no operation of any part mixes devices, and the numbers are the CPU's.

No GPU is needed: :mod:`tests.fake_device` has torch's own rules for tensors of two devices, and real numbers.  Under it
goes all that :meth:`EntropyProbe.update`, ``run`` and ``entropy_gradient`` do, with all diagnostics, and the check
made after loading.  What makes the host wait for the device is counted per decoded token and per piece, and cannot rise
unseen (:mod:`tests.host_waits`).  Not under it: ``Module.to`` (the model is put there parameter by parameter), the
plug-in around the probe, and what only a GPU has: its kernels, memory, streams and speed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from torch.utils import backend_registration

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no device whose operations are written in Python",
)
UPDATE = {"sampling", "reward", "gradient", "oracle"}
RUN = {"sampling", "self_check", "derivatives"}
CHECKED = RUN | {"definition", "ground_truth", "total_variance", "evidence"}
WITH_ALL_DIAGNOSTICS = {"lora float32", "lora bfloat16", "full float32", "full bfloat16", "a value of prefixes"}


def records(*arguments: str, script: str = "whole_runs") -> dict[str, dict[str, Any]]:
    """What the script says, by name; in a process of its own, for the device is one for the whole process."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.{script}", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {record["name"]: record for record in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
def test_no_part_of_a_run_mixes_devices_and_the_numbers_are_the_cpus() -> None:
    found = records()
    rules = found.pop("rules")
    assert [name for name, said in rules["strict"].items() if said is None] == []
    assert {name: said for name, said in rules["lenient"].items() if said is not None} == {}
    assert set(found) == WITH_ALL_DIAGNOSTICS | {"dora", "single batch"}
    failed = {
        name: f"in {r['phase']}: {r['failed']} at {' < '.join(reversed(r['where']))}"
        for name, r in found.items()
        if r["failed"] is not None
    }
    assert failed == {}
    for name, record in found.items():
        assert record["threads"] == 1, name
        assert record["static_cache"], name
        assert set(record["update_phases"]) >= UPDATE, name
        assert set(record["phases"]) >= (CHECKED if name in WITH_ALL_DIAGNOSTICS else RUN), name
        assert record["oracle_gap"] < 1e-9, name
        if name in WITH_ALL_DIAGNOSTICS:
            assert {"ranks", "excess_surprisal", "sampler_evidence", "sweep_change"} <= set(record["arrays"]), name
            assert {"reinforce_loo", "score", "entropy_slope", "definition", "draws"} <= set(record["measured"]), name
    compared = [name for name, record in found.items() if "on_cpu" in record]
    assert compared
    for name in compared:
        here, cpu = found[name], found[name]["on_cpu"]
        assert cpu["failed"] is None, cpu
        assert not cpu["static_cache"], name
        np.testing.assert_allclose(
            here["measured"]["per_prompt"], cpu["measured"]["per_prompt"],
            rtol=0, atol=1e-4 * np.abs(cpu["measured"]["per_prompt"]).max(), err_msg=name,
        )  # fmt: skip
        for array in ("ranks", "excess_surprisal"):
            if array in cpu["arrays"]:
                np.testing.assert_allclose(here[f"array {array}"], cpu[f"array {array}"], atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_model_across_two_devices_gives_the_numbers_of_one() -> None:
    found = records("spread")
    assert set(found) == {"lora", "full"}
    for name, record in found.items():
        assert record["failed"] is None, f"{name} in {record['phase']}: {record['failed']} at {record['where']}"
        cpu = record["on_cpu"]
        assert cpu["failed"] is None, cpu
        assert set(record["phases"]) >= CHECKED, name
        # The update, the slope of the entropy, and scalars by every estimator and by their definition.
        for number in ("per_prompt", "reinforce_loo", "score", "entropy_slope", "gradient_along_u"):
            expected = np.asarray(cpu["measured"][number])
            # A finite step so short that rounding is a thousandth of it.
            near = 1e-2 if number == "entropy_slope" else 1e-4
            np.testing.assert_allclose(
                record["measured"][number], expected, rtol=0, atol=near * np.abs(expected).max(), err_msg=number
            )
        for array in ("ranks", "excess_surprisal", "sweep_change", "update_products"):
            expected = np.asarray(cpu[f"array {array}"])
            np.testing.assert_allclose(
                record[f"array {array}"], expected, rtol=0, atol=1e-3 * np.abs(expected).max(), err_msg=array
            )
        assert max(record["oracle_gap"], cpu["oracle_gap"]) < 1e-9, name


@pytest.mark.slow
def test_the_fault_that_was_there_is_seen() -> None:
    (record,) = records("mixed", "parameters for the oracle").values()
    assert record["phase"] == "oracle"
    assert "expected all tensors to be on the same device" in record["failed"]
    assert record["where"][-1].startswith("optimizers/rules/preconditioned.py:")


@pytest.mark.slow
def test_devices_mixed_by_hand_are_seen_wherever_they_meet() -> None:
    from tests.mixed_by_hand import PLACES

    found = records("mixed")
    assert list(found) == [place.name for place in PLACES]
    assert [name for name, record in found.items() if record["failed"] is None] == []
    # Each at a line of ours, and not for another reason than the devices.
    for name, record in found.items():
        assert record["where"], name
        assert any(
            words in record["failed"] for words in ("same device", "device type", "stream", "got tensor with")
        ), record


@pytest.mark.slow
def test_the_host_does_not_wait_for_the_device_per_token_and_waits_as_often_as_it_did_per_piece() -> None:
    found = records(script="host_waits")
    assert list(found) == ["float32", "bfloat16"]
    for name, record in found.items():
        assert record["beyond"] == [], name
        # A look was taken, so that the counts are not of nothing.
        assert record["counts"]["decoding"], name


@pytest.mark.slow
def test_every_old_wait_put_back_is_seen() -> None:
    from tests.host_waits import FAULTS

    found = records("faults", script="host_waits")
    assert list(found) == [place.name for place in FAULTS]
    for place in FAULTS:
        said = found[place.name]["beyond"]
        assert any(words.startswith(f"{place.variant}: ") for words in said), (place.name, said)
