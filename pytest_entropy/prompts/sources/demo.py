"""The source ``demo``: the word problems of the bundled demo checkpoint."""

from pytest_entropy.prompts.prompt import DemoPrompts
from pytest_entropy.prompts.sources.base import PromptSource

SOURCE = PromptSource("'demo'", lambda source: source == "demo", lambda source, columns: DemoPrompts())
