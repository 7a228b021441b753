"""The GPU benchmark's whole path at tiny size on the CPU: bfloat16 base, float32 adapter, vocabulary in pieces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_limits, gpu_models
from pytest_entropy.policy import distribution, teacher_forcing

CPU = torch.device("cpu")
TINY = ["--tiny", "--device=cpu", "--repeats=2"]


@pytest.mark.slow
def test_the_script_runs_and_writes_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(teacher_forcing, "TABLE_ENTRIES", 512 * 30)
    monkeypatch.setattr(distribution, "DRAW_ENTRIES", 512 * 5)
    place = tmp_path / "gpu.json"
    assert gpu.main([*TINY, "--static-cache", "--floor", "--diagnostics"], place) == 0
    record = json.loads(place.read_text())
    assert gpu.table(record) in capsys.readouterr().out
    (cell,) = record["cells"]
    of = cell["phases"]
    assert {"U: sampling", "U: gradient", "U: oracle", "E: sampling", "E: self_check", "E: derivatives"} <= set(of)
    # The diagnostics' own phases.
    assert {"E: definition", "E: evidence"} <= set(of)
    assert of["E: derivatives"]["seconds"]["n"] == 2
    assert all(phase["peak_mb"] > 0 for phase in of.values())
    assert set(cell["floor"]) == {"generate", "forward-backward"}
    assert cell["finite"]
    assert cell["oracle_gap"] < 1e-9
    # What bfloat16 activations may differ by between one token at a time and all at once.
    assert cell["sampler_gap"] < 0.2
    for name in ("U: sampling", "E: sampling", "U: gradient", "E: derivatives"):
        assert all(share > 0 for share in of[name]["share_of_limit"].values())


def test_a_cell_that_runs_out_of_memory_says_so_and_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = gpu.cell

    def failing(checkpoint: gpu_models.RandomCheckpoint, sizes: gpu.Sizes, tokens: int, *others: object) -> object:
        if tokens == 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measured(checkpoint, sizes, tokens, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(gpu, "cell", failing)
    place = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--device=cpu", "--tokens=6", "--tokens=4"], place) == 0
    first, second = json.loads(place.read_text())["cells"]
    assert (first["tokens"], first["error"]) == (6, "out of memory")
    assert second["phases"]["E: sampling"]["tokens_per_second"] > 0
    assert "| out of memory |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--device=cuda:1"], ["--device=cpu"]])
def test_without_a_gpu_it_is_refused_in_one_line_that_says_what_runs_here(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(arguments, tmp_path / "gpu.json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("benchmarks.gpu needs a GPU: ")
    assert line.endswith("python -m benchmarks.gpu --device cpu --tiny")
    assert not (tmp_path / "gpu.json").exists()


def test_every_shape_has_sizes_for_every_length() -> None:
    # The full fine-tune is for a CPU (benchmarks.real_size), and has no adapter.
    assert set(gpu_models.RANKS) == set(gpu_models.SHAPES) - {"50M"}
    shapes = set(gpu_models.RANKS) - {"tiny"}
    assert set(gpu.SIZES) == {(shape, tokens) for shape in shapes for tokens in gpu.TOKENS}


def test_decoding_reads_the_weights_once_a_step_and_piece_and_every_rows_cache() -> None:
    policy = gpu_models.random_checkpoint("tiny", device="cpu", dtype="bfloat16").policy
    work = gpu_limits.Work(prompts=3, G=2, prompt=5, length=4)
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    # 2 layers with keys and values of 2 heads of 8 numbers of 2 bytes.
    per_token = 2 * 2 * 2 * 8 * 2
    read = [2 * weights + 6 * (5 + step + 0.5) * per_token for step in range(4)]
    assert gpu_limits.decoded_bytes(policy, work, rows=4) == pytest.approx(sum(read))


def test_shares_of_the_limits_are_least_times_over_times() -> None:
    policy = gpu_models.random_checkpoint("tiny", device="cpu", dtype="float32").policy
    work = gpu_limits.Work(prompts=3, G=2, prompt=5, length=4)
    parameters = sum(p.numel() for p in policy.model.parameters())
    limits = gpu_limits.Limits(bytes_per_second=1e6, flop_per_second=2.0 * parameters)
    assert gpu_limits.shares(policy, "derivatives", work, 10.0, limits, 6) == {"flop": pytest.approx(2 * 39 / 10)}
    sampled = gpu_limits.shares(policy, "sampling", work, 10.0, limits, 6)
    assert sampled["flop"] == pytest.approx(39 / 10)
    assert sampled["bandwidth"] == pytest.approx(gpu_limits.decoded_bytes(policy, work, 6) / 1e7)


def test_measured_limits_are_positive() -> None:
    limits = gpu_limits.measure_limits(CPU, torch.float32, tiny=True)
    assert min(limits.bytes_per_second, limits.flop_per_second) > 0
