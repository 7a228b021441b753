"""What a session is going to do: each experiment's configuration, checkpoint and directory, before any work.

A plan is a pure function of the command line, the files on disk and the session's time stamp, so every xdist
worker arrives at the same one.  Nothing is written and no model is loaded here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.checkpoints import DEMO, CheckpointFiles, find_checkpoint, resolve
from pytest_entropy.checkpoints.metadata import Facts, read_facts
from pytest_entropy.checkpoints.preflight.device import require_device
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.errors import UsageError
from pytest_entropy.plugin.options import given, option_layers
from pytest_entropy.prompts import PromptSet, open_prompts, with_arguments
from pytest_entropy.records.directories import claim_stamp, find_resumable
from pytest_entropy.rewards import RewardTerm, WeightedRewards, require_columns, resolve_reward
from pytest_entropy.settings.devices import assign_gpu
from pytest_entropy.settings.experiments import EVERY_RUN, ExperimentKind, kind_of
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config
from pytest_entropy.settings.yaml_file import read_yaml

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Plan:
    """One experiment of the session, ready to be run.

    ``directory`` is where its results go (it may not exist yet); ``resumed`` says it did when the session began.
    """

    kind: ExperimentKind
    resolved: ResolvedConfig
    files: CheckpointFiles
    facts: Facts
    checkpoint_digest: str
    config_digest: str
    prompts: PromptSet
    reward: WeightedRewards
    directory: Path
    stamp: str
    resumed: bool

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(B_E, run number) of every run, in order."""
        batch = self.resolved.config.batch_config
        return [(b, r) for b in batch.B_E_values for r in range(1, batch.runs_per_batch + 1)]

    @property
    def next_step(self) -> dict[str, Any]:
        """Learning rate, objective, sampling and mapping in force, each with its source; plain values for YAML."""
        probe, sampling, sources = self.resolved.config.probe, self.resolved.config.sampling, self.resolved.sources
        rate: dict[str, Any] = {"value": probe.learning_rate, "source": sources["probe.learning_rate"]}
        if probe.learning_rate is None:
            rate = {"value": self.facts.learning_rate, "source": self.facts.learning_rate_source}
        parts: dict[str, Any] = {"learning_rate": rate}
        parts |= {
            name: {"value": getattr(probe, name), "source": sources[f"probe.{name}"]}
            for name in ("advantage", "scale_rewards", "update_rule")
        }
        parts |= {
            name: {"value": getattr(sampling, name), "source": sources[f"sampling.{name}"]}
            for name in ("temperature", "top_k", "top_p")
        }
        ignored = {"value": dict(self.facts.ignored_sampling), "source": "generation_config.json (not used)"}
        mapping = {"value": self.facts.names, "source": self.files.layout}
        return {**parts, "ignored_sampling": ignored, "optimizer_states": mapping}

    @cached_property
    def ids(self) -> list[str]:
        """Item ids of :attr:`runs`."""
        return [f"BE{b:03d}-run{r:03d}" for b, r in self.runs]

    def run_directory(self, B_E: int, run: int) -> str:
        """Name of a run's directory: the kind's, unless that would give two of the planned runs one name."""
        return self._run_pattern.format(B_E=B_E, B_U=self.resolved.config.batch_config.B_U, run=run)

    @cached_property
    def _run_pattern(self) -> str:
        """Asked for once for every run of every walk over the plan; it formats the names of all."""
        B_U = self.resolved.config.batch_config.B_U
        names = {self.kind.run_directory.format(B_E=b, B_U=B_U, run=r) for b, r in self.runs}
        return self.kind.run_directory if len(names) == len(self.runs) else EVERY_RUN


