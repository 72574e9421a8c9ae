"""The grammar of answer instructions: numbers and the few words around them, read into a scale.

A :class:`Reader` walks over the numbers of an instruction from left to right and takes the first that
begins a range (1 to 7), a list (1, 2 or 3), a bound (up to 4) or an option with its label (1 for Yes).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from socrates.survey.scales import Scale

WIDEST = 10**9  # a wider range is a slip of reading, not a scale
WIDEST_WITH_CODES = 10**6  # beyond it, codes are left out
MASK = "\x00"  # stands for each character of a label, so that its numbers are never read


def _words(text: str) -> set[str]:
    return set(text.split())


LINK = (  # what may stand between a number and its label
    r"(?:=+>?|:|→|means?|meaning|is|being|for|if|when|to|represents?|representing|indicates?|indicating"
    r"|denotes?|denoting|as|corresponds?\s+to|corresponding\s+to|stands?\s+for|refers?\s+to|equals?"
    r"|signif(?:ies|ying)|labell?ed|reflects?|would\s+(?:be|mean))"
)
LINKS = _words(  # those that are links wherever they stand
    "= : → > means mean meaning is being for if when represents represent representing indicates indicate"
    " indicating denotes denote as corresponds corresponding stands refers equals signifies labeled labelled"
    " reflects would to otherwise"
)


ONES = "zero one two three four five six seven eight nine ten eleven twelve"
ROUND = "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand"
WORDS = dict(zip(f"{ONES} {ROUND}".split(), [*range(13), *range(20, 101, 10), 1000], strict=True))
TIMES = {"hundred": 100, "k": 1000, "thousand": 1000, "million": 10**6, "billion": 10**9}
TOKEN = re.compile(
    rf"(?P<label>{MASK}+)"
    r"|(?P<skip>(?:[$€£]\s?)?\d[\d,]*\.\d+%?|\d+(?!k\b)[A-Za-z]\w*)"
    r"|(?:[$€£]|\b(?:US\$|USD|EUR|GBP)\s?)?"
    r"(?P<number>[1-9]\d{0,2}(?:(?:[,\u00a0\u2009\u202f]\d{3})+|(?:\ 000)+)(?!\d)|\d+)"
    rf"(?:\s*(?P<times>{'|'.join(TIMES)})\b)?(?:\s?%)?"
    r"|(?:one|a)\s+(?P<round>hundred|thousand|million)\b"
    r"|(?P<word>[A-Za-z]+(?:[’'][a-z]+)?)"
    r"|(?P<dots>\.{2,}|…)"
    r"|(?P<dash>\s*[-−–—‐‑]\s*)"
    r"|(?P<mark>>=|<=|[^\s\w\"'“”‘’])",
    re.IGNORECASE,
)
UNITS = _words(
    "dollars dollar euros percent percentage points point cents hours minutes days weeks months years degrees"
    " stars"
)
# What may stand before a range or a list that has no "from" or "between".
BARE = _words(
    "integer integers number numbers digit value values rating score scale range either with only return enter"
    " are is be set { rate choose select answer respond reply use using pick give type write , ( : [ slider"
)
ANSWER = _words("answer choose enter give press respond return say select type use write")
OPENS_OPTION = ANSWER | _words(
    ", ; ( [ { . | / : a number integer digit value or and where with either while then that which"
)
NO_ANSWER = re.compile(
    rf"\W*(?:{LINK}(?!\w))?\W*(?:to\s+)?(?:you(?:\s+are|['’]re)?\s+|i(?:\s+am|['’]m)?\s+)?"
    r"(?:do\s+not\s+know|don['’]?t\s+know|dk\b|not\s+sure|unsure|no\s+opinion|no\s+answer|prefer\s+not|refuse"
    r"|declin|skip|not\s+applicable|n/?a\b|missing|can(?:not|['’]t)\s+(?:say|choose|decide)|undecided"
    r"|other\b|none\b|neither\b|would\s+rather\s+not|have\s+no\s+opinion|did\s+not\s+answer)(?![^,;.]*\bat\s+all)",
    re.IGNORECASE,
)
SIGNS = {"-": -1, " -": -1, "minus": -1, "negative": -1, "+": 1, "plus": 1, "positive": 1}
LABEL_FIRST = re.compile(  # Yes = 1, No (2), If no, return 2
    rf"(?:[A-Za-z\"'”’){MASK}]\s*(?:[=:]\s*|[(\[])|\bif\b[^.?!;\d]{{2,80}}\b(?:{'|'.join(sorted(ANSWER))})\s+)"
    r"(-?\d{1,3})(?![\w.,]\d|\w)[)\]]?",
    re.IGNORECASE,
)
ENUMERATED = (
    re.compile(r"(?<![^\s(\[])(\d{1,2})[.)\]]\s+(?=[\w\"'“‘$])"),  # 1) Yes
    re.compile(r"(?:^|(?<=\n))[\s*•-]*(\d{1,2})\s+(?:[-–—]\s+)?(?=[A-Za-z])"),  # 1 Yes, at the head of a line
    LABEL_FIRST,
)
STEP = re.compile(
    r"(?:(?P<rise>increments?|steps?|intervals?)|multiples?|units?) of|divisible by|the nearest"
)
CONDITION = re.compile(r"\b(?:if|when)\b[^.;]{3,60}$", re.IGNORECASE)
TENS = {"fives": 5, "5s": 5, "tens": 10, "10s": 10, "hundreds": 100, "100s": 100, "thousands": 1000}
SCALE_WORDS = _words("scale scales range ranges ranging rating rate rated thermometer slider")
ANCHOR_WORDS = _words("where with scale such which rate rating")
NOUNS = _words("integer number value rating score digit")
# What a bound may be of: "a number under 30", but not "the adults under 30".
BOUNDED = BARE.union(
    UNITS, _words("of and but or that which does can should must representing amount n x year age from")
)
SUBJECT = re.compile(r"([a-z]+)(?:\s+(?:a|an|any|the|with))*\s*$")
END = r"(?: value| score| rating| answer| number)?(?: of| is|:| =)?"
NOT = r"\b(?:nor? |(?:not|\w+n['’]t) (?:be |go )?)"
MORE = r"(?:(?:greater|more|higher|larger|bigger) than|above|over|exceed(?:ing)?)"
LESS = r"(?:(?:less|fewer|lower|smaller) than|below|under)"
# What stands around a bound's number (#); whether it is the lower; how far from the number it lies.
LOW = (
    rf"(?:at least|{NOT}{LESS}|\b(?:min(?:imum)?|lowest){END}|starting (?:at|from)|{MORE} or equal to|≥|>=)#"
    r"|#(?:or (?:more|greater|higher|above|over|larger)|(?:or|and) (?:up|above)|upwards?\b|<=|≤)"
)
HIGH = (
    rf"(?:up to(?: and including)?|at most|{NOT}{MORE}|\b(?:max(?:imum)?|highest){END}|{LESS} or equal to|≤|<=)#"
    r"|#(?:or (?:less|fewer|lower|below|under|smaller)|and below|>=|≥)"
)
BOUNDS = ((LOW, True, 0), (HIGH, False, 0), (rf"(?:{MORE}|>)#", True, 1), (rf"(?:{LESS}|<)#", False, -1))


@dataclass(frozen=True)
class ParsedScale:
    """What a text states about the integers that answer it.

    Attributes:
        rule: how it is stated: ``range`` (1 to 7), ``step`` (a multiple of 100 between ...), ``labels`` (1 for Yes or
            2 for No), ``list`` (1, 2 or 3), ``anchors`` (1 means never and 7 means always, no range), ``one_sided`` (up
            to 4), or ``question`` (no range in the instruction, but one in the question: "On a scale from 1 to 5").
        scale: the allowed integers, codes such as "99 for don't know" included: who may give an answer is asked to
            give it, so it is a possible response. None where one end is open.
        low, high: of an open ``one_sided`` statement, the end that is stated.
    """

    rule: str
    scale: Scale | None
    low: int | None = None
    high: int | None = None

    def allows(self, response: int) -> bool:
        """Whether the statement allows this answer; an open end allows everything beyond it."""
        if self.scale is not None:
            return response in self.scale.options
        return (self.low is None or response >= self.low) and (self.high is None or response <= self.high)


class Token(NamedTuple):
    """A number, word, label (an option's masked text), dash or mark, with its position in the text."""

    kind: str
    text: str
    value: int
    start: int
    end: int


def tokenise(text: str) -> list[Token]:
    tokens: list[Token] = []
    for match in TOKEN.finditer(text):
        kind, said, value = match.lastgroup or "", match[0].lower(), 0
        if kind in ("number", "times", "round") or said in WORDS:
            kind, times = "number", TIMES.get((match["times"] or match["round"] or "").lower(), 1)
            value = WORDS[said] if said in WORDS else times * int(re.sub(r"\D", "", match["number"] or "1"))
            if tokens and (sign := tokens[-1]).text in SIGNS:
                before = tokens[-2].kind if len(tokens) > 1 else ""
                glued = sign.text == "-" and text[max(0, sign.start - 1)].isalnum()  # 1-to-7
                touching = sign.end == match.start() and before not in ("number", "label")
                if (touching and not glued) or sign.kind == "word":
                    tokens.pop()
                    value *= SIGNS[sign.text]
        if kind == "dash":
            said = said.replace(said.strip(), "-")
        tokens.append(Token(kind, said, value, match.start(), match.end()))
    return tokens


class Reader:
    """Reads the scale that a ``text`` states, an instruction or a question with its labels masked.

    ``original`` is the same unmasked, for telling "don't know" from other labels.
    """

    def __init__(self, text: str, original: str) -> None:
        self.text, self.original = text, original
        self.step = 1
        self.phase: int | None = None  # 0: multiples of the step; 1: odd numbers; None: from the low end
        self.tokens = self._without_step(tokenise(text))

    def read(self, free_until: int) -> ParsedScale | None:
        """The scale, or None.

        Up to ``free_until`` the text is an instruction, where any range or bound is the scale; beyond it, only what
        names itself one ("on a scale from", "1 = low; 5 = high").
        """
        for at, token in enumerate(self.tokens):
            if token.kind != "number":
                continue
            free = token.start < free_until
            stated = self._range(at, free)
            if not stated and free:
                stated = self._list(at) or self._bounds(at, free_until)
            if stated:
                return stated
            if self._is_option(at, first=free):
                if labels := self._labels(at, free):
                    return labels
                break
        if listed := self._enumerated(free_until > 0):
            return listed
        low = self._sign(free_until)
        return None if low is None else ParsedScale("one_sided", None, low)

    def _enumerated(self, free: bool) -> ParsedScale | None:
        """``1) Yes 2) No``, ``(2) Yes (1) No`` or ``Yes = 1, No = 2``, when the numbers follow one another."""
        found = [list(pattern.finditer(self.text)) for pattern in ENUMERATED]
        for items in sorted(found, key=len, reverse=True):
            values = sorted({int(item[1]) for item in items})
            if len(values) < 2 or len(values) < len(items):
                continue
            after = items[0].re is LABEL_FIRST
            rest = self.text[items[-1].end() :]
            between = self.text[items[-2].end() : items[-1].start(1)].rstrip(" ([")
            spans = after and len(items) == 2 and re.match(r"\W*to\b", between)  # never (1) to always (7)
            if not free:
                few = after and len(items) == 2 and not spans and "=" not in items[-1][0]
                goes_on = re.search(r"[^\s.?!,;:\"'”’)]" if after else r"\n\s*\S", rest)
                if values[0] not in (0, 1) or few or goes_on or between.endswith(" and"):
                    continue
            named = {
                int(item[1]) for item in items if after or not NO_ANSWER.match(self.original, item.end(1) + 1)
            }
            for core in (values, sorted(named)):
                if len(core) > 1 and core == list(range(core[0], core[-1] + 1)):
                    return ParsedScale("labels", Scale(values))
            if spans:
                return self._stated("range", values[0], values[1], len(self.tokens))
        return None

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _kind(self, at: int) -> str:
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else ""

    def _without_step(self, tokens: list[Token]) -> list[Token]:
        """Takes "a multiple of 100", "in increments of 5", "$10 steps" or "even" out of the tokens."""
        for at, token in enumerate(tokens):
            words = " ".join(before.text for before in tokens[max(0, at - 2) : at])
            after = tokens[at + 1].text if at + 1 < len(tokens) else ""
            if token.text in ("even", "odd") and after in NOUNS | {"whole"}:
                self.step, self.phase = 2, int(token.text == "odd")
                return tokens[:at] + tokens[at + 1 :]
            if token.value > 0 and (said := STEP.fullmatch(words)):
                self.step, self.phase = token.value, None if said["rise"] else 0
                return tokens[: at - 2] + tokens[at + 1 :]
            if token.text in TENS and words.endswith(("in", "by")):
                self.step = TENS[token.text]
            if token.text in ("increments", "steps", "intervals") and after != "of":
                for back in range(at - 1, max(-1, at - 4), -1):
                    if tokens[back].value > 0:
                        self.step = tokens[back].value
                        return tokens[:back] + tokens[at + 1 :]
        return tokens

    def _range(self, at: int, free: bool) -> ParsedScale | None:
        """``1 to 7``, ``between 0 and 100``, ``from 1 (low) to 5 (high)``, ``1-7 scale``."""
        opener = self._text(at - 1)
        prefixed = opener in ("from", "between") or (opener == "of" and self._text(at - 2) in SCALE_WORDS)
        end = self._range_end(at, prefixed)
        if end is None:
            return None
        while further := self._range_end(end, False):  # -3 (bad) to 0 (neutral) to 3 (good)
            end = further
        low, high = sorted((self.tokens[at].value, self.tokens[end].value))
        if 1900 <= low <= high <= 2100 and self._text(at - 1 - prefixed) not in BARE | {"year"}:
            return None  # "the hours worked between 2010 and 2020"
        if not (self._belongs(at, end, prefixed) if free else self._names_itself(at, end)):
            return None
        return self._stated("step" if self.step > 1 else "range", low, high, end)

    def _range_end(self, at: int, prefixed: bool) -> int | None:
        """Where the range's second number stands; labels, and after "from" any words, may come before."""
        for to in range(at + 1, min(at + (25 if prefixed else 4), len(self.tokens))):
            text, kind = self._text(to), self._kind(to)
            ahead = to + (3 if kind == "dash" and self._text(to + 1) == "to" else 1)  # 1-to-7
            joins = (
                text in ("to", "through", "thru", "until", "till")
                or kind in ("dash", "dots")
                or (prefixed and text in ("and", "&"))
            )
            if joins and self._kind(ahead) == "number":
                return ahead
            between = prefixed or kind == "label" or text in UNITS
            if kind == "number" or not between or text in (".", "?", ";"):
                return None
        return None

    def _belongs(self, at: int, end: int, prefixed: bool) -> bool:
        """Whether a range inside an instruction is the answers'; without "from" it needs a sign of that."""
        low, high = self.tokens[at].value, self.tokens[end].value
        if self._counts_things(at, end) or (low > high and prefixed and self._text(at - 2) not in BOUNDED):
            return False  # "the hours you work from 9 to 5"
        ahead = {self._text(here) for here in range(end + 1, end + 4)}
        closes = self._text(at + 1) == "-" and self._text(end + 1) in ("", ".", "?", ")") and low in (0, 1)
        return prefixed or closes or self._text(at - 1) in BARE or bool(ahead & SCALE_WORDS)

    def _counts_things(self, at: int, end: int) -> bool:
        """Whether the number says how many things to write or choose: ``3 to 5 words``, where none is asked for."""
        thing, asked = self._text(end + 1), NOUNS & {token.text for token in self.tokens[:at]}
        plural = re.fullmatch(r"\w{2,}[^\Wius]s", thing) and thing not in UNITS | LINKS
        several = plural and self.tokens[at].value > 0
        return thing in ("digit", "digits") or bool(several and not asked)

    def _names_itself(self, at: int, end: int) -> bool:
        """Whether a range outside an instruction says that it is the answers' range."""
        opener, closer = self._text(at - 1), self._text(end + 1)
        near = {token.text for token in (*self.tokens[max(0, at - 4) : at], *self.tokens[end + 1 : end + 4])}
        labelled = self._kind(at + 1) == "label" and self._kind(end + 1) == "label"
        bracketed = opener in ("(", "[") and closer in (")", "]")
        last = not self.text[self.tokens[end].end :].strip(" \n?.\"'”’)")
        aside = (
            opener in ("from", "between")
            and self._text(at - 2) in (",", "(", ":")
            and (last or closer == ",")
        )
        alone = at == 0 and last and not self.text.rstrip().endswith("?")  # How sure are you? 0% to 100%
        dotted = any(token.kind == "dots" for token in self.tokens[at:end])
        likely = bracketed or aside or alone or dotted or bool(near & SCALE_WORDS)
        low = min(self.tokens[at].value, self.tokens[end].value)
        return labelled or bool(near & {"scale", "thermometer"}) or (likely and low <= 1)

    def _list(self, at: int) -> ParsedScale | None:
        """``1 or 2``, ``1, 2, 3``, ``0/1``; with dots, a range (of tens: ``0, 10, 20, ..., 100``)."""
        opener, before = self._text(at - 1), self._text(at - 2)
        chosen = opener in ("following", "from") or before in ("any", "either", "one", "set")
        inside = opener == "," and self._kind(at - 2) == "number"
        if inside or not (at == 0 or opener in BARE or chosen):
            return None
        values, end, dots = [self.tokens[at].value], at, False
        while True:
            ahead = end + 1
            while self._text(ahead) in (",", ";", "or", "and", "/", "|") or self._kind(ahead) == "dots":
                dots = dots or self._kind(ahead) == "dots"
                ahead += 1
            labelled = self._links(ahead) and self._text(ahead + 1) != ":"
            if ahead == end + 1 or self._kind(ahead) != "number" or labelled:
                break
            values.append(self.tokens[ahead].value)
            end = ahead
        if len(set(values)) < 2 or self._counts_things(at, end):
            return None
        interval = len(values) == 2 and opener == "[" and before != "of"
        even = range(values[0], values[-1] + 1, max(1, values[1] - values[0]))
        if dots and even.step > 1 and len(values) > 3 and set(values) <= set(even):
            return self._with_codes("step", even, end)
        if dots or interval:
            return self._stated("range", min(values), max(values), end)
        return self._with_codes("list", sorted(set(values)), end)

    def _bounds(self, at: int, free_until: int) -> ParsedScale | None:
        """``at least 0``, ``no more than 20``, or both."""
        ends: dict[bool, int] = {}  # whether it is the lower -> value
        for here in range(at, len(self.tokens)):
            token = self.tokens[here]
            if token.start >= free_until:
                break
            if token.kind != "number":
                continue
            before = self.text[max(0, token.start - 60) : token.start].lower().rstrip(" $€£")
            around = f"{before}#{self._text(here + 1)} {self._text(here + 2)}"
            found = ((re.search(pattern, around), is_low, shift) for pattern, is_low, shift in BOUNDS)
            said, is_low, shift = next((bound for bound in found if bound[0]), (None, False, 0))
            if said is None:
                if here == at or self._is_option(here):
                    break
                continue
            ends[is_low] = token.value + shift
            subject = SUBJECT.search(before[: said.start()])
            if (subject and subject[1] not in BOUNDED) or self._counts_things(here, here):
                return None
        if not ends:
            return None
        low, high = ends.get(True, self._sign(free_until)), ends.get(False)
        if low is not None and high is not None:
            return self._stated("step" if self.step > 1 else "range", low, high, at)
        return ParsedScale("one_sided", None, low, high)

    def _sign(self, free_until: int) -> int | None:
        """The lowest answer where the instruction asks for a positive or non-negative number."""
        words = self.text[:free_until].lower()
        zero = re.search(r"\bnon\W?negative\b|\b(?:0|zero) or (?:a )?positive\b", words)
        return 0 if zero else 1 if re.search(r"\bpositive (?:whole |integer|number)", words) else None

    def _links(self, at: int) -> bool:
        """Whether the number is followed by a label."""
        text, kind = self._text(at + 1), self._kind(at + 1)
        if text == "to" or kind == "dash":  # 1 - Yes, but not 7-point
            return self._kind(at + 2) == "word" and (text == "to" or len(text) == 3)
        return kind == "label" or text in LINKS

    def _is_option(self, at: int, first: bool = False) -> bool:
        opener, after = self._text(at - 1), self._text(at + 1)
        rest = opener if opener not in OPENS_OPTION else self._text(at - 2)
        otherwise = rest in ("else", "otherwise")  # 1 if yes, otherwise 0
        if self._kind(at) != "number" or not (self._links(at) or otherwise):
            return False
        opens = first or at == 0 or otherwise or opener in OPENS_OPTION
        return opens or self._kind(at - 1) == "label" or after in ("=", ":", "→") or self._climbs(at)

    def _climbs(self, at: int) -> bool:
        """Whether an option is the end of a ladder: ``1 if you accept, up to 4 if you object``."""
        return self._text(at - 1) in ("to", "through") and self._kind(at - 2) != "number"

    def _labels(self, first: int, free: bool) -> ParsedScale | None:
        """``1 for Yes or 2 for No`` is these options; ``where 1 means low and 7 means high`` a range."""
        indices = [first, *(at for at in range(first + 1, len(self.tokens)) if self._is_option(at))]
        if any(self.tokens[at].text not in WORDS for at in indices):
            indices = [at for at in indices if self.tokens[at].text not in WORDS]
        named = {self.tokens[at].value: at for at in reversed(indices)}
        if len(named) < 2:
            return None
        words = {token.text for token in self.tokens[:first]}
        head = self._text(1) if first == 0 else ""
        marked, opens = bool(words & ANCHOR_WORDS), head in ("for", "if")
        means = head in ("means", "is", "indicates", "represents")
        marks = ("=", ":", "→", " - ")
        plain = all(self._text(at + 1) in marks or self._kind(at + 1) == "label" for at in indices)
        if not (free or marked or opens or means or plain):
            return None
        known = [
            value for value, at in named.items() if not NO_ANSWER.match(self.original, self.tokens[at].end)
        ]
        core = sorted(known if len(known) > 1 else named)
        if any(map(self._climbs, indices)):
            return self._stated("one_sided", core[0], core[-1], indices[0])
        consecutive = core == list(range(core[0], core[-1] + 1))
        joined = len(core) == 2 and self._text(max(named[value] for value in core) - 1) == "and"
        article = bool(words & {"a", "an", "single"} and words & NOUNS)
        if not consecutive and (marked or joined or article or not (free or opens)):
            return self._stated("anchors", core[0], core[-1], indices[0])
        return ParsedScale("labels", Scale(sorted(named)))

    def _stated(self, rule: str, low: int, high: int, end: int) -> ParsedScale | None:
        if not low < high <= low + WIDEST:
            return None
        start = low if self.phase is None else low + (self.phase - low) % self.step
        options = range(start, high + 1, self.step)
        return self._with_codes(rule, options, end) if len(options) > 1 else None

    def _with_codes(self, rule: str, options: Sequence[int], end: int) -> ParsedScale:
        """The options and the codes outside them, numbers with a label of their own: ``or 99 for don't know``."""
        codes = set()
        for at in range(end + 1, len(self.tokens)):
            opener, code = self._text(at - 1), self.tokens[at]
            if code.kind != "number" or options[0] <= code.value <= options[-1]:
                continue
            labelled = "label" in (self._kind(at + 1), self._kind(at + 2)) or at <= end + 4
            own = NO_ANSWER.match(self.original, code.end) or (labelled and opener in ANSWER | {"or"})
            between = self.text[self.tokens[end].end : code.start]
            told = opener in ANSWER | {"with"} and CONDITION.search(between)
            if (own and self._is_option(at)) or (told and not self._links(at)):
                codes.add(code.value)
        if codes and len(options) <= WIDEST_WITH_CODES:
            options = sorted({*options, *codes})
        return ParsedScale(rule, Scale(options))
