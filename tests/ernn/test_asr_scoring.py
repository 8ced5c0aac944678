import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernn.asr import score
from ernn.asr.scoring import GAP


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
