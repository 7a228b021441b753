"""The pytest plugin: its options and hooks; each hook fetches one object and calls one method."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.plugin import attempts, markers, options
from pytest_entropy.plugin.declared_experiments import RUN_FIXTURE
from pytest_entropy.plugin.item_names import named_by_package
from pytest_entropy.plugin.session import KEY, EntropySession, session_of
from pytest_entropy.plugin.session_plans import USAGE_ERROR


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_entropy.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    markers.register(config)
    with _usage_errors():
        options.refuse_repeats(tuple(map(str, config.invocation_params.args)))
        options.refuse_swallowed_path(config)
        config.add_cleanup(registry.restorer())
        config.hook.pytest_entropy_register(registry=registry)
    config.stash[KEY] = EntropySession(config)
    with _usage_errors():
        config.stash[KEY].computing.choose_device()
    # Fixtures have their own module; workers send their reports to the controller and have no reporter.
    config.pluginmanager.register(_lazily("pytest_entropy.plugin.fixtures"), "entropy-fixtures")
    if not config.stash[KEY].process.is_worker:
        config.pluginmanager.register(_lazily("pytest_entropy.plugin.reporter").Reporter(config), "entropy-reporter")
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_XdistHooks(), "entropy-xdist")


def pytest_unconfigure(config: pytest.Config) -> None:
    if KEY in config.stash:
        session_of(config).planning.close()
        session_of(config).computing.close()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    state = session_of(session.config)
    if state.process.is_controller:
        with _usage_errors():
            state.planning.look_ahead()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return named_by_package(module_path, parent)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if RUN_FIXTURE in metafunc.fixturenames:
        values, ids = session_of(metafunc.config).planning.parametrization(metafunc.definition)
        metafunc.parametrize(RUN_FIXTURE, values, ids=ids, indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session_of(config).arrange(items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    state = session_of(session.config)
    if state.process.is_worker:
        state.planning.settle_on_worker(session.items)
    elif not state.process.is_controller:
        with _usage_errors():
            state.planning.settle()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    attempts.begin(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail the item of a failed run; skip or fail an item with an inconclusive verdict, as configured."""
    from pytest_entropy.plugin.outcomes import inconclusive_as_configured, raise_failed_run

    raise_failed_run(item)
    with inconclusive_as_configured(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report the failure of a run in a sentence: a user has no use for the frames of this package."""
    if call.excinfo is None:
        return (yield)
    from pytest_entropy.plugin import news, outcomes

    failure = outcomes.failure_of(call)
    if failure is None:
        return (yield)
    news.report_news(item, failure)
    report = yield
    outcomes.say_in_a_sentence(report, failure)
    return report


class _XdistHooks:
    """Hooks that xdist defines; registered if xdist is loaded."""

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["entropy_stamp"] = session_of(node.config).planning.planner.stamp

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        message = getattr(node, "workeroutput", {}).get(USAGE_ERROR)
        if message is not None:
            node.config.pluginmanager.getplugin("entropy-reporter").usage_error = message

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        node.config.pluginmanager.getplugin("entropy-reporter").expect(ids)


class _usage_errors:
    """Turn this package's usage errors into pytest's: one message, exit code 4."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UsageError):
            raise pytest.UsageError(str(error)) from None


def _lazily(name: str) -> Any:
    from importlib import import_module

    return import_module(name)
