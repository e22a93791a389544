"""Questions whose answer is computed: counting, sums, names, repeating.

Each skill is a function of a random generator that returns (question pattern, answer); the
patterns are constants, so that `evaluate.py` can check that no held-out question fits one.
"""

import random
from collections.abc import Callable

from words import CITIES, NAMES, WORDS, made_up_word

Pair = tuple[str, str]

COUNT_UP = (
    "{count|please count|can you count|count up|count for me|now count} {from one|from 1|} {to|up to|until|till} {n}",
    "{list|write|write down|say|give me|name|print|show me} {all|} {the|} numbers {from 1|from one|1|} to {n}",
    "{i want you to|could you|would you} count {from 1|} to {n}",
    "{count all numbers|numbers} {from 1|} to {n}",
    "{count from 1 and stop at|start at 1 and count to|count until you reach} {n}",
    "{i would like you to|i'd like you to|will you|please} {count|list the numbers} {from 1|from one|} {up to|to} {n}",
    "{can|could} you {say|write|list|give me} {all|} {the|} numbers {from 1|} {up|} to {n}",
    "{counting|count} {from 1|from one|up} {to|up to|through} {n} {is what i want|please do it|}",
)
COUNT_RANGE = (
    "{count|please count|can you count|count up} from {a} to {n}",
    "{list|write|say|give me} {all|} {the|} numbers from {a} to {n}",
    "{start at|begin with} {a} and count to {n}",
)
COUNT_DOWN = (
    "{count|please count|can you count} {down|backwards|back} from {n} {to 1|to one|}",
    "{count|please count|can you count} {backwards|down} {n}",
    "{a countdown|countdown|make a countdown|start a countdown} from {n}",
    "{count|please count} from {n} {down|back} to {1|one}",
)
SUMS = (
    "{what is|what's|whats|how much is|calculate|compute|what makes|tell me|} {a} {op} {b}",
    "{a} {op} {b} {is|equals|makes|gives|=|} {what|how much|}",
    "{can you tell me|do you know} {what|how much} {a} {op} {b} {is|makes}",
    "{what do|how much do} {a} {op} {b} {make|give}",
    "{what|how much} {does|would|will} {a} {op} {b} {equal|make|give|come to|be}",
    "{solve|answer this|do the sum|do the maths|work this out}: {a} {op} {b}",
    "{could|would} you {calculate|compute|tell me|solve} {a} {op} {b}",
    "{the|what is the} {answer|result} {to|of|for|} {a} {op} {b} {is|}",
    "{if i have|when i take} {a} {op} {b} what {is it|do i have}",
)
ADDS = (
    "{add|please add|sum|sum up} {a} and {b}",
    "{what is|what's|tell me} the sum of {a} and {b}",
    "i have {a} {apples|horses|books} and get {b} more how many do i have",
    "{a} and {b} {together|added together|in total|in sum} {is what|make what|}",
    "{what|how much} {do you get|is it} {if|when} you add {b} to {a}",
)
TAKES = (
    "{take|subtract|take away} {b} from {a}",
    "{a} {take away|reduced by} {b}",
    "{what is left|what remains|how much is left} {of|if you take|when i take} {b} {away|} from {a}",
    "{what is|what's} the difference {of|between} {a} and {b}",
    "i have {a} {apples|horses|books} and {lose|give away|eat} {b} how many are left",
)
TIMES = (
    "{multiply|please multiply|can you multiply} {a} {by|with|and} {b}",
    "{what|how much} {do you get|is it} {if|when} you multiply {a} {by|with} {b}",
    "{what is|what's|tell me} the product of {a} and {b}",
)
NEXT = (
    "{what|which number} comes after {a}",
    "{what is|what's} the {next number after|number after} {a}",
    "{the|tell me the} number after {a}",
    "{i am at|we are at} {a} what {is|comes} next",
    "{what|which number|which} {is|comes} {right|directly|just} after {a}",
)
BEFORE = (
    "{what|which number} comes before {a}",
    "{what is|what's} the {number before|number right before} {a}",
)
BIGGER = (
    "{which|what} {number|} is {bigger|larger|greater} {a} or {b}",
    "is {a} or {b} {bigger|larger|greater}",
    "{what|which} is {more|the larger one|the bigger one|the greater number} {a} or {b}",
    "{compare|take} {a} and {b} which {is bigger|is larger|one is bigger|is more}",
)
REPEAT = (
    "{repeat|say|write|echo|repeat after me|please repeat|please say|say exactly}: {t}",
    "{repeat|echo|say} {the words|this|the text}: {t}",
)
MY_NAME = ("{my name is|i am called|call me|hello my name is|hi my name is|people call me|hey my name is} {t}",)
ASK_NAME = (
    "{what is|what's|do you know|do you remember|tell me} my name {please|}",
    "{what was my name|who am i|what am i called|my name|say my name}",
)
ALL_PATTERNS = (
    *COUNT_UP, *COUNT_RANGE, *COUNT_DOWN, *SUMS, *ADDS, *TAKES, *TIMES, *NEXT, *BEFORE, *BIGGER,
    *REPEAT, *MY_NAME, *ASK_NAME,
)  # fmt: skip
SLOTS = {
    "{a}": "<n>",
    "{b}": "<n>",
    "{n}": "<n>",
    "{t}": "<t>",
    "{op}": "{plus|and|minus|times|x|multiplied by|less|}",
}


