"""The four subcommands of the old ``run_entropy_test.py`` with its flags, translated to pytest commands."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pytest_entropy.errors import UsageError
from pytest_entropy.plugin.markers import EXPERIMENT
from pytest_entropy.settings.experiments import PACKAGE, installed_experiments

# Test module and purpose of each command.
COMMANDS = {
    "batch-scaling": ("test_batch_scaling", "does δH₁ converge as B_E grows, or scale as 1/B_E (a bug)?"),
    "sanity-check": ("test_sanity_check", "can the probe be trusted on this checkpoint?"),
    "single": ("test_single_run", "how will the entropy change?"),
    "debug": ("test_debug", "what do all diagnostics and tensors show?"),
}
# Pytest's exit code for a wrong command line.
WRONG_USAGE = 4
_LOUDNESS = {"verbose": "-v", "quiet": "-q", "minimal": "--minimal"}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors end with pytest's exit code."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(WRONG_USAGE, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None, prog: str = "run_entropy_test.py") -> int:
    """Run one of :data:`COMMANDS` and return pytest's exit code; 4 for a wrong command line.

    Args:
        arguments: the command and its options; the process's by default.
        prog: what the program is called in help and errors.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(prog=prog, description="Entropy experiments; each command runs a pytest command, which it prints.")
    add_commands(parser.add_subparsers(dest="command", required=True, parser_class=_Parser))
    command = parser.parse_args(given[:1] or given).command
    try:
        translated = pytest_arguments(command, given[1:], prog)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE
    print(shlex.join(["pytest", *translated]), flush=True)
    return _finished(subprocess.Popen([sys.executable, "-m", "pytest", *translated]))


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser, for its help; their options are parsed elsewhere."""
    for name, (_, purpose) in COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)


def _finished(session: subprocess.Popen[bytes]) -> int:
    """The exit code of a session, which Ctrl-C interrupts by itself: then it still writes what it has."""
    while True:
        try:
            code = session.wait()
            # Of a session that a signal ended, what a shell would say.
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def pytest_arguments(command: str, arguments: Sequence[str], prog: str = "run_entropy_test.py") -> list[str]:
    """The arguments of pytest for a command of the old script; options it did not have are passed on unchanged.

    Args:
        command: one of :data:`COMMANDS`.
        arguments: the command's own.
        prog: what the program is called in help and errors.

    Raises:
        UsageError: the experiment is neither here nor installed.
    """
    known, others = _parser(command, prog).parse_known_args(arguments)
    out = _where(COMMANDS[command][0])
    for name, value in vars(known).items():
        if name in _LOUDNESS:
            out += [_LOUDNESS[name]] * bool(value)
        elif value is True:
            out.append("--" + name.replace("_", "-"))
        elif value not in (None, False):
            # In one word: a path that stands alone would take part in pytest's choice of its root directory.
            out.append(f"--{name.replace('_', '-')}={_template(value) if name == 'config' else value}")
    return out + others


def _parser(command: str, prog: str) -> argparse.ArgumentParser:
    """The parser of one command's options."""
    parser = _Parser(
        prog=f"{prog} {command}",
        description=COMMANDS[command][1],
        epilog="All options of pytest and of pytest-entropy are accepted, too; pytest --help lists them.",
        allow_abbrev=False,
    )
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--verbose", action="store_true", help="DEBUG logs with gradient sizes")
    loudness.add_argument("--minimal", action="store_true", help="INFO logs, key results only")
    loudness.add_argument("--quiet", action="store_true", help="final summary only")
    checkpoint = "checkpoint directory, or 'demo' for the bundled one"
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help=checkpoint)
    parser.add_argument("--config", metavar="FILE", help="YAML over the experiment's template")
    parser.add_argument("--be-values", metavar="N,N,...", help="B_E values such as 16,32,64")
    parser.add_argument("--be", metavar="N", help="B_E of single and sanity-check (default: 256)")
    parser.add_argument("--bu", metavar="N", help="B_U (default: 32)")
    parser.add_argument("--runs", metavar="N", help="runs per configuration (default: 3; sanity-check 15)")
    parser.add_argument("--save-gradients", action="store_true", help="write gradients as safetensors")
    return parser


def _where(module: str) -> list[str]:
    """What to give pytest for an experiment: the working directory's, else the installed one, else this checkout's.

    Raises:
        UsageError: there is none.
    """
    here, beside = (place / "experiments" / f"{module}.py" for place in (Path(), Path(__file__).parents[2]))
    # Another project may have a module of this name.
    if here.is_file() and EXPERIMENT in here.read_text(encoding="utf-8", errors="replace"):
        return [str(here)]
    if installed_experiments() is not None:
        return ["--pyargs", f"{PACKAGE}.{module}"]
    if beside.is_file():
        return [str(beside)]
    raise UsageError(f"{here} does not exist, and {PACKAGE} is not installed: pip install pytest-entropy")


def _template(config: str) -> str:
    """The path of a ``--config``; where there is no ``configs/debug.yaml``, that name means the installed template."""
    installed = installed_experiments()
    if not Path(config).exists() and installed is not None and (installed / config).is_file():
        return str(installed / config)
    return config
