import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernn.asr import compare, score
from ernn.asr.scoring import DRAWS, GAP, bootstrap


def edit_distance(a, b):
    """Wagner and Fischer's table, one row at a time."""
    row = np.arange(len(b) + 1)
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
        row = new
    return row[-1]


phones = st.lists(st.sampled_from("abcd"), max_size=9)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.tuples(phones, phones), min_size=1, max_size=4))
def test_errors_are_the_sum_of_the_edit_distances(pairs):
    references = {f"u{i}": ref for i, (ref, _) in enumerate(pairs)}
    hypotheses = {f"u{i}": hyp for i, (_, hyp) in enumerate(pairs)}
    if not any(references.values()):
        references["u0"] = ["a"]
    result = score(references, hypotheses)
    assert result.errors == sum(edit_distance(references[u], hypotheses[u]) for u in references)
    assert result.errors == result.insertions + result.deletions + result.substitutions
    assert result.tokens == sum(map(len, references.values()))
    for name, pairs in result.alignments.items():
        assert [ref for ref, _ in pairs if ref != GAP] == references[name]
        assert [hyp for _, hyp in pairs if hyp != GAP] == hypotheses[name]


def test_the_distance_is_not_that_of_the_concatenation():
    result = score({"u": ["a", "b"], "v": ["c"]}, {"u": ["a"], "v": ["b", "c"]})
    assert (result.errors, result.deletions, result.insertions) == (2, 1, 1)


def test_the_line_is_kaldis():
    references = {"u": list("aabcaabcab")}
    hypotheses = {"u": list("abcaxbcabbb")}
    assert str(score(references, hypotheses)) == "%PER 40.0 [ 4 / 10, 2 ins, 1 del, 1 sub ]"


def test_the_file_shows_alignments_and_confusions(tmp_path):
    references = {"u": ["sil", "ih", "t"], "v": ["ih"]}
    result = score(references, {"u": ["sil", "iy"], "v": ["iy"]})
    result.write_alignments(tmp_path / "alignments.txt")
    assert (tmp_path / "alignments.txt").read_text() == (
        "%PER 75.0 [ 3 / 4, 0 ins, 1 del, 2 sub ]\n"
        "95 % interval [ 66.7, 100.0 ], utterances drawn\n"
        "sil left out of both sides: %PER 100.0 [ 3 / 3, 0 ins, 1 del, 2 sub ]\n"
        "\n"
        "u ref: sil ih t\n"
        "u hyp: sil iy ***\n"
        "\n"
        "v ref: ih\n"
        "v hyp: iy\n"
        "\n"
        "# count reference hypothesis\n"
        "    2 ih iy\n"
        "    1 t ***\n"
    )
    assert result.confusions == {("ih", "iy"): 2, ("t", GAP): 1}


def test_every_utterance_needs_both_sides():
    with pytest.raises(ValueError, match="v: has a hypothesis alone"):
        score({"u": ["a"]}, {"u": ["a"], "v": ["a"]})
    with pytest.raises(ValueError, match="u: has a reference alone"):
        score({"u": ["a"]}, {})


def test_references_without_a_phone_have_no_rate():
    with pytest.raises(ValueError, match="no phone"):
        score({"u": []}, {"u": ["a"]})


def random_scores(seed, utterances, phones, error_rate, speakers=None):
    """A system that replaces phones at a rate."""
    rng = np.random.default_rng(seed)
    references = {f"u{n}": ["a"] * phones for n in range(utterances)}
    hypotheses = {
        name: ["b" if wrong else "a" for wrong in rng.random(phones) < error_rate]
        for name in references
    }
    return score(references, hypotheses, speakers)


def test_the_interval_is_that_of_independent_errors():
    result = random_scores(0, utterances=400, phones=25, error_rate=0.2)
    rate = result.per / 100
    half = 196 * np.sqrt(rate * (1 - rate) / result.tokens)
    low, high = result.interval
    assert low < result.per < high
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert result.interval == random_scores(0, 400, 25, 0.2).interval  # draws are seeded
    assert score({"u": ["a"]}, {"u": ["a"]}).interval == (0, 0)


def test_speakers_are_drawn_whole():
    references = {f"u{n}": ["a"] * 10 for n in range(40)}
    hypotheses = {name: ["b" if n < 20 else "a"] * 10 for n, name in enumerate(references)}
    speakers = {name: f"s{n // 10}" for n, name in enumerate(references)}  # 2 of 4 are all wrong
    drawn = bootstrap(score(references, hypotheses, speakers))[:, 0]
    assert drawn.shape == (DRAWS,)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 25, 50, 75, 100]
    binomial = np.array([1, 4, 6, 4, 1]) / 16
    assert counts / DRAWS == pytest.approx(binomial, abs=0.02)
    by_speaker = score(references, hypotheses, speakers).interval
    by_utterance = score(references, hypotheses).interval
    assert by_speaker.high - by_speaker.low > 2 * (by_utterance.high - by_utterance.low)
    with pytest.raises(ValueError, match="u39: has no speaker, but others have"):
        score(references, hypotheses, {n: s for n, s in speakers.items() if n != "u39"})


def test_systems_are_compared_on_the_same_draws():
    references = {f"u{n}": ["a"] * (n + 1) for n in range(30)}
    hard = {name: ["b"] * (n % 7) + ["a"] for n, name in enumerate(references)}
    control = score(references, hard)
    same = compare(control, control)
    assert (same.points, same.interval, same.better) == (0, (0, 0), 0)
    worse = score(references, {name: [*phones, "c"] for name, phones in hard.items()})
    lost = compare(worse, control)
    assert lost.points == pytest.approx(worse.per - control.per)
    assert 0 < lost.interval.low < lost.points < lost.interval.high
    assert lost.better == 0
    assert compare(control, worse).better > 0.99
    assert str(lost).startswith(f"+{lost.points:.2f} points of PER, 95 % interval [ +")
    other = score({"u0": ["a"]}, {"u0": ["a"]})
    with pytest.raises(ValueError, match="were not scored on the same utterances"):
        compare(control, other)


def test_silence_is_left_out_of_both_sides(tmp_path):
    references = {"u0": ["sil", "a", "b", "sil"], "u1": ["sil", "c"]}
    hypotheses = {"u0": ["a", "sil", "b", "sil"], "u1": ["sil", "sil", "d"]}
    result = score(references, hypotheses)
    assert (result.errors, result.tokens) == (4, 6)
    without = result.without("sil")
    assert (without.errors, without.tokens) == (1, 3)
    result.write_alignments(tmp_path / "alignments.txt")
    lines = (tmp_path / "alignments.txt").read_text().splitlines()
    assert lines[0] == str(result)
    assert lines[1].startswith("95 % interval [ ")
    assert lines[1].endswith("utterances drawn")
    assert lines[2] == f"sil left out of both sides: {without}"