class Planner:
    """Makes the plans of one session, each once; ``worker`` is the xdist worker's name, if it is one's."""

    def __init__(self, config: pytest.Config, stamp: str, worker: str | None = None) -> None:
        self.config, self.stamp, self.worker = config, stamp, worker
        self._plans: dict[str, Plan] = {}
        self._declared: dict[str, tuple[dict[str, Any], Path]] = {}
        self._prompt_sets: dict[str, PromptSet] = {}
        self._checkpoints: dict[tuple[str, str | None], tuple[CheckpointFiles, Facts, str]] = {}

    @property
    def results_root(self) -> Path:
        """The directory of all results."""
        named = given(self.config, "--entropy-results")
        return Path(named).expanduser() if named else self.config.rootpath / "results"

    def plan(self, name: str, module: Path, overrides: Mapping[str, Any] | None = None) -> Plan:
        """The plan of the experiment ``name`` declared in the test module at ``module``.

        Raises:
            UsageError: anything about the configuration, checkpoint or prompts that cannot work, or another
                declaration of the same experiment with other keywords.
        """
        own = dict(overrides or {})
        if name not in self._plans:
            self._plans[name] = self._new_plan(name, module, own)
            self._declared[name] = (own, module)
        first, where = self._declared[name]
        if first != own:
            raise UsageError(
                f"{module}: experiment {name!r} is declared with {own or 'no keywords'}, and in {where} with "
                f"{first or 'none'}: one experiment has one configuration; give both the same, or two names"
            )
        return self._plans[name]

    @property
    def plans(self) -> list[Plan]:
        """Those made so far."""
        return list(self._plans.values())

    def current(self, plan: Plan) -> Plan:
        """The plan as it stands after :meth:`claim`."""
        return self._plans[plan.kind.name]

    def claim(self) -> None:
        """Make the time stamp this session's own on disk, and rename the planned directories to it.

        Raises:
            UsageError: the results directory cannot be written.
        """
        named = given(self.config, "--entropy-results") is not None
        self.stamp = claim_stamp(self.results_root, self.stamp, named=named)
        for name, plan in self._plans.items():
            fresh = self.results_root / plan.kind.name / f"{plan.kind.directory}_{self.stamp}"
            directory = plan.directory if plan.resumed else fresh
            self._plans[name] = replace(plan, stamp=self.stamp, directory=directory)

    def _new_plan(self, name: str, module: Path, overrides: dict[str, Any]) -> Plan:
        kind = kind_of(name)
        resolved = resolve_config(self._layers(kind, module, overrides))
        assign_gpu(resolved.config.model.device, self.worker)
        require_device(resolved.config.model.device)
        files, facts, digest = self._checkpoint(resolved)
        prompts = self._prompts(resolved)
        config_digest = _with_inputs(resolved)
        root = self.results_root / kind.name
        resumable = None
        if given(self.config, "--resume"):
            resumable = find_resumable(root, digest, config_digest)
        directory = resumable or root / f"{kind.directory}_{self.stamp}"
        reward = self._rewards(resolved, prompts)
        require_chat_template(prompts, files, resolved.config.prompts.chat_template_kwargs)
        return Plan(
            kind, resolved, files, facts, digest, config_digest, prompts, reward, directory, self.stamp,
            resumable is not None,
        )  # fmt: skip

    def _layers(self, kind: ExperimentKind, module: Path, overrides: dict[str, Any]) -> list[Layer]:
        layers = [Layer("built-in default", dict(kind.defaults)), Layer(f"marker in {module.name}", overrides)]
        template = self._template(kind.name, module)
        if template is not None:
            layers.append(Layer(str(template), *read_yaml(template)))
        own = given(self.config, "--config")
        above = [Layer(own, *read_yaml(Path(own).expanduser()))] if own else []
        above += option_layers(self.config, kind)
        if resolve_config([*layers, *above]).config.checkpoint == DEMO:
            layers += demo_profile(kind.name)
        return layers + above

    def _rewards(self, resolved: ResolvedConfig, prompts: PromptSet) -> WeightedRewards:
        """The configured rewards, each from a plugin's hook or our own resolution, able to run on the prompts."""
        terms = []
        for term in resolved.config.reward:
            function = self.config.hook.pytest_entropy_reward(name=term.name) or resolve_reward(term.name)
            require_columns(term.name, function, prompts)
            terms.append(RewardTerm(function, term.name, term.weight))
        return WeightedRewards(tuple(terms), resolved.config.reward_timeout)

    def _template(self, name: str, module: Path) -> Path | None:
        for place in (module.parent, module.parent.parent, self.config.rootpath):
            template = place / "configs" / f"{name}.yaml"
            if template.is_file():
                return template
        return None

    def _checkpoint(self, resolved: ResolvedConfig) -> tuple[CheckpointFiles, Facts, str]:
        key = (resolved.config.checkpoint, resolved.config.model.base_model)
        if key not in self._checkpoints:
            files = find_checkpoint(resolve(key[0]), key[1])
            screen(files)
            self._checkpoints[key] = files, read_facts(files), files.digest()
        return self._checkpoints[key]

    def _prompts(self, resolved: ResolvedConfig) -> PromptSet:
        config = resolved.config
        section = config.prompts
        key = section.model_dump_json()
        if key not in self._prompt_sets:
            found = self.config.hook.pytest_entropy_prompts(source=section.source) or open_prompts(
                section.source,
                prompt_column=section.prompt_column,
                answer_column=section.answer_column,
                template=section.template,
            )
            if not len(found):
                raise UsageError(f"prompts {section.source}: there are none")
            self._prompt_sets[key] = with_arguments(found, section.chat_template_kwargs, section.source)
        prompts = self._prompt_sets[key]
        needed = max(config.batch_config.B_E_values) + config.batch_config.B_U
        have = len({prompt.key for prompt in prompts}) if isinstance(prompts, list) else len(prompts)
        if have < needed and not section.with_replacement:
            which = "prompts" if have == len(prompts) else f"different prompts (of {len(prompts)})"
            raise UsageError(
                f"prompts {section.source}: {have} {which} are {needed - have} too few for "
                f"B_E {max(config.batch_config.B_E_values)} + B_U {config.batch_config.B_U} disjoint prompts; "
                "give more prompts, smaller --be-values/--be/--bu, or --with-replacement"
            )
        return prompts


