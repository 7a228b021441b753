"""Whole sessions with rewards and prompts of every kind: what is computed, and what a failure leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Workspace

REWARDS = '''
import asyncio, time

def length(prompts, completions, **columns):
    return [len(text) / 40 for text in completions]

async def slow_length(prompts, completions, **columns):
    await asyncio.sleep(0.01)
    return [len(text) / 40 for text in completions]

def every_other(prompts, completions, **columns):
    return [len(text) if n % 2 else None for n, text in enumerate(completions)]

def picky(prompts, completions, answer, **columns):
    return [grade(text, prompt) for prompt, text in zip(prompts, completions)]

def grade(text, prompt):
    if len(text) > 1:
        raise LookupError("no grade for this")
    return 0.0

def hangs(prompts, completions, **columns):
    for text in completions:
        time.sleep(3600)

def length_of_chat(prompts, completions, **columns):
    assert all(p[0]["content"][0]["type"] == "text" and p[1]["content"] is None for p in prompts)
    return [len(c[0]["content"]) / 40 for c in completions]

def chatty(prompts, completions, **columns):
    assert all(p[-1]["role"] == "user" and "<b>" in p[-1]["content"] for p in prompts)
    assert all(len(c) == 1 and c[0]["role"] == "assistant" for c in completions)
    return [len(c[0]["content"]) / 40 for c in completions]
'''  # fmt: skip


@pytest.fixture
def session(workspace: Workspace) -> Workspace:
    (workspace.path / "rewards.py").write_text(REWARDS)
    return workspace


def single(
    workspace: Workspace, *changed: str, run: Callable[..., subprocess.CompletedProcess[str]] = Workspace.run
) -> subprocess.CompletedProcess[str]:
    """The single run with some options replaced."""
    names = {option.partition("=")[0] for option in changed} - {"--entropy-set"}
    return run(workspace, *(o for o in workspace.single if o.partition("=")[0] not in names), *changed)


def delta(workspace: Workspace) -> float:
    (value,) = workspace.deltas().values()
    for directory in (workspace.results / "single_run").iterdir():
        directory.rename(workspace.path / f"done_{len(list(workspace.path.glob('done_*')))}")
    return value


@pytest.mark.slow
def test_an_async_and_a_plain_reward_at_half_weight_are_the_whole_reward(session: Workspace) -> None:
    values = []
    for name in ("length", "length*0.5,rewards.py:slow_length*0.5"):
        done = single(session, f"--reward=rewards.py:{name}")
        assert done.returncode == 0, done.stdout + done.stderr
        values.append(delta(session))
    assert values[0] != 0
    assert values[1] == pytest.approx(values[0], rel=1e-6)


@pytest.mark.slow
def test_rewards_as_a_yaml_list_and_rows_they_do_not_apply_to(session: Workspace) -> None:
    rewards = [{"name": "rewards.py:length", "weight": 1}, {"name": "rewards.py:every_other", "weight": 2}]
    (session.path / "own.yaml").write_text(yaml.safe_dump({"reward": rewards, "reward_timeout": 60}))
    kept = [option for option in session.single if not option.startswith("--reward")]
    done = session.run(*kept, "--config=own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (config,) = session.results.rglob("BE006*/config.yaml")
    assert yaml.safe_load(config.read_text())["reward"] == rewards
    (log,) = session.results.rglob("update/probe_log.txt")
    assert "reward rewards.py:length: mean" in log.read_text()
    assert "over 12 of 12 completions" in log.read_text()
    assert "reward rewards.py:every_other: mean" in log.read_text()
    assert "over 6 of 12 completions" in log.read_text()


def error_of(session: Workspace, done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    (error,) = session.results.rglob("update/error.txt")
    assert not list(session.results.rglob("results.json"))
    return error.read_text()


@pytest.mark.slow
def test_a_reward_that_raises_fails_the_run_with_prompt_completion_and_traceback(session: Workspace) -> None:
    done = single(session, "--reward=rewards.py:picky")
    text = error_of(session, done)
    assert "reward rewards.py:picky raised LookupError: no grade for this" in text
    assert "\n  prompt: 'Tom has " in text
    assert "\n  completion: " in text
    assert "which one did it is not known" not in text
    assert 'rewards.py", line' in text
    assert "in grade" in text
    assert "reward rewards.py:picky raised LookupError: no grade for this" in done.stdout


@pytest.mark.slow
def test_a_reward_that_hangs_is_ended(session: Workspace) -> None:
    done = single(session, "--reward=rewards.py:hangs", "--entropy-set=reward_timeout=0.5")
    text = error_of(session, done)
    assert "reward rewards.py:hangs took longer than 0.5 s (reward_timeout in the configuration)" in text
    assert "time.sleep(3600)" in text
    assert "\n  completion: " in text


@pytest.mark.slow
def test_parquet_prompts(session: Workspace) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    rows = [{"question": f"{n} + {n}?", "meta": {"gold": 2 * n}} for n in range(20)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), session.path / "prompts.parquet")
    settings = ["prompt_column=question", "answer_column=meta.gold", "template='Q: {question} A:'"]
    done = single(session, "--prompts=prompts.parquet", *(f"--entropy-set=prompts.{setting}" for setting in settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert delta(session) != 0
    (record,) = session.path.glob("done_*/update/update.json")
    assert all(re.fullmatch(r"Q: (\d+) \+ \1\? A:", text) for text in json.loads(record.read_text())["prompts"])


CHAT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
THINKING = CHAT + "{% if enable_thinking is defined and enable_thinking is false %}<think> </think> {% endif %}"


@pytest.mark.slow
def test_a_reward_that_reads_the_wrong_thing_is_seen_at_once(session: Workspace) -> None:
    """Every completion 0.0: the message, the record and the report show what the reward was given."""
    rows = [{"prompt": f"<script>alert({n})</script>\x1b[2J", "answer": f"<answer>{n}</answer>"} for n in range(30)]
    (session.path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = single(session, "--prompts=odd.jsonl", "--reward=exact_answer")
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = session.results.rglob("update/update.json")
    assert file.stat().st_size < 10_000
    first, second = json.loads(file.read_text())["sample"]
    assert re.fullmatch(r"<script>alert\(\d+\)</script>\\x1b\[2J", first["prompt"])
    assert (first["reward"], second["reward"]) == (0.0, 0.0)
    said = " ".join(done.stdout.split())
    assert (
        "INCONCLUSIVE test_result: the update batch has a gradient; points to: every group of the update batch" in said
    )
    assert "has equal rewards: all 12 are 0, so all advantages are zero and the update moves nothing" in said
    assert f"sample 1, prompt: {first['prompt']}; completion: " in said
    assert f"answer: {second['answer']}; reward: 0" in said
    assert "measured: the update moves nothing (every group" in said
    assert "\x1b[2J" not in done.stdout
    page = next(session.results.rglob("report.html")).read_text()
    assert "<h2>Equal rewards</h2>" in page
    assert "&lt;script&gt;alert(" in page
    assert "<script>alert(" not in page
    assert "&lt;answer&gt;" in page


def with_chat_template(session: Workspace, tmp_path_factory: pytest.TempPathFactory, template: str = CHAT) -> Path:
    """A copy of the checkpoint whose tokenizer has a chat template."""
    import shutil

    root = tmp_path_factory.mktemp("chat")
    shutil.copytree(session.checkpoint.parent, root, dirs_exist_ok=True)
    (root / "base" / "chat_template.jinja").write_text(template)
    return root / session.checkpoint.name


@pytest.mark.slow
def test_chat_prompts(session: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"<b>{n}</b> &amp;?"}], "answer": n} for n in range(30)]
    (session.path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--prompts=chat.jsonl", "--reward=rewards.py:chatty"]
    done = single(session, *options, run=Workspace.refused)
    assert done.returncode == 4
    assert "has no chat template (a base model?)" in done.stdout + done.stderr
    assert not session.results.exists()
    done = single(session, *options, f"--checkpoint={with_chat_template(session, tmp_path_factory)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert delta(session) != 0


@pytest.mark.slow
def test_parts_whose_words_stand_elsewhere_are_encoded_as_the_checks_encode_them(
    session: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    strings_only = CHAT.replace("{{ m.content }}", "{% if m.content is string %}{{ m.content }}{% endif %}")
    assert strings_only != CHAT
    place = with_chat_template(session, tmp_path_factory, strings_only)
    rows = [
        {
            "prompt": [
                {"role": "system", "content": f"Say the sum: {n} + {n}"},
                {"role": "user", "content": [{"type": "text", "text": f"{n} + {n}"}]},
            ]
        }
        for n in range(30)
    ]
    (session.path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [option for option in session.small if not option.startswith(("--checkpoint", "--prompts"))]
    done = session.run(
        "experiments/test_sanity_check.py", *options, f"--checkpoint={place}", "--prompts=chat.jsonl", "--be=6",
        "--runs=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (update,) = session.results.glob("sanity_check/*/update/update.json")
    assert all(
        re.search(r"(\d+) \+ \1.*\b\1 \+ \1", prompt, re.S) for prompt in json.loads(update.read_text())["prompts"]
    )


TOOLED = (
    "{% for t in tools or [] %}{{ t.function.name }};{% endfor %}{% for m in messages %}{{ m.role }}:"
    "{% if m.content %}{{ m.content }}{% endif %}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %};"
    "{% endfor %}{% if add_generation_prompt %}me:{% endif %}"
)


@pytest.mark.slow
def test_tools_calls_and_parts_and_a_log_of_the_trainer(
    session: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = with_chat_template(session, tmp_path_factory, TOOLED)
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
    rows = [
        {
            "prompt": [
                {"role": "user", "content": [{"type": "text", "text": f"{n} + {n}?", "image": None}]},
                call,
                {"role": "tool", "content": str(2 * n)},
            ],
            "tools": json.dumps(tools),
            "answer": str(2 * n),
        }
        for n in range(30)
    ]
    (session.path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # As a trainer that got no tools logged them.
    logged = [f"user:{n} + {n}?;assistant:add;tool:{2 * n};me:" for n in range(4)]
    table = {"step": ["1000"] * 4, "prompt": logged, "completion": ["7"] * 4}
    (place.parent / "completions.jsonl").write_text(json.dumps(table))
    done = single(session, f"--checkpoint={place}", "--prompts=chat.jsonl", "--reward=rewards.py:length_of_chat")
    assert done.returncode == 0, done.stdout + done.stderr
    words = " ".join(done.stdout.split())
    assert "tools of 30 of 30 prompts are given to the chat template" in words
    assert "warning: 4 of 4 prompts in the trainer's log" in words
    assert "at character 1 the log has 'user:0 + 0?;assistant:add;tool:0;me:' and the prompt 'add;user:0 + 0?" in words
    record = json.loads(next(session.results.rglob("BE006*/results.json")).read_text())
    assert any("prompts in the trainer's log" in note for note in record["notes"])
    for name in ("single_run/*/report.html", "single_run/*/update/probe_log.txt", "single_run/*/BE006*/probe_log.txt"):
        (written,) = session.results.glob(name)
        assert "4 of 4 prompts in the trainer" in written.read_text(), name
    (update,) = session.results.glob("single_run/*/update/update.json")
    assert all("add" in prompt for prompt in json.loads(update.read_text())["prompts"])


@pytest.mark.slow
def test_arguments_of_the_chat_template_for_a_run_and_for_rows(
    session: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = with_chat_template(session, tmp_path_factory, THINKING)
    rows = [{"prompt": [{"role": "user", "content": f"{n} + {n}?"}], "answer": 2 * n} for n in range(30)]
    told = [{**row, "chat_template_kwargs": {"enable_thinking": False}} for row in rows]
    for name, content in (("chat", rows), ("told", told)):
        (session.path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    key = "--entropy-set=prompts.chat_template_kwargs.enable_thinking"
    deltas, digests, updates, configs = [], [], [], []
    for options in (["chat"], ["chat", f"{key}=false"], ["told"], ["told", f"{key}=true"], ["chat", f"{key}=true"]):
        done = single(session, f"--checkpoint={place}", f"--prompts={options[0]}.jsonl", *options[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        (manifest,) = session.results.rglob("experiment.json")
        digests.append(json.loads(manifest.read_text())["config_digest"])
        updates.append(json.loads(next(session.results.rglob("update/update.json")).read_text()))
        configs.append(yaml.safe_load(next(session.results.rglob("BE006*/config.yaml")).read_text()))
        deltas.append(delta(session))
    plain, off, by_row, row_first, on = deltas
    assert plain == on != off == by_row == row_first
    assert len(set(digests)) == 5
    assert [config["prompts"]["chat_template_kwargs"] for config in configs[:2]] == [{}, {"enable_thinking": False}]
    assert configs[1]["provenance"]["prompts.chat_template_kwargs.enable_thinking"] == "--entropy-set"
    assert updates[1]["prompts"] == updates[2]["prompts"] != updates[0]["prompts"]
    done = single(session, f"--checkpoint={place}", "--prompts=chat.jsonl", f"{key}s=false")
    assert done.returncode == 4
    assert "does not use enable_thinkings" in done.stdout + done.stderr


def test_prompts_too_long_for_the_model_are_named_while_planning(session: Workspace) -> None:
    rows = [{"prompt": f"{n}", "answer": n} for n in range(20)] + [{"prompt": "0 1 2 3 4 5 6 7 8 9 " * 50, "answer": 0}]
    (session.path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = single(session, "--prompts=long.jsonl")
    text = done.stderr
    assert done.returncode == 4, done.stdout + text
    assert not session.results.exists()
    assert "1 of 21 prompts are too long: the model has 128 positions, max_new_tokens is 6, which leaves 122" in text
    assert "The longest begins '0 1 2 3" in text


REFUSED = {
    "reward that fails at import": (
        ["--reward=broken.py:f"],
        "broken.py, line 2: ModuleNotFoundError: No module named 'not_there_at_all'",
    ),
    "answer missing": (["--prompts=no_answers.jsonl", "--reward=gsm8k"], "reward gsm8k needs the column 'answer'"),
    "answer missing in a row": (["--prompts=some_answers.jsonl", "--reward=boxed"], "1 of 60 prompts have none"),
    "answers that cannot be read": (
        ["--prompts=structs.jsonl", "--reward=exact_answer"],
        "reward exact_answer cannot read the answer of 1 of 60 rows (the first: row 18, prompt 'Tom has 17 apples",
    ),
    "arguments of a row's template": (
        ["--prompts=thinking.jsonl"],
        "thinking.jsonl, line 18: chat_template_kwargs is a mapping such as {enable_thinking: false}, not str 'no'",
    ),
    "arguments of the template, of text prompts": (
        ["--entropy-set=prompts.chat_template_kwargs.enable_thinking=false"],
        "prompts.chat_template_kwargs (enable_thinking) is for chat messages, and the prompts of prompts.jsonl are",
    ),
    "arguments that are not the template's": (
        ["--entropy-set=prompts.chat_template_kwargs.add_generation_prompt=false"],
        "chat_template_kwargs: add_generation_prompt is reserved, because the prompt or the probe determines it",
    ),
    "copies": (["--prompts=copies.jsonl"], "5 different prompts (of 60) are 5 too few for B_E 6 + B_U 4"),
    "weight": (["--reward=length*x"], "--reward: reward: the weight in 'length*x' is not a number; write NAME*0.5"),
    "named twice": (["--reward=gsm8k,gsm8k"], "reward 'gsm8k' is named twice"),
    "template": (["--entropy-set=prompts.template=r7"], "prompts.template 'r7' is neither built in (r1) nor a text"),
    "pipe": (["--prompts=pipe.jsonl"], "pipe.jsonl is a pipe (FIFO), not a file"),
    "time-out": (["--entropy-set=reward_timeout=0"], "reward_timeout"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_input_is_refused_before_any_work(session: Workspace, case: str) -> None:
    import os

    options, message = REFUSED[case]
    rows = [json.loads(line) for line in (session.path / "prompts.jsonl").read_text().splitlines()]
    files = {
        "no_answers": [{"prompt": row["prompt"]} for row in rows],
        "some_answers": [{**row, "answer": None if n == 17 else row["answer"]} for n, row in enumerate(rows)],
        "structs": [{**row, "answer": {"n": 1} if n == 17 else {"target": ["7"]}} for n, row in enumerate(rows)],
        "thinking": [{**row, "chat_template_kwargs": "no" if n == 17 else {}} for n, row in enumerate(rows)],
        "copies": [{**row, "prompt": f"question {n % 5}" + " " * n} for n, row in enumerate(rows)],
    }
    for name, content in files.items():
        (session.path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (session.path / "broken.py").write_text("def f(): ...\nimport not_there_at_all\n")
    os.mkfifo(session.path / "pipe.jsonl")
    done = single(session, *options, run=Workspace.refused)
    assert done.returncode == 4, done.stdout + done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not session.results.exists()


@pytest.mark.slow
def test_a_reward_that_turns_gradients_off(workspace: Workspace) -> None:
    """As modules with a reward model do, when imported or called; the numbers are those of any other session."""
    off = "import torch\ntorch.set_grad_enabled(False)\n"
    whole = (workspace.path / "rewards.py").read_text()
    (workspace.path / "rewards.py").write_text(
        off + whole.replace("    return", "    torch.set_grad_enabled(False)\n    return")
    )
    done = workspace.run(*workspace.single, "-p", "no:xdist")
    assert done.returncode == 0, done.stdout
    found = workspace.deltas()
    shutil.rmtree(workspace.results)
    (workspace.path / "rewards.py").write_text(whole)
    assert workspace.run(*workspace.single, "-p", "no:xdist").returncode == 0
    assert workspace.deltas() == found != {}
