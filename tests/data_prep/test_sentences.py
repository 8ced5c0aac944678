import re

import numpy as np

from data_prep.manifest import SPLITS
from data_prep.sentences import LENGTHS, Grammar


def words(sentences: list[str]) -> set[str]:
    return {word for sentence in sentences for word in re.findall("[a-z]+", sentence.lower())}


def spoken(seed: int, count: int) -> dict[str, list[str]]:
    grammar = Grammar(np.random.default_rng(seed))
    return {split: [grammar.sentence(split) for _ in range(count)] for split in SPLITS}


def test_one_seed_gives_the_same_sentences() -> None:
    assert spoken(3, 50) == spoken(3, 50)
    assert spoken(3, 50) != spoken(4, 50)


def test_sentences_are_sentences() -> None:
    for sentence in spoken(0, 500)["train"]:
        assert len(sentence.split()) in LENGTHS
        assert re.fullmatch(r"[A-Z][A-Za-z ,]*[.?]", sentence), sentence
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", sentence), sentence


def test_splits_are_disjoint_and_have_words_of_their_own() -> None:
    sentences = spoken(0, 1000)
    everything = [sentence for split in SPLITS for sentence in sentences[split]]
    assert len(everything) == len(set(everything))
    vocabulary = {split: words(sentences[split]) for split in SPLITS}
    assert len(vocabulary["train"]) > 1900
    for split, others in (("dev", ("train", "test")), ("test", ("train", "dev"))):
        own = vocabulary[split].difference(*(vocabulary[other] for other in others))
        assert len(own) > 50
