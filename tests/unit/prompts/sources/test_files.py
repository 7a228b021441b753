"""Prompt files: what is accepted, and what each hostile file is told."""

from __future__ import annotations

import json
import os
import random
import socket
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import DemoPrompts, open_prompts
from tests.in_order import in_order


def refused(source: Path | str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        open_prompts(str(source), **options)
    return str(caught.value)


def jsonl(folder: Path, content: list[dict[str, object]] | bytes | str, name: str = "prompts.jsonl") -> Path:
    path = folder / name
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def contents(source: Path, **options: Any) -> list[str | list[dict[str, Any]]]:
    return [prompt.content for prompt in in_order(open_prompts(str(source), **options))]


def test_rows_arrive_in_order_with_their_columns(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "answer": n, "level": {"hard": True}} for n in range(50)]
    prompts = open_prompts(str(jsonl(tmp_path, rows)))
    assert [p.content for p in in_order(prompts)] == [f"q{n}" for n in range(50)]
    assert prompts[3].columns == {"answer": 3, "level": {"hard": True}}


@pytest.mark.parametrize(
    "text",
    [
        b'\xef\xbb\xbf{"prompt": "a"}\n{"prompt": "b"}\n',
        b'{"prompt": "a"}\r\n{"prompt": "b"}\r\n',
        b'\n\n{"prompt": "a"}\n   \t\n{"prompt": "b"}',
    ],
    ids=["BOM", "CRLF", "blank lines, no last line end"],
)
def test_what_editors_do_to_files(tmp_path: Path, text: bytes) -> None:
    assert contents(jsonl(tmp_path, text)) == ["a", "b"]


def test_html_and_unicode_line_separators_arrive_unchanged(tmp_path: Path) -> None:
    nasty = "<script>alert('&amp;')</script>\u2028\u2029\x85 {braces} \\n \x00 é e\u0301"
    path = jsonl(
        tmp_path, json.dumps({"prompt": nasty, "answer": nasty}, ensure_ascii=False).replace("\x00", "\\u0000")
    )
    (prompt,) = in_order(open_prompts(str(path)))
    assert prompt.content == prompt.columns["answer"] == nasty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "line 2 is not UTF-8 (byte 12 of the line)"),
        ('{"prompt": "a"}\n'.encode("utf-16"), "line 1: the file is UTF-16"),
        (b'{"prompt": "a\0b"}\n', "line 1: a NUL byte (at 13)"),
        (b"\0" * 100, "line 1: a NUL byte (at 0)"),
        (b'{"prompt": "a"}\n{oops\n', "line 2: not JSON (Expecting property name"),
        (b'{"prompt": "a"} {"prompt": "b"}\n', "line 1: not JSON (Extra data"),
        (b'["a"]\n', "line 1: list, expected an object such as"),
        (b'[{"prompt": "a"}]\n', "one array becomes lines with: jq -c '.[]'"),
        (b'"a"\n', "line 1: str, expected an object"),
        (b'{"prompt": ' + b"[" * 100_000 + b"\n", "line 1: JSON nested too deeply"),
        (b'{"prompt": "a", "answer": ' + b"1" * 5000 + b"}\n", "line 1: not JSON (Exceeds the limit"),
        (b'{"prompt": "a\\ud800"}\n', "line 1: the prompt holds half a character ('\\ud800', a lone surrogate)"),
        (b'{"question": "a"}\n', "line 1: no column 'prompt' (found: question); name the right one as prompts.prompt_"),
        (b'{"prompt": ""}\n', "line 1: the prompt is empty"),
        (b'{"prompt": " \\n\\t"}\n', "line 1: the prompt is empty"),
        (b'{"prompt": null}\n', "line 1: a prompt is a non-empty text or a list of chat messages, not NoneType"),
        (b'{"prompt": 3}\n', "line 1: a prompt is a non-empty text or a list of chat messages, not int '3'"),
        (b'{"prompt": []}\n', "not list of length 0"),
        (b'{"prompt": ["a"]}\n', "a chat message has a role and a content, not str 'a'"),
        (b'{"prompt": [{"role": "user"}]}\n', "one of the role 'user' has neither content nor tool calls"),
        (b'{"prompt": [{"role": "user", "content": [{"type": "image"}]}]}\n', "a part of type image, and the probe"),
        (b'{"prompt": [{"role": "user", "content": ""}]}\n', "line 1: the prompt is empty"),
        (b'{"prompt": "a"}\n{"prompt": [{"role": "user", "content": "b"}]}\n', "line 2: text and chat prompts in one"),
        (b"", "holds no prompts"),
        (b"\n\n", "holds no prompts"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_file_line_and_reason(tmp_path: Path, text: bytes, message: str) -> None:
    path = jsonl(tmp_path, text)
    said = refused(path)
    assert str(path) in said
    assert message in said
    assert len(said) < 1000


def test_a_gigabyte_on_one_line_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"prompt": "')
        stream.truncate(2**30)  # a sparse file: NUL bytes that take no space
    tracemalloc.start()
    try:
        said = refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "line 1 is longer than 4 MiB; JSONL holds one prompt a line" in said
    assert peak < 64 * 2**20


def test_a_deep_column_that_parses_is_carried_along(tmp_path: Path) -> None:
    deep = "[" * 200 + "]" * 200
    (prompt,) = in_order(open_prompts(str(jsonl(tmp_path, f'{{"prompt": "a", "extra": {deep}}}\n'))))
    assert json.dumps(prompt.columns["extra"]) == deep


def test_places_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder.jsonl")
    os.mkfifo("pipe.jsonl")
    os.symlink("loop.jsonl", "loop.jsonl")
    os.symlink("b.jsonl", "a.jsonl")
    os.symlink("a.jsonl", "b.jsonl")
    os.symlink("gone.jsonl", "dangling.jsonl")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jsonl")
        assert "folder.jsonl is a directory, not a file" in refused("folder.jsonl")
        assert "pipe.jsonl is a pipe (FIFO), not a file" in refused("pipe.jsonl")
        assert "socket.jsonl is a socket, not a file" in refused("socket.jsonl")
        assert "/dev/zero is a device, not a file" in refused("/dev/zero")
        assert "cannot be opened: Too many levels of symbolic links" in refused("loop.jsonl")
        assert "cannot be opened: Too many levels of symbolic links" in refused("a.jsonl")
        assert "does not exist; give a .jsonl or .parquet file" in refused("dangling.jsonl")
        assert "does not exist" in refused("gone.parquet")
        assert "cannot be opened: embedded null byte" in refused("a\0b.jsonl")
        assert "cannot be opened: File name too long" in refused("a" * 5000 + ".jsonl")
        assert "unknown kind '.csv'" in refused(jsonl(tmp_path, b"prompt\na\n", "prompts.csv"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"prompt": "a"}])
    path.chmod(0)
    assert "cannot be read: Permission denied" in refused(path)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(jsonl(tmp_path, [{"prompt": "a"}]))
    assert contents(tmp_path / "link.jsonl") == ["a"]


