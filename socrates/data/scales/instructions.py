"""Finds the answer instruction of a stimulus ("Only return an integer from 1 to 7, ...") and its scale.

A stimulus holds scenario, question and instruction in one text. This file finds the sentences that
instruct; :mod:`socrates.data.scales.grammar` reads them.
"""

import dataclasses
import html
import itertools
import re

from socrates.data.scales.grammar import LINK, MASK, ParsedScale, Reader

VERB = (
    r"(?:return|respond|reply|answer|enter|give|provide|choose|select|pick|type|write|rate|report|indicate"
    r"|output|state|use|submit|express|mark|score|say|circle|tick|rank|slide|drag)"
)
NOUN = r"(?:integers?|numbers?|digits?|values?|ratings?|scores?|whole|multiples?)"
CLOSERS = r"[\"'”’)\]]*"
# An instruction begins at "only return", "please answer", "respond with a number", "your answer should",
# or at one of the verbs when a sentence or a quotation begins with it.
CUE = re.compile(
    rf"\b(?:only|please|pls|just)\s+(?:only\s+|just\s+|simply\s+)?{VERB}\b"
    rf"|\b{VERB}\s+(?:(?:only|just|with|using|as|on|me|back|exactly|single|one|either|an?|the)\s+)*{NOUN}\b"
    rf"|\b{VERB}\s+(?:only\s+)?(?:with|only)\s+(?:only\s+|either\s+)?[-−–+$]?\d"
    r"|\byour\s+(?:answer|response|rating|reply|estimate|choice)(?:\s+(?:should|must|may|can|has|needs|is)\b|:)"
    rf"|\bif\b[^.?!;\d]{{2,80}},\s*{VERB}\s+\d"
    r"|\b(?:the|valid|possible|allowed|acceptable)\s+(?:answers?|responses?|values)"
    r"(?:\s+(?:range|run|should|must|are|is)\b|\s*:)"
    rf"|(?<=\D:)\s*[\"“‘']{VERB}\b",
    re.IGNORECASE,
)
IMPERATIVE = re.compile(
    rf"\W*(?:(?:simply|now|then|next|finally|kindly|always|please)\s+)?(?:{VERB}\b(?!\s+of\b)|(?:press|code)\s+\d+\s+(?:for|if|to)\b|(?:answer|response|rating)s?:)",
    re.IGNORECASE,
)
# Not after an initial, an abbreviation, or the number that opens a line of options.
SENTENCE_END = re.compile(
    rf"[.?!\n]+(?<![^.?!\n]\n)(?<!\b[A-Z]\.)(?<!\b(?:Dr|Mr|Ms|vs|St|No)\.)(?<!\b(?:Mrs|etc|e\.g|i\.e)\.)(?<!\n\d\.)(?<!\n\d\d\.)(?<!\A\d\.)(?<!\.\.\.)"
    rf"(?:(?<=\n)|{CLOSERS}(?=\s+\S))"
)
RATING = re.compile(rf"\b(?:{VERB}|the\s+scale)\b|\?|=", re.IGNORECASE)
SCALE_SENTENCE = re.compile(
    r"\W*(?:(?:on|the\s+scale\s+(?:runs|goes|ranges)|using|use|rate(?!\s+of\b)|please|options|response options|scale)\b"
    r"|\d+\s*[=)])",
    re.IGNORECASE,
)

# Characters at the end of a stimulus in which its instruction is looked for. 500 would give the same in every real
# text at hand. The time grows with their square where a text is made of instructions that state nothing.
READ = 4_000

# What a copied page brings along, and how it is written plainly.
PLAIN = str.maketrans({"\u200b": None, "\ufeff": None, "`": '"', "«": '"', "»": '"', "*": " "})
REWRITTEN = (
    (re.compile(r"</?(?:p|br|hr|li|ol|ul|h\d|tr|div|table)\b[^<>]*>", re.IGNORECASE), "\n"),
    (re.compile(r"</?(?:a|b|i|u|em|td|th|font|span|strong|sub|sup)\b[^<>]*>", re.IGNORECASE), " "),
    (re.compile(r"(?<=\n)([ \t]*\d{1,2}[.)][^\n]*?)\.?\s*\n(?=\s*\d)"), r"\1\n"),  # a line of options
    (re.compile(r"(?<=\d)(?=(?:to|for|if|where|means)(?:\b|\d))|(?<=\n\d[.)])(?=[A-Za-z])"), " "),  # 1to7
    (re.compile(r"[-–—]{1,2}>"), "→"),
    (re.compile(r"(?<=\d)\s*[~～]\s*(?=\d)"), "-"),
)
# Three options or more in a row: their dots end no sentence.
DOTTED = re.compile(r"(?:(?:^|[\s(])\d{1,2}\.\s(?:(?![\s(]\d{1,2}\.\s)(?:[^.?!]|[.?!](?!\s))){1,150}){3,}")
# Answers that are no integers.
FRACTIONS = re.compile(
    r"(?<!\bnot )\b(?:a|one|two|three|\d|with) decimals?\b(?! system)"
    r"|(?<!\bno )\bdecimals? (?:(?:are|is) )?(?:point|allowed|ok|fine)|\breal number|\bhalf.(?:point|step|star)"
    r"|(?:of|nearest|such as|e\.g\.,?) \d*\.\d|\bprobability (?:between|from) 0 (?:and|to) 1\b",
    re.IGNORECASE,
)

