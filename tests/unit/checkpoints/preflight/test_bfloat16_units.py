"""The warning of slow bfloat16: only where the processor itself says that it has no units for it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pytest_entropy.checkpoints.preflight import bfloat16_units
from pytest_entropy.checkpoints.preflight.bfloat16_units import lacks_bfloat16, warn_of_slow_bfloat16

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512f {}\nbugs\t\t:\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm {}\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    "text", [X86.format("avx512_bf16"), X86.format("amx_bf16 amx_tile"), ARM.format("bf16"), "", "cpu : POWER9\n"]
)
def test_units_or_a_description_that_does_not_say_are_no_lack(text: str) -> None:
    assert not lacks_bfloat16(text)


@pytest.mark.parametrize("text", [X86.format(""), ARM.format("")])
def test_a_list_without_them_is(text: str) -> None:
    assert lacks_bfloat16(text)


def test_it_is_said_once_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "cpuinfo"
    place.write_text(X86.format(""))
    monkeypatch.setattr(bfloat16_units, "CPU_INFO", place)
    with caplog.at_level(logging.WARNING):
        for device, dtype in (("cpu", "float32"), ("cuda", "bfloat16"), ("cpu", "bfloat16"), ("cpu", "bfloat16")):
            warn_of_slow_bfloat16(device, dtype)
    assert [record.message.count("--dtype float32") for record in caplog.records] == [1]


def test_where_nothing_describes_the_processor_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bfloat16_units, "CPU_INFO", tmp_path / "missing")
    warn_of_slow_bfloat16("cpu", "bfloat16")
    assert not caplog.records