def require_chat_template(prompts: PromptSet, files: CheckpointFiles, told: Mapping[str, Any]) -> None:
    """Chat messages need the chat template of the checkpoint's tokenizer; there is no default that is right.

    A base model known by a hub id only is not looked into; encoding its first prompt tells.

    Raises:
        UsageError: the prompts are chat messages and the tokenizer's files hold no template, or none that speaks of an
            argument that it is ``told``.
    """
    if isinstance(prompts[0].content, str):
        return
    own = any((files.weights / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    place = files.weights if own or not files.base else Path(files.base)
    if not place.is_dir() or (place / "additional_chat_templates").is_dir():
        return
    template = _template_text(place)
    if template is not None:
        idle = [name for name in told if name not in template]
        if idle:
            raise UsageError(
                f"prompts.chat_template_kwargs: the chat template in {place} does not speak of {', '.join(idle)}; it "
                "would change nothing: remove it, or spell it as the template does"
            )
        return
    raise UsageError(
        f"prompts are chat messages, and the tokenizer in {place} has no chat template (a base model?); give prompts "
        "as text, or save the template the model was trained with beside it as chat_template.jinja"
    )


def _template_text(place: Path) -> str | None:
    """The text of the files with a tokenizer's chat template, None where there is none."""
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in place.glob("chat_template.*")]
    settings = place / "tokenizer_config.json"
    if settings.is_file():
        texts += [text for text in [settings.read_text("utf-8", "replace")] if '"chat_template"' in text]
    return "\n".join(texts) if texts else None


def _with_inputs(resolved: ResolvedConfig) -> str:
    """16 hex digits over the configuration and the contents of the prompt and reward files it names."""
    config = resolved.config
    names = [config.prompts.source, *(term.name.split(".py:")[0] + ".py" for term in config.reward)]
    total = hashlib.sha256(resolved.digest().encode())
    for name in names:
        path = Path(name).expanduser()
        if path.is_file():
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def demo_profile(name: str) -> list[Layer]:
    """The demo checkpoint's own sizes, so that everything runs in a minute: general ones, then by experiment."""
    from pytest_entropy.checkpoints.demo import PROFILE

    record, _ = read_yaml(PROFILE)
    return [Layer(f"demo profile ({part})", record[part]) for part in ("all", name) if part in record]
