from benchmarks.recurrent import Arguments, measure, to_markdown


def test_the_table_has_a_line_for_each_layer_type_and_block_size() -> None:
    results = measure(Arguments(frames=3, batch=2, input_size=4, hidden_size=8, rounds=2))
    assert len(results) == 16
    assert all(len(theirs) == len(ours) == 2 for _, theirs, ours in results)
    text = to_markdown([("GRU, one direction | float32 | 1", [0.2, 0.3, 0.4], [0.1, 0.1, 0.1])])
    expected = "| GRU, one direction | float32 | 1 | 300.0 | 100.0 | 3.00 | 2.00 | 4.00 |"
    assert text.splitlines()[2] == expected
