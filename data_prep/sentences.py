"""English sentences for the built-in corpus: a small grammar over the vocabulary in ``words.txt``.

Words are drawn uniformly, so that a sentence is as rich in phones as one of TIMIT's SX sentences,
and as unlikely.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TypeVar

import numpy as np

from data_prep.manifest import SPLITS

T = TypeVar("T")

HELD_OUT = {"dev": 0.04, "test": 0.08}  # fraction of the vocabulary that only this split uses
LENGTHS = range(5, 14)  # words
VOWELS = "aeiou"

ONE = ("the", "a", "my", "your", "his", "her", "our", "their", "this", "that", "every", "another")
MANY = ("the", "some", "these", "those", "two", "three", "five", "six", "nine", "ten", "few")
PREPOSITIONS = (
    *("above", "across", "after", "against", "along", "around", "at", "before", "behind", "below"),
    *("beneath", "beside", "between", "beyond", "by", "down", "from", "in", "inside", "into"),
    *("near", "off", "on", "over", "past", "through", "to", "toward", "under", "up", "with"),
)
MODALS = ("can", "could", "may", "might", "must", "shall", "should", "will", "would")
CLAUSES = ("I think", "she said", "we heard", "they knew", "he hoped", "you saw", "it seems")
JOINERS = ("and", "but", "while", "because", "although", "so", "when", "until", "unless", "if")
QUESTIONS = ("why", "where", "when", "how")
PRONOUNS = (
    *(("I", "me"), ("you", "you"), ("he", "him"), ("she", "her"), ("we", "us"), ("they", "them")),
)
TEMPLATES = (
    "{np} {vt} {np} {pp}.",
    "{np} {vi} {pp} {pp}.",
    "{np} {md} {adv} {vb} {np}.",
    "{adv} {np} {vt} {name} and {np}.",
    "{name} {vt} {np} {join} {np} {vi}.",
    "{pro} {md} {vb} {obj} {pp} {join} {pro} {vi}.",
    "{say} {name} {vt} {np} {pp}.",
    "did {np} {vb} {np} {pp}?",
    "{ask} did {name} {vb} {np} in {place}?",
    "{np} from {place} {vt} {np}.",
    "{np} {vi} {adv} {join} {np} seemed {adj}.",
    "{adj} {many} {vt} {np} {pp}.",
    "{pp} {np} {adv} {vt} {obj}.",
    "{name} and {name} {vi} from {place} to {place}.",
    "{pro} {vt} {np}, {np} and {np}.",
    "{np} grew {adj}, {adj} and {adj} {pp}.",
)


class Grammar:
    """Sentences for the three splits: no two are the same, and each split has words of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._said: set[str] = set()
        self._words: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
        for section, words in _sections():
            common = [words[i] for i in rng.permutation(len(words))]
            for split, fraction in HELD_OUT.items():
                own = round(fraction * len(words))
                self._words[split][section], common = common[:own], common[own:]
            for split in SPLITS:
                self._words[split][section] = self._words[split].get(section, []) + common

    def sentence(self, split: str) -> str:
        """Return a sentence for ``split`` that has not been returned before."""
        while True:
            text = self._pick(TEMPLATES)
            while "{" in text:
                part = text[text.index("{") : text.index("}") + 1]
                text = text.replace(part, self._expand(part[1:-1], split), 1)
            if len(text.split()) in LENGTHS and text not in self._said:
                self._said.add(text)
                return text[0].upper() + text[1:]

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._rng.integers(len(choices)))]

    def _expand(self, part: str, split: str) -> str:
        """Return words for the part of a template that is called ``part``."""
        words = self._words[split]
        match part:
            case "np":
                return self._noun_phrase(split)
            case "pp":
                return f"{self._pick(PREPOSITIONS)} {self._noun_phrase(split)}"
            case "vt":
                return _past(self._pick(words["transitive"]))
            case "vi":
                return _past(self._pick(words["intransitive"]))
            case "vb":
                return _base(self._pick(words["transitive"]))
            case "many":
                return _plural(self._pick(words["noun"]))
            case "adj" | "adv" | "name" | "place":
                section = {"adj": "adjective", "adv": "adverb"}.get(part, part)
                return self._pick(words[section])
            case "pro":
                return self._pick(PRONOUNS)[0]
            case "obj":
                return self._pick(PRONOUNS)[1]
            case _:
                choices = {"md": MODALS, "say": CLAUSES, "join": JOINERS, "ask": QUESTIONS}
                return self._pick(choices[part])

    def _noun_phrase(self, split: str) -> str:
        words = self._words[split]
        adjective = [self._pick(words["adjective"])] if self._rng.random() < 0.4 else []
        noun = self._pick(words["noun"])
        if self._rng.random() < 0.3:
            return " ".join([self._pick(MANY), *adjective, _plural(noun)])
        first, *rest = [self._pick(ONE), *adjective, _base(noun)]
        return " ".join(["an" if first == "a" and rest[0][0] in VOWELS else first, *rest])


def _base(entry: str) -> str:
    return entry.partition("/")[0]


def _plural(entry: str) -> str:
    noun, _, irregular = entry.partition("/")
    if irregular:
        return irregular
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x", "z")) else "s")


def _past(entry: str) -> str:
    verb, _, irregular = entry.partition("/")
    if irregular:
        return irregular
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def _sections() -> Iterator[tuple[str, list[str]]]:
    """Yield (section, entries) of ``words.txt``."""
    text = resources.files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
    for block in text.split("\n[")[1:]:
        section, _, words = block.partition("]\n")
        yield section, words.split()
