"""Prompts and their columns (such as the expected answer), opened from the source a configuration names."""

from pytest_entropy.prompts.context_length import require_room
from pytest_entropy.prompts.messages import text_of
from pytest_entropy.prompts.prompt import Content, DemoPrompts, Prompt, PromptSet
from pytest_entropy.prompts.rows import prompts_from_rows
from pytest_entropy.prompts.sources import open_prompts
from pytest_entropy.prompts.template_arguments import template_arguments, with_arguments
from pytest_entropy.prompts.templates import TEMPLATES, apply_template

__all__ = [
    "TEMPLATES",
    "Content",
    "DemoPrompts",
    "Prompt",
    "PromptSet",
    "apply_template",
    "open_prompts",
    "prompts_from_rows",
    "require_room",
    "template_arguments",
    "text_of",
    "with_arguments",
]
