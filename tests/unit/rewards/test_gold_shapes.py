r"""Gold answers as public data sets have them, against the four built-in rewards, by a table written by hand.

For each shape and reward, the right completion gets 1.0 and the wrong one 0.0, or planning refuses the set.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import prompts_from_rows
from pytest_entropy.rewards import evaluate, named_rewards, require_columns

BUILT_IN = {name: reward.function for name, reward in named_rewards().items()}
NOTATION = {
    "exact_answer": "So it is <answer>{}</answer>",
    "gsm8k": "So it is\n#### {}",
    "boxed": r"So it is $\boxed{{{}}}$.",
    "math_verify": r"So it is $\boxed{{{}}}$.",
}
ALL = frozenset(NOTATION)
NO_MATHS = frozenset({"math_verify"})


@dataclass(frozen=True)
class Shape:
    """A row's gold, and what completions say.

    Attributes:
        gold: the column ``answer``.
        right: answers that a right completion may write in the reward's notation.
        wrong: an answer that is wrong.
        refused: rewards for which planning refuses the set.
        why: what the refusal says.
        columns: further columns of the row.
    """

    gold: Any
    right: tuple[str, ...] = ("7",)
    wrong: str = "8"
    refused: frozenset[str] = frozenset()
    why: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)


WORDS = "First we add the apples of both children, and then we take away those that they have eaten on the way home."
SHAPES: dict[str, Shape] = {
    # openai/gsm8k
    "gsm8k": Shape("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", ("72", "72.0", "$72"), "24"),
    "gsm8k, thousands": Shape("It is <<2*600=1200>>1,200.\n#### 1,200", ("1,200", "1200", "1200.00"), "600"),
    "gsm8k, negative": Shape("Down.\n#### -5", ("-5", "−5"), "5"),
    "two lines of hashes": Shape("#### 5\nNo, wait.\n#### 7", ("7",), "5"),
    "markdown heading before": Shape("#### Step 1\nAdd.\n#### Step 2\nSo \\boxed{7}.", ("7",), "8"),
    # hendrycks/competition_math, MATH-500 and NuminaMath: the column solution
    "MATH solution": Shape(r"Since $2^3 = \boxed{8}$ is no, it is $\boxed{\frac{3}{2}}.$", (r"\frac{3}{2}",), "8"),
    "MATH nested braces": Shape(r"$x = \boxed{\sqrt{\frac{1}{1+\sqrt{2}}}}$", (r"\sqrt{\frac{1}{1+\sqrt{2}}}",), "1"),
    "MATH text choice": Shape(r"Thus $\boxed{\text{(C)}}$.", (r"\text{(C)}",), r"\text{(D)}"),
    "MATH degrees": Shape(r"The angle is $\boxed{90^\circ}$", (r"90^\circ",), r"45^\circ"),
    "MATH dollars": Shape(r"It costs $\boxed{\$5.40}$", (r"\$5.40", "5.40", "5.4"), "5"),
    "MATH thousands": Shape(r"$\boxed{10{,}000}$", ("10{,}000", "10,000", "10000"), "1000"),
    "MATH thin space": Shape(r"$\boxed{10,\!000}$", (r"10,\!000", "10,000", "10000"), "1000"),
    "MATH percent": Shape(r"$\boxed{12\%}$", (r"12\%", "12%"), r"13\%"),
    "MATH interval": Shape(r"$\boxed{[0,\infty)}$", (r"[0,\infty)",), r"(0,\infty)"),
    "MATH pair": Shape(r"$\boxed{(3,-2)}$", ("(3,-2)",), "(3,2)"),
    "MATH500 answer": Shape(r"\left( 3, \frac{\pi}{2} \right)", (r"\left( 3, \frac{\pi}{2} \right)",), "3"),
    "dfrac": Shape(r"\dfrac{1}{2}", (r"\dfrac{1}{2}",), r"\dfrac{1}{3}"),
    "in dollars": Shape(r"$\frac{1}{2}$", (r"\frac{1}{2}",), r"\frac{1}{3}"),
    "in display brackets": Shape(r"\[ \frac{1}{2} \]", (r"\frac{1}{2}",), r"\frac{1}{3}"),
    "in inline brackets": Shape(r"\(7\)", ("7",), "8"),
    "fraction": Shape("3/4", ("3/4",), "4/3"),
    # open-r1/OpenR1-Math-220k, DeepScaleR: LaTeX; DAPO-17k: JSON text in reward_model.ground_truth
    "DAPO": Shape('["34"]', ("34",), "43"),
    "JSON number": Shape("34.0", ("34", "34.0"), "43"),
    "JSON text in text": Shape('"34"', ("34",), "43"),
    "python list in text": Shape("['34']", ("34",), "43"),
    "python struct in text": Shape("{'target': ['34'], 'style': 'rule'}", ("34",), "43"),
    "numpy list in text": Shape("['Sinclair Lewis' 'Harry S. Lewis']", refused=ALL, why="numpy"),
    # Search-R1: ground_truth {"target": array}; TriviaQA; NQ; SQuAD; HotpotQA
    "Search-R1": Shape(
        {"target": np.array(["Sinclair Lewis", "Lewis"], dtype=object)},
        ("Sinclair Lewis", "Lewis"), "Smith", NO_MATHS, "math_verify",
    ),
    "TriviaQA": Shape(
        {"aliases": ["Lewis"], "value": "Sinclair Lewis", "type": "WikipediaEntity"},
        refused=ALL, why=r"answer\.aliases",
    ),
    "SQuAD": Shape({"text": ["in Paris"], "answer_start": [3]}, refused=ALL, why=r"answer\.text"),
    "NQ": Shape(["14 December 1972 UTC", "December 1972"], ("December 1972",), "1972", NO_MATHS, "math_verify"),
    "HotpotQA": Shape("Chief of Protocol", ("Chief of Protocol",), "Chief", NO_MATHS, "math_verify"),
    # ARC, MMLU, CommonsenseQA, HellaSwag: choices beside the answer
    "ARC": Shape("B", ("B",), "A", columns={"choices": {"text": ["x", "y"], "label": ["A", "B"]}}),
    "ARC, numbered": Shape("2", ("2",), "1", columns={"choices": {"text": ["x", "y"], "label": ["1", "2"]}}),
    "MMLU": Shape(2, refused=ALL, why="index", columns={"choices": ["red", "blue", "green", "grey"]}),
    "HellaSwag": Shape("3", refused=ALL, why="index", columns={"endings": ["red", "blue", "green", "grey"]}),
    "MedMCQA as text": Shape("7", ("7",), "8", columns={"options": ["5", "6", "7", "8"]}),
    "choice with its letter": Shape("(B)", ("(B)",), "(C)"),
    # AIME, Countdown, code and instruction tasks
    "AIME int": Shape(204, ("204", "204.0"), "205"),
    "AIME text": Shape("073", ("73", "073"), "74"),
    "Countdown": Shape({"target": 98, "numbers": [44, 19, 35]}, refused=ALL, why="numbers"),
    "Countdown columns": Shape(98, refused=ALL, why="nums", columns={"target": 98, "nums": [44, 19, 35]}),
    "code tests": Shape('{"inputs": ["1\\n"], "outputs": ["2\\n"]}', refused=ALL, why="inputs"),
    "IFEval": Shape('{"func_name": "validate_lowercase", "N": null}', refused=ALL, why="func_name"),
    # chat and instruction data
    "assistant's message": Shape([{"role": "assistant", "content": r"so \boxed{7}"}]),
    "a conversation": Shape([{"role": "user", "content": "8?"}, {"role": "assistant", "content": "#### 7"}]),
    "prose": Shape(f"{WORDS} {WORDS} That leaves seven of the apples.", refused=ALL, why="no notation"),
    "prose of lines": Shape(f"{WORDS}\n{WORDS}\n{WORDS}\nThat leaves 7.", refused=ALL, why="no notation"),
    # answer lines
    "MetaMath": Shape(f"{WORDS}\nThe answer is: 7", ("7",), "8"),
    "Minerva": Shape(f"{WORDS}\nFinal Answer: The final answer is $7$. I hope it is correct.", ("7",), "8"),
    "inspect": Shape(f"{WORDS}\n\nANSWER: 7", ("7",), "8"),
    "CoT": Shape(f"{WORDS} So the answer is 7.", ("7",), "8"),
    "bold": Shape(f"{WORDS}\n**Answer:** 7", ("7",), "8"),
    "bold line": Shape(f"{WORDS}\n**Final Answer: 7**", ("7",), "8"),
    "equals": Shape("Answer = 7"),
    "label before its line": Shape("Work.\n\nFinal Answer:\n7"),
    "in French": Shape("On ajoute. La réponse est 7."),
    "in Chinese": Shape("所以答案是 7。"),
    "after reasoning": Shape("<think>8, no</think>\n7"),
    "tag in capitals": Shape("<ANSWER>7</ANSWER>"),
    "another tag": Shape("<solution>7</solution>"),
    "a heading": Shape("### 7"),
    "a block of code": Shape("```\n7\n```"),
    "in quotes": Shape("'7'"),
    "short prose": Shape(
        "There are four children and each has three apples. They eat two of all these on the way home, so ten remain.",
        refused=ALL, why="no notation",
    ),
    "asserts": Shape("assert f(1) == 2\nassert f(2) == 3", refused=ALL, why="no notation"),
    "an empty box": Shape(r"\boxed{}", refused=ALL, why="encloses nothing"),
    "answer line, letter": Shape(f"{WORDS}\nAnswer: (B)", ("(B)",), "(C)"),
    "block with a box": Shape(r"<think>no</think><answer>\boxed{7}</answer>", ("7",), "8"),
    "block with an answer line": Shape("<answer>The answer is 7.</answer>", ("7",), "8"),
    # words and numbers
    "full stop": Shape("7.", ("7", "7."), "8"),
    "sentence's full stop": Shape("Paris.", ("Paris", "Paris."), "Rome", NO_MATHS, "math_verify"),
    "unicode minus": Shape("−5", ("-5", "−5"), "5"),
    "decimal comma": Shape("3,5", ("3,5",), "3.6"),
    "euros": Shape("€7.50", ("€7.50", "7.50", "7.5"), "8"),
    "minus before currency": Shape("-$5", ("-$5", "-5"), "5"),
    "percent": Shape("12%", ("12%", "12.0%"), "13%"),
    "units": Shape("18 cm", ("18 cm",), "17 cm"),
    "beyond float64": Shape("9007199254740993", ("9007199254740993",), "9007199254740992"),
    "ratio": Shape("3:2", ("3:2",), "2:3"),
    "two values": Shape("1, -2", ("1, -2",), "1, 2"),
    "mixed number": Shape(r"2\frac{1}{2}", (r"2\frac{1}{2}",), r"2\frac{1}{3}"),
    "price": Shape("$18 per week", ("$18 per week",), "$17 per week"),
    "scientific in LaTeX": Shape(r"3 \times 10^{8}", (r"3 \times 10^{8}",), r"3 \times 10^{7}"),
    "scientific": Shape("1e-3", ("1e-3", "0.001"), "0.002"),
    "true": Shape(True, ("True", "true", "yes", "Yes"), "false", NO_MATHS, "math_verify"),
    "date": Shape(datetime.date(1969, 7, 20), refused=ALL, why="date"),
    "date in words": Shape("July 20, 1969", ("July 20, 1969",), "July 21, 1969", NO_MATHS, "math_verify"),
    "bytes": Shape(b"7", refused=ALL, why="b'7'"),
    "braces that do not close": Shape("{7", ("{7",), "8", frozenset({"boxed"}), "boxed"),
    "not a number": Shape("nan", ("nan",), "8", NO_MATHS, "math_verify"),
}  # fmt: skip
CASES = [(shape, reward) for shape in SHAPES for reward in NOTATION]


@pytest.mark.parametrize(("name", "reward"), CASES, ids=["-".join(case).replace(" ", "_") for case in CASES])
def test_the_right_completion_gets_one_or_planning_refuses(name: str, reward: str) -> None:
    shape = SHAPES[name]
    row = {"prompt": "How many?", **shape.columns, "answer": shape.gold}
    prompts = prompts_from_rows([("line 1", row)], source="train.jsonl")
    if reward in shape.refused:
        with pytest.raises(UsageError, match=shape.why) as raised:
            require_columns(reward, BUILT_IN[reward], prompts)
        assert reward in str(raised.value)
        assert "row 1" in str(raised.value)
        return
    require_columns(reward, BUILT_IN[reward], prompts)
    texts = [NOTATION[reward].format(answer) for answer in (*shape.right, shape.wrong)]
    expected = [1.0] * len(shape.right) + [0.0]
    assert evaluate(BUILT_IN[reward], prompts, [texts]) == [expected], texts