NUMBER = r"[-−–+]?\s?[$€£]?\d[\d,]*%?"
QUOTED = (
    r"(?![\"'“‘]\s*[-−–+]?\d+\s*[\"'”’])(?:\"[^\"\s][^\"]{0,400}?\"|“[^”]{1,400}”|‘(?:[^’]|’(?=\w)){1,400}’|'(?:[^'\s]|(?<=\w)'(?=\w))"
    r"(?:[^']|'(?=\w)){0,400}')"
)
# A bracket after a number holds its label, unless it opens with a code of its own: "5 (1=low; 5=high)".
CODE_INSIDE = (
    rf"(?:or|use|enter|return|where|with|and)\b|[-−–]?\d[\d,]*\s*(?:{LINK})(?!\w)(?!\s*\d)"
    r"|\d{1,2}\s*[)\]]|[^()\[\]]*\b(?:increments|steps|intervals|multiples)\b"
)
LABEL = re.compile(
    rf"(?<![\w.])(?:{NUMBER}|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten))[\"'”’]?"
    rf"(?:(?P<link>\s*,?\s*\b{LINK}(?!\w)\s*|\s*(?:=|:|→|\s[-–—]\s)\s*|\s+)(?P<quoted>{QUOTED})"
    rf"|\s*(?P<bracket>\((?!\s*(?:{CODE_INSIDE}))[^()]*\)|\[(?!\s*(?:{CODE_INSIDE}))[^\[\]]*\]))",
    re.IGNORECASE,
)


def parse_instruction(stimuli: str) -> ParsedScale | None:
    """The scale that a stimulus states in its answer instruction, or None where it states none.

    The last instruction of the text counts; sentences of instruction in a row are one. Where it gives no
    range (``Only return an integer``), the question directly before it may (``On a scale from 1 to 5,
    ...``); nothing earlier is looked at, so a range of the scenario (``ages 18 to 35``) is never taken, and
    nothing further from the end than :data:`READ`. An instruction that asks for decimals states no integers.
    """
    stimuli = html.unescape(stimuli[-READ:]).translate(PLAIN)
    for pattern, plain in REWRITTEN:
        stimuli = pattern.sub(plain, stimuli)
    stimuli = DOTTED.sub(_bracketed, stimuli)
    text = LABEL.sub(_masked, stimuli)
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    rest = [] if ends and not text[ends[-1] :].strip() else [len(text)]
    sentences = list(itertools.pairwise([0, *ends, *rest]))
    spans: list[tuple[int, int]] = []  # of the question
    first = len(sentences)  # of the instruction
    for index, (start, end) in reversed(list(enumerate(sentences))):
        found = [IMPERATIVE.match(text, start, end), *CUE.finditer(text, start, end)]
        cues = [match.start() for match in found if match]
        asks = text[start:end].rstrip(" \"'”’)]").endswith("?")
        if spans and (not cues or asks):
            break
        if cues and FRACTIONS.search(stimuli, cues[0]):
            return None
        for cue in reversed(cues):
            if stated := Reader(text[cue:], stimuli[cue:]).read(end - cue):
                return stated
        if cues:
            first, spans = index, [(start, cues[0])]
    # the last sentence is the question; one before it must ask for a rating itself
    for index in range(first - 1, max(first - 4, -1), -1):
        start, end = sentences[index]
        if index < first - 1 and not (SCALE_SENTENCE.match(text, start) and RATING.search(text, start, end)):
            break
        spans.append((start, end))
    for start, end in spans:
        if stated := Reader(text[start:end], stimuli[start:end]).read(0):
            # the instruction may add a code: "(88 = don't know)"
            whole = Reader(text[start:], stimuli[start:]).read(0)
            if whole and whole.scale and stated.scale and len(stated.scale.options) <= 1000:
                stated = whole if set(stated.scale.options) < set(whole.scale.options) else stated
            return dataclasses.replace(stated, rule="question")
    return None


def _bracketed(run: re.Match[str]) -> str:
    """``1. Yes 2. No 3. Both`` with brackets for dots; what does not count up or down is as it was."""
    numbers = sorted(int(number) for number in re.findall(r"(?:^|[\s(])(\d+)\.(?=\s)", run[0]))
    counts = numbers == list(range(numbers[0], numbers[-1] + 1))
    return re.sub(r"(\d)\.(?=\s)", r"\1)", run[0]) if counts else run[0]


def _masked(match: re.Match[str]) -> str:
    start, end = (at - match.start() for at in match.span(match.lastgroup or 0))
    return match[0][:start] + MASK * (end - start) + match[0][end:]