def test_demo() -> None:
    assert isinstance(open_prompts("demo"), DemoPrompts)


def write_parquet(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_parquet_with_text(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n} <b>", "answer": n, "when": None} for n in range(3000)]
    path = write_parquet(tmp_path / "p.parquet", rows)
    prompts = open_prompts(str(path))
    assert [p.content for p in in_order(prompts)] == [row["prompt"] for row in rows]
    assert prompts[2999].columns == {"answer": 2999, "when": None}


def test_verls_parquet_rows(tmp_path: Path) -> None:
    rows = [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "user", "content": f"q{n}"}] + [{"role": "tool", "content": "t", "name": "x"}] * n,
            "ability": "math",
            "reward_model": {"ground_truth": str(n), "style": "rule"},
            "extra_info": {"index": n, "split": "train"},
        }
        for n in range(2)
    ]
    prompts = open_prompts(str(write_parquet(tmp_path / "p.parquet", rows)))
    # Parquet gives every message every key; what was not there is not there again.
    assert [p.content for p in in_order(prompts)] == [row["prompt"] for row in rows]
    assert [p.columns["answer"] for p in in_order(prompts)] == ["0", "1"]
    assert prompts[1].columns["data_source"] == "openai/gsm8k"
    assert prompts[1].columns["extra_info"] == {"index": 1, "split": "train"}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b'{"prompt": "a"}\n', b"\0" * 1000])
def test_parquet_that_is_not_parquet(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    said = refused(jsonl(tmp_path, content, "p.parquet"))
    assert "p.parquet is not a readable parquet file" in said


def test_parquet_that_ends_early(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "p.parquet", [{"prompt": f"q{n}" * 50} for n in range(500)])
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\0" * 400 + whole[600:])
    assert "p.parquet is not a readable parquet file" in refused(path)


def test_parquet_rows_are_named_by_number(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "p.parquet", [{"prompt": "a"}, {"prompt": ""}])
    assert f"prompts file {path}, row 2: the prompt is empty" in refused(path)
    path = write_parquet(tmp_path / "p.parquet", [{"prompt": b"bytes"}])
    assert "row 1: a prompt is a non-empty text or a list of chat messages, not bytes of length 5" in refused(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    said = refused(jsonl(tmp_path, b"PAR1", "p.parquet"))
    assert "needs pyarrow: pip install 'pytest-entropy[parquet]'" in said


def damaged(content: bytes, rng: Random) -> bytes:
    """A copy with a few bytes changed, lost, added, or its end cut off."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                out[place] = rng.randrange(256)
            case 1:
                del out[place : place + rng.randint(1, 20)]
            case 2:
                out[place:place] = bytes(rng.choices(b'{}[]":,\\u0\x00\xff\n', k=rng.randint(1, 8)))
            case 3:
                del out[max(place, 1) :]
        out = out or bytearray(b"x")
    return bytes(out)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_no_damage_to_a_file_ends_in_anything_but_prompts_or_our_error(tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": f"q{n} é", "answer": n, "more": {"y": [1, 2]}} for n in range(5)]
    path = tmp_path / f"p.{kind}"
    whole = (jsonl(tmp_path, rows, path.name) if kind == "jsonl" else write_parquet(path, rows)).read_bytes()
    rng = random.Random(f"damage {kind}")
    refusals = []
    for _ in range(300):
        path.write_bytes(damaged(whole, rng))
        try:
            open_prompts(str(path))
        except UsageError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(str(path) in message for message in refusals)