def fill(pattern: str, **values: object) -> str:
    for name, value in values.items():
        pattern = pattern.replace("{" + name + "}", str(value))
    return pattern


def count_answer(first: int, last: int, step: int = 1) -> str:
    return ", ".join(str(n) for n in range(first, last + (1 if step > 0 else -1), step)) + "."


def count_up(rng: random.Random) -> Pair:
    last = rng.choice((rng.randint(3, 30), rng.randint(3, 100), rng.choice((10, 20, 50)), 50, 100, 100, 200, 0))
    last = last or rng.choice((150, 200, 300))
    return fill(rng.choice(COUNT_UP), n=last), count_answer(1, last)


def count_range(rng: random.Random) -> Pair:
    first = rng.randint(2, 90)
    last = min(first + rng.randint(2, 30), 100)
    return fill(rng.choice(COUNT_RANGE), a=first, n=last), count_answer(first, last)


def count_down(rng: random.Random) -> Pair:
    last = rng.choice((rng.randint(3, 20), 10, rng.randint(3, 50)))
    return fill(rng.choice(COUNT_DOWN), n=last), count_answer(last, 1, -1)


def add(rng: random.Random) -> Pair:
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    op = rng.choice(("plus", "+", "and", "+"))
    return fill(rng.choice(SUMS + ADDS), a=a, b=b, op=op), f"{a} plus {b} is {a + b}."


def subtract(rng: random.Random) -> Pair:
    b, rest = rng.randint(0, 10), rng.randint(0, 10)
    a = b + rest
    op = rng.choice(("minus", "-", "-", "less"))
    return fill(rng.choice(SUMS + TAKES), a=a, b=b, op=op), f"{a} minus {b} is {rest}."


def multiply(rng: random.Random) -> Pair:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    op = rng.choice(("times", "*", "x", "multiplied by"))
    return fill(rng.choice(SUMS + TIMES), a=a, b=b, op=op), f"{a} times {b} is {a * b}."


def neighbour(rng: random.Random) -> Pair:
    a = rng.randint(1, 99)
    if rng.random() < 0.5:
        return fill(rng.choice(NEXT), a=a), f"After {a} comes {a + 1}."
    return fill(rng.choice(BEFORE), a=a), f"Before {a} comes {a - 1}."


def bigger(rng: random.Random) -> Pair:
    a, b = rng.sample(range(30), 2)
    return fill(rng.choice(BIGGER), a=a, b=b), f"{max(a, b)} is bigger."


def repeat(rng: random.Random) -> Pair:
    """Copying, mostly of strings that mean nothing: what tool arguments and names need as well."""
    words = [made_up_word(rng) if rng.random() < 0.15 else rng.choice(WORDS + NAMES + CITIES) for _ in range(6)]
    text = " ".join(words[: rng.choice((1, 1, 2, 2, 3, 4, 6))])
    text = text.lower() if rng.random() < 0.3 else text
    return fill(rng.choice(REPEAT), t=text), text


SKILLS: tuple[tuple[Callable[[random.Random], Pair], float], ...] = (
    (count_up, 3.0),
    (count_range, 1.5),
    (count_down, 1.2),
    (add, 4.0),
    (subtract, 3.0),
    (multiply, 3.0),
    (neighbour, 2.0),
    (bigger, 1.5),
    (repeat, 5.0),
)


def skill_patterns() -> list[str]:
    """All patterns in the form that `grammar.pattern_regex` reads."""
    out = []
    for pattern in ALL_PATTERNS:
        filled = pattern
        for slot, regex in SLOTS.items():
            filled = filled.replace(slot, regex)
        out.append(filled)
    return out


def sample_skill(rng: random.Random) -> Pair:
    makers, weights = zip(*SKILLS, strict=True)
    maker: Callable[[random.Random], Pair] = rng.choices(makers, weights)[0]
    return maker(rng)
