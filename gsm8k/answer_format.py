"""The XML answer format, which ``INSTRUCTION`` shows: writing it, recognising it, and reading the number in it."""

import re
from decimal import Decimal

INSTRUCTION = (
    "Solve the problem step by step. Write nothing but these two blocks, every tag on its own line, "
    "with the final number alone in the second:\n"
    "<reasoning>\nyour steps\n</reasoning>\n<answer>\nthe number\n</answer>"
)
TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")

# Text that holds none of the four tags. A plain lazy `.*?` would let `strict` accept repeated blocks,
# and a "." that does not match a newline would refuse every reasoning of two lines.
_BODY = r"(?:(?!</?(?:reasoning|answer)>)[\s\S])*"
_FILLED = rf"(?!\s*</(?:reasoning|answer)>){_BODY}"
_STRICT = re.compile(rf"<reasoning>\n{_FILLED}\n</reasoning>\n<answer>\n{_FILLED}\n</answer>\n?")
_SOFT = re.compile(rf"\s*<reasoning>{_BODY}</reasoning>\s*<answer>{_BODY}</answer>")
_REASONING = re.compile(rf"<reasoning>({_BODY})</reasoning>")
_ANSWER = re.compile(rf"<answer>({_BODY})</answer>")

_NUMBER = re.compile(
    r"([-+]?)\s*[$€£]?\s*([-+]?)"  # "-$5" and "$-5"
    r"((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,30})(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"  # "1,000", "18.", "18.50", ".5"
    r"\s*%?\s*\.?"
)


def format_completion(reasoning: str, answer: str) -> str:
    """The well-formed completion with this reasoning and answer."""
    return f"<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>"


def is_strict(completion: str) -> bool:
    """Whether the completion is the two blocks, neither empty, and nothing else but a newline after the last tag."""
    return _STRICT.fullmatch(completion) is not None


def is_soft(completion: str) -> bool:
    """Whether the completion begins with the two blocks, whatever the line breaks and what follows."""
    return _SOFT.match(completion) is not None


def extract_reasoning(completion: str) -> str | None:
    """The text of the first complete reasoning block, stripped; None where there is none."""
    match = _REASONING.search(completion)
    return match[1].strip() if match else None


def parse_answer(completion: str) -> Decimal | None:
    """The number in the last complete answer block, if there is one: an answer that was cut off is none."""
    blocks = _ANSWER.findall(completion)
    return parse_number(blocks[-1]) if blocks else None


def is_correct(completion: str, answer: str) -> bool:
    """Whether the completion's answer equals ``answer`` as a number."""
    value = parse_answer(completion)
    return value is not None and value == parse_number(answer)


def parse_number(text: str) -> Decimal | None:
    """The one number that ``text`` holds, exactly; None where it holds none or says more, as "1,00" and "18 or 19" do.

    A currency sign, thousands commas, a final period and a percent sign are notation, not value:
    "$1,000." is 1000, and "50%" is 50, because references give percentages as plain numbers.
    """
    match = _NUMBER.fullmatch(text.strip().replace("\N{MINUS SIGN}", "-"))
    if match is None or (match[1] and match[2]):
        return None
    value = Decimal(match[3].replace(",", ""))
    return value.copy_negate() if value and "-" in (match[1], match[2]) else value


def format_number(value: Decimal) -> str:
    """A number in its shortest notation: "18", "-7", "0.5"."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
