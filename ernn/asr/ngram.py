"""Phone n-gram: interpolated Kneser-Ney, kept as an ARPA file, read by KenLM.

Kneser and Ney, *Improved backing-off for m-gram language modeling*, ICASSP 1995, in the
interpolated form of Chen and Goodman, *An empirical study of smoothing techniques for language
modeling*, 1999: absolute discounting in which a shorter n-gram counts once for each phone that it
was seen after. nltk counts and discounts; KenLM (in flashlight-text) reads and scores.

The n-gram learns what is said as well as how phones follow each other: where test sentences repeat
training sentences it gives the test away. The 2,500 sentences of speechocean762's training half are
all different; TIMIT's SX sentences and the built-in corpus's are disjoint between its parts.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from tqdm import tqdm

from ernn.files import atomic

BEGIN, END = "<s>", "</s>"
HIGHEST_ORDER = 6  # of KenLM as it is built
DISCOUNT = 0.75  # taken off every count


class NGram:
    """A phone n-gram, ready for a decoder.

    Args:
        path: an ARPA file.
        symbols: the phone set; phone ``symbols[i]`` is class i + 1.

    Attributes:
        path, symbols: as given.
        model: the language model for flashlight's decoders, over classes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not an ARPA model, or lacks one of the phones.
    """

    def __init__(self, path: Path | str, symbols: Sequence[str]):
        self.path, self.symbols = Path(path), tuple(symbols)
        if missing := set(symbols) - _words(self.path):
            raise ValueError(f"{path}: has no phone {min(missing)!r}")
        classes = Dictionary()
        for symbol in ("<unk>", *symbols):  # the blank is never asked for
            classes.add_entry(symbol)
        try:
            with _standard_error_closed():
                self.model = KenLM(str(path), classes)
        except RuntimeError as error:
            raise ValueError(f"{path}: {str(error).strip().splitlines()[-1]}") from None

    def log_probability(self, phones: Sequence[str]) -> float:
        """Natural logarithm of the probability of an utterance, its end included."""
        state, total = self.model.start(False), 0.0
        for phone in phones:
            state, log10 = self.model.score(state, 1 + self.symbols.index(phone))
            total += log10
        return (total + self.model.finish(state)[1]) * math.log(10)

    def perplexity(self, utterances: Iterable[Sequence[str]]) -> float:
        """Perplexity a phone; the end of each utterance counts as one."""
        utterances = list(utterances)
        total = sum(self.log_probability(phones) for phones in utterances)
        return math.exp(-total / sum(len(phones) + 1 for phones in utterances))


def _words(path: Path) -> set[str]:
    """Words of an ARPA file. KenLM would read a binary model as well, and trust it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        section = lines[lines.index("\\1-grams:") + 1 :]
    except ValueError:  # of which UnicodeDecodeError is one
        raise ValueError(f"{path}: not an ARPA file") from None
    return {line.split()[1] for line in takewhile(lambda line: len(line.split()) > 1, section)}


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Keep the process's standard error shut: KenLM writes its progress there."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def train_ngram(
    train: Iterable[Sequence[str]],
    dev: Iterable[Sequence[str]],
    symbols: Sequence[str],
    path: Path | str,
    orders: Sequence[int] = range(2, HIGHEST_ORDER + 1),
) -> dict[int, float]:
    """Train n-grams of several orders and keep the one of least perplexity on the dev set.

    Args:
        train: phones of the training utterances.
        dev: phones of the dev utterances.
        symbols: the phone set.
        path: where the ARPA file is written.
        orders: longest n-grams, from 2 to 6.

    Returns:
        The perplexity of each order on the dev set.

    Raises:
        ValueError: if there is no training or no dev utterance, a phone is not in the set, or an
            order is not from 2 to 6.
    """
    train, dev = list(train), list(dev)
    if not train or not dev:
        raise ValueError("an n-gram needs training and dev utterances")
    perplexities = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {order: Path(folder) / f"{order}.arpa" for order in orders}
        for order, file in tqdm(files.items(), desc="n-gram", unit="order", disable=None):
            file.write_text(arpa(train, symbols, order), encoding="utf-8")
            perplexities[order] = NGram(file, symbols).perplexity(dev)
        with atomic(path) as new:
            shutil.copyfile(files[min(perplexities, key=perplexities.__getitem__)], new)
    return perplexities


def arpa(utterances: Iterable[Sequence[str]], symbols: Sequence[str], order: int) -> str:
    """Train an interpolated Kneser-Ney n-gram; return it in ARPA's format.

    A phone of the set counts as seen once more than it was, so that none is impossible.

    Raises:
        ValueError: if ``order`` is not from 2 to 6, or a phone not in the set.
    """
    if not 2 <= order <= HIGHEST_ORDER:
        raise ValueError(f"order is {order}: it must be from 2 to {HIGHEST_ORDER}")
    from nltk.lm import AbsoluteDiscountingInterpolated  # a second's import, for training alone

    grams = [*_counted(utterances, order), *((symbol,) for symbol in symbols)]
    if unknown := {gram[-1] for gram in grams} - {*symbols, END}:
        raise ValueError(f"{min(unknown)!r} is not one of the {len(symbols)} phones")
    model = AbsoluteDiscountingInterpolated(order, DISCOUNT)
    model.fit([grams], [BEGIN, *symbols, END])
    sections: list[list[str]] = [[] for _ in range(order)]
    for gram in sorted({(BEGIN,), *grams}):
        probability = -99.0  # ARPA's zero
        if gram != (BEGIN,):
            probability = math.log10(model.unmasked_score(gram[-1], gram[:-1]))
        line = f"{probability:.6f}\t{' '.join(gram)}"
        if gram in model.counts[len(gram) + 1]:  # a context: its backoff weight
            line += f"\t{math.log10(model.estimator.alpha_gamma(END, gram)[1]):.6f}"
        sections[len(gram) - 1].append(line)
    lines = ["\\data\\"]
    lines += [f"ngram {n}={len(section)}" for n, section in enumerate(sections, 1)]
    for n, section in enumerate(sections, 1):
        lines += ["", f"\\{n}-grams:", *section]
    return "\n".join([*lines, "", "\\end\\", ""])


def _counted(utterances: Iterable[Sequence[str]], order: int) -> list[tuple[str, ...]]:
    """N-grams of every length, each as often as Kneser and Ney count it.

    The longest, and those cut short by the begin of the utterance, are counted as they occur; a
    shorter one once for each n-gram that it is the end of.
    """
    grams = []
    for phones in utterances:
        words = (BEGIN, *phones, END)
        grams += [words[max(0, n - order) : n] for n in range(2, len(words) + 1)]
    kinds = set(grams)
    for length in range(order, 1, -1):
        ends = [gram[1:] for gram in kinds if len(gram) == length]
        grams += ends
        kinds.update(ends)
    return grams
