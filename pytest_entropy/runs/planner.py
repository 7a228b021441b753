"""Make a session's plans: resolve the configuration, find checkpoint and prompts, reject errors before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints import DEMO, CheckpointFiles, find_checkpoint, resolve
from pytest_entropy.checkpoints.metadata import Metadata, read_metadata
from pytest_entropy.checkpoints.model_size import parameters_stored
from pytest_entropy.checkpoints.preflight.context_length import require_context
from pytest_entropy.checkpoints.preflight.device import require_device
from pytest_entropy.checkpoints.preflight.loadable import require_loadable
from pytest_entropy.checkpoints.preflight.next_step import require_next_step
from pytest_entropy.checkpoints.preflight.planned_prompts import TriedPrompts
from pytest_entropy.checkpoints.trainer_settings import trainer_settings
from pytest_entropy.checkpoints.training_arguments import read_training_arguments
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet, open_prompts, with_arguments
from pytest_entropy.prompts.tool_schemas import read_tools
from pytest_entropy.records.paths import SESSIONS
from pytest_entropy.records.results_directory import claim_stamp, withdraw_stamp
from pytest_entropy.rewards import RewardTerm, WeightedRewards, require_columns, resolve_reward, reward_notes
from pytest_entropy.runs.batch_limits import allowed_reads, require_enough, require_one_update
from pytest_entropy.runs.depth import with_depth
from pytest_entropy.runs.inputs import digest_with_inputs
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.prompt_notes import prompt_notes, run_arguments
from pytest_entropy.runs.resuming import Resumable, find_stored
from pytest_entropy.runs.target_plan import require_stored_runs, with_target, without_idle_runs
from pytest_entropy.runs.trainer_layer import bundled_inputs, objective_untold, with_trainer
from pytest_entropy.settings.experiments import ExperimentKind, installed_experiments, kind_of
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config
from pytest_entropy.settings.yaml_file import read_yaml


@dataclass(frozen=True)
class SessionRequest:
    """What a command line or a program requests of a session.

    Attributes:
        root: the project's directory; a place of templates, and the parent of ``results/`` by default.
        results: the directory of all results, if it was named.
        resume: whether matching experiment directories are continued.
        config_file: a YAML file that overrides the experiments' templates, if any.
        layers: the command line's configuration layers for one kind of experiment, lowest first.
        find_reward, find_prompts: look a name up in hooks, before it is resolved otherwise; None if no hook knows it.
        choose_device: called with the configured device before anything uses it (:class:`~.executors.base.Executor`).
    """

    root: Path
    results: Path | None = None
    resume: bool = False
    config_file: str | None = None
    layers: Callable[[ExperimentKind], list[Layer]] = lambda kind: []
    find_reward: Callable[[str], Callable[..., Any] | None] = lambda name: None
    find_prompts: Callable[[str], PromptSet | None] = lambda source: None
    choose_device: Callable[[str], None] = lambda device: None


class Planner:
    """Makes the plans of one session, each once.

    Args:
        request: the options of the session.
        stamp: the session's time stamp.
    """

    def __init__(self, request: SessionRequest, stamp: str) -> None:
        self.request, self.stamp = request, stamp
        self._plans: dict[str, Plan] = {}
        self._results_existed = True
        self._declared: dict[str, tuple[dict[str, object], Path]] = {}
        self._prompt_sets: dict[str, PromptSet] = {}
        self._prompt_notes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._tried_rewards: dict[tuple[str, ...], WeightedRewards] = {}
        self._tried = TriedPrompts()
        self._checkpoints: dict[tuple[str, str | None], tuple[CheckpointFiles, Metadata, str]] = {}

    @property
    def results_root(self) -> Path:
        """The directory of all results."""
        return self.request.results or self.request.root / "results"

    def plan(self, name: str, module: Path, overrides: Mapping[str, object] | None = None) -> Plan:
        """The plan of an experiment, made on the first call.

        Args:
            name: of the experiment.
            module: path of the test module that declares it.
            overrides: keywords of the declaration, a layer of the configuration.

        Raises:
            UsageError: the configuration, checkpoint, prompts or rewards cannot be used, or another module declared
                the same experiment with other keywords.
        """
        keywords = dict(overrides or {})
        if name not in self._plans:
            self._plans[name] = self._new_plan(name, module, keywords)
            self._declared[name] = (keywords, module)
        first, where = self._declared[name]
        if first != keywords:
            raise UsageError(
                f"{module}: experiment {name!r} is declared with {keywords or 'no keywords'}, and in {where} with "
                f"{first or 'none'}: one experiment has one configuration; give both the same, or two names"
            )
        return self._plans[name]

    @property
    def plans(self) -> list[Plan]:
        """The plans made so far."""
        return list(self._plans.values())

    def current(self, plan: Plan) -> Plan:
        """The plan with the stamp and directory that :meth:`claim` gave it."""
        return self._plans[plan.kind.name]

    def claim(self) -> None:
        """Reserve a time stamp on disk for this session, and name the planned directories by it.

        Raises:
            UsageError: the results directory cannot be written.
        """
        self._results_existed = self.results_root.exists()
        self.stamp = claim_stamp(self.results_root, self.stamp, named=self.request.results is not None)
        for name, plan in self._plans.items():
            fresh = self.results_root / plan.kind.category / f"{plan.kind.directory}_{self.stamp}"
            directory = plan.directory if plan.resumed else fresh
            self._plans[name] = replace(plan, stamp=self.stamp, directory=directory)

    def withdraw(self) -> None:
        """Undo :meth:`claim` if the session has left nothing: no run was asked for, and no page was written."""
        begun = [plan.directory for plan in self.plans if not plan.resumed]
        if not any(directory.exists() for directory in (*begun, self.results_root / SESSIONS / self.stamp)):
            withdraw_stamp(self.results_root, self.stamp, existed=self._results_existed)

    def _new_plan(self, name: str, module: Path, overrides: dict[str, object]) -> Plan:
        kind = kind_of(name)
        resolved, notes, recorded = self._resolved(kind, module, overrides)
        require_one_update(kind, resolved)
        resolved, of_target = with_target(kind, resolved)
        self.request.choose_device(resolved.config.model.device)
        require_device(resolved.config.model.device)
        files, metadata, digest = self._checkpoint(resolved)
        require_next_step(
            files, metadata, learning_rate=resolved.config.probe.learning_rate, dtype=resolved.config.model.dtype
        )
        resolved = with_depth(kind, resolved, lambda: parameters_stored(files))
        prompts = self._prompts(resolved)
        resolved, of_reads = allowed_reads(resolved, prompts)
        reward = self._rewards(resolved, prompts)
        digests = digest_with_inputs(resolved, prompts, reward)
        config_digest = digests.config
        root = self.results_root / kind.category
        found = Resumable()
        if self.request.resume:
            found = find_stored(
                root, name, digest, config_digest, resolved, lambda of: digest_with_inputs(of, prompts, reward).config
            )
        if found.directory is not None:
            require_stored_runs(kind, resolved, found.directory)
        directory = found.directory or root / f"{kind.directory}_{self.stamp}"
        tokenizer = self._tried.tokenizer(files, prompts)
        of_rewards = [f"  warning: {note}" for term in reward.terms for note in term.notes]
        notes = (*notes, *of_target, *of_reads, *of_rewards, *self._notes_on(resolved, files, prompts))
        require_context(files, prompts, resolved.config.sampling.max_new_tokens, tokenizer)
        return Plan(
            kind, resolved, files, metadata, digest, config_digest, prompts, reward, directory, self.stamp,
            found.directory is not None, found.superseded, digests.inputs, found.nothing_kept, notes, recorded,
        )  # fmt: skip

    def _resolved(
        self, kind: ExperimentKind, module: Path, overrides: dict[str, object]
    ) -> tuple[ResolvedConfig, tuple[str, ...], Mapping[str, Any]]:
        """The configuration, the header's notes on it, and what the checkpoint's trainer says of itself.

        Above the templates, and below what the user gives, stands the demo checkpoint's profile, or the trainer's
        file of another checkpoint.
        """
        below, above = self._layers(kind, module, overrides)
        plain = resolve_config([*below, *above])
        if plain.config.checkpoint == DEMO:
            return resolve_config([*below, *demo_profile(kind.name), *above]), (), {}
        arguments = read_training_arguments(self._checkpoint(plain)[0])
        if arguments is None:
            return plain, (*objective_untold(plain), *bundled_inputs(plain)), {}
        trainer = trainer_settings(arguments)
        resolved, notes = with_trainer(trainer, below, above, plain)
        return resolved, (*notes, *bundled_inputs(resolved)), trainer.recorded

    def _layers(
        self, kind: ExperimentKind, module: Path, overrides: dict[str, object]
    ) -> tuple[list[Layer], list[Layer]]:
        """The configuration's layers, lowest first, up to the template, and from the user's file on."""
        below = [Layer("built-in default", dict(kind.defaults)), Layer(f"marker in {module.name}", overrides)]
        template = self._template(kind.name, module)
        if template is not None:
            below.append(Layer(str(template), *read_yaml(template)))
        file = self.request.config_file
        above = [Layer(file, *read_yaml(Path(file).expanduser()))] if file else []
        above += self.request.layers(kind)
        return below, without_idle_runs(kind, below, above)

    def _rewards(self, resolved: ResolvedConfig, prompts: PromptSet) -> WeightedRewards:
        """The configured rewards, each from a hook or by name, tried on the prompts once."""
        config = resolved.config
        key = (config.prompts.model_dump_json(), str(config.reward), str(config.reward_timeout))
        if key not in self._tried_rewards:
            terms = []
            for term in config.reward:
                function = self.request.find_reward(term.name) or resolve_reward(term.name)
                require_columns(term.name, function, prompts)
                notes = tuple(reward_notes(term.name, function, prompts))
                terms.append(RewardTerm(function, term.name, term.weight, notes))
            self._tried_rewards[key] = WeightedRewards(tuple(terms), config.reward_timeout)
        return self._tried_rewards[key]

    def _template(self, name: str, module: Path) -> Path | None:
        places = [module.parent, module.parent.parent, self.request.root]
        if module.parent == installed_experiments():
            # The built-in templates lie there; a project's own go before them.
            places.insert(0, self.request.root)
        for place in places:
            template = place / "configs" / f"{name}.yaml"
            if template.is_file():
                return template
        return None

    def _checkpoint(self, resolved: ResolvedConfig) -> tuple[CheckpointFiles, Metadata, str]:
        key = (resolved.config.checkpoint, resolved.config.model.base_model)
        if key not in self._checkpoints:
            files = find_checkpoint(resolve(key[0]), key[1])
            require_loadable(files)
            self._checkpoints[key] = files, read_metadata(files), files.digest()
        return self._checkpoints[key]

    def _notes_on(self, resolved: ResolvedConfig, files: CheckpointFiles, prompts: PromptSet) -> tuple[str, ...]:
        """The header's lines on the prompts, found once for all experiments that have them."""
        key = (str(files.root), str(files.base), resolved.config.prompts.model_dump_json())
        if key not in self._prompt_notes:
            self._prompt_notes[key] = prompt_notes(resolved, files, prompts)
        return self._prompt_notes[key]

    def _prompts(self, resolved: ResolvedConfig) -> PromptSet:
        """The configured prompts, enough of them for a run's batches."""
        config = resolved.config
        section = config.prompts
        key = section.model_dump_json()
        if key not in self._prompt_sets:
            opened = self.request.find_prompts(section.source) or open_prompts(
                section.source,
                prompt_column=section.prompt_column,
                answer_column=section.answer_column,
                template=section.template,
            )
            if not len(opened):
                raise UsageError(f"prompts {section.source}: the source holds no prompts")
            tools = read_tools(section.tools) if section.tools else ()
            self._prompt_sets[key] = with_arguments(opened, run_arguments(resolved, opened), section.source, tools)
        prompts = self._prompt_sets[key]
        if not section.with_replacement:
            require_enough(prompts, config)
        return prompts


def demo_profile(name: str) -> list[Layer]:
    """Configuration layers of the demo checkpoint: small sizes for all experiments, then for the one named."""
    from pytest_entropy.checkpoints.demo import PROFILE

    record, _ = read_yaml(PROFILE)
    return [Layer(f"demo profile ({part})", record[part]) for part in ("all", name) if part in record]
