"""The word problems of the bundled demo checkpoint, made on demand."""

from pytest_entropy.prompts.prompt import DemoPrompts
from pytest_entropy.prompts.sources.base import PromptSource

SOURCE = PromptSource("'demo'", lambda source: source == "demo", lambda source, columns: DemoPrompts())
