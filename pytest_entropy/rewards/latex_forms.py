"""Write plain mathematics as the LaTeX that math-verify reads: it takes other numbers for ``1 1/2`` and ``√2``."""

from __future__ import annotations

import re

_SIGNS = {
    "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ",
    "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "°": r"^\circ ",
}  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_REWRITTEN = (
    (re.compile("[⁰¹²³⁴-⁹⁻⁺]+"), lambda found: f"^{{{found[0].translate(_RAISED)}}}"),
    (re.compile(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))"),
     lambda found: f"\\sqrt{{{found[1] or found[2] or found[3]}}}"),
    (re.compile(r"(?<![\\A-Za-z])sqrt\(([^()]*)\)"), lambda found: f"\\sqrt{{{found[1]}}}"),
    # 1e-3: a number, and no product with Euler's.
    (re.compile(r"(?<![\w.])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d{1,4})(?![\w.])"),
     lambda found: f"{found[1]}\\times 10^{{{int(found[2])}}}"),
    # As calculators and programs raise to a power; in LaTeX only the first character after ^ is raised.
    (re.compile(r"(?:(?<=[\w)}])\*\*|\^)\s*(-?\d+|-[A-Za-z]|(?<=\*\*)[A-Za-z])(?![\d}*])"),
     lambda found: f"^{{{found[1]}}}"),
    (re.compile(r"(?<![\w.\\{}/])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\w/])"),
     lambda found: f"{found[1]}\\frac{{{found[2]}}}{{{found[3]}}}"),
    (re.compile(r"\\langle\b\s*"), lambda _: "("),
    (re.compile(r"\s*\\rangle\b"), lambda _: ")"),
)  # fmt: skip


def as_latex(text: str) -> str:
    r"""The text with its plain mathematics as LaTeX: Unicode signs, powers, roots, mixed numbers, exponents, brackets.

    >>> as_latex("2√3"), as_latex("1 1/2"), as_latex("10^-3"), as_latex(r"\frac{1}{2}")
    ('2\\sqrt{3}', '1\\frac{1}{2}', '10^{-3}', '\\frac{1}{2}')
    """
    for pattern, rewritten in _REWRITTEN:
        text = pattern.sub(rewritten, text)
    for sign, command in _SIGNS.items():
        text = text.replace(sign, command)
    return text
