"""The pytest plugin: options and hooks, each of which fetches one object and calls one method."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.plugin import options
from pytest_entropy.plugin.lookahead import EXPERIMENT_MARKER, RUN_FIXTURE
from pytest_entropy.plugin.session import (
    CHECK_MARKER,
    KEY,
    TOLERANCE_MARKER,
    USAGE_ERROR,
    EntropySession,
    session_of,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_entropy.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{EXPERIMENT_MARKER}(name, **configuration): the entropy experiment the tests belong to; keyword "
        "arguments override its built-in configuration, section by section",
    )
    config.addinivalue_line(
        "markers", f"{CHECK_MARKER}(weight=1): the test takes a share of the session's false-alarm budget"
    )
    config.addinivalue_line(
        "markers",
        f"{TOLERANCE_MARKER}(*expressions): what --entropy-compare calls a regression of the experiment, such as "
        "'delta_h1:5%'; as the module's pytestmark",
    )
    with _usage_errors():
        options.refuse_repeats(tuple(map(str, config.invocation_params.args)))
        config.add_cleanup(registry.restorer())
        config.hook.pytest_entropy_register(registry=registry)
    config.stash[KEY] = EntropySession(config)
    with _usage_errors():
        config.stash[KEY].choose_device()
    # Fixtures live in their own module; the reporter exists where reports arrive.
    config.pluginmanager.register(_lazily("pytest_entropy.plugin.fixtures"), "entropy-fixtures")
    if not config.stash[KEY].is_worker:
        config.pluginmanager.register(_lazily("pytest_entropy.plugin.reporter").Reporter(config), "entropy-reporter")
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_XdistHooks(), "entropy-xdist")


def pytest_unconfigure(config: pytest.Config) -> None:
    if KEY in config.stash:
        session_of(config).close()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    state = session_of(session.config)
    if state.is_controller:
        with _usage_errors():
            state.look_ahead()


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if RUN_FIXTURE in metafunc.fixturenames:
        values, ids = session_of(metafunc.config).parametrization(metafunc.definition)
        metafunc.parametrize(RUN_FIXTURE, values, ids=ids, indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session_of(config).arrange(items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    state = session_of(session.config)
    if state.is_worker:
        state.settle_on_worker(session.items)
    elif not state.is_controller:
        with _usage_errors():
            state.settle()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A failed run fails its item; an inconclusive verdict skips or fails it, as configured."""
    from pytest_entropy.plugin.outcomes import inconclusive_as_configured, raise_failed_run

    raise_failed_run(item)
    with inconclusive_as_configured(item):
        return (yield)


class _XdistHooks:
    """Hooks only xdist knows; registered where it is loaded."""

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["entropy_stamp"] = session_of(node.config).planner.stamp

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        told = getattr(node, "workeroutput", {}).get(USAGE_ERROR)
        if told is not None:
            node.config.pluginmanager.getplugin("entropy-reporter").usage_error = told

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        node.config.pluginmanager.getplugin("entropy-reporter").expect(ids)


class _usage_errors:
    """Our usage errors become pytest's: one message, exit code 4."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UsageError):
            raise pytest.UsageError(str(error)) from None


def _lazily(name: str) -> Any:
    from importlib import import_module

    return import_module(name)
