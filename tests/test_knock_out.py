"""The tool that knocks out a study's leading heads and measures the ranking."""

import knock_out
import numpy as np
import pandas as pd
import pytest

from mechir_edu import load_collection


@pytest.fixture
def heads(tmp_path):
    """A study's table in which heads 1.0 and 0.2 lead for TFC1 at the end."""
    rows = [("cat", "TFC1", "end", 0, 1, 0.1), ("cat", "TFC1", "end", 0, 2, 0.5)]
    rows += [("cat", "TFC1", "end", 1, 0, 0.7), ("cat", "TDC", "end", 3, 3, 0.9)]
    rows += [("cat", "TFC1", "start", 3, 2, 0.9), ("dot", "TFC1", "end", 3, 1, 0.9)]
    columns = ["kind", "axiom", "place", "layer", "head", "recovery"]
    path = tmp_path / "heads.csv"
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def test_the_leading_heads_are_those_of_tfc1_at_the_end(heads):
    assert knock_out.leading_heads(pd.read_csv(heads), "cat", 2) == [(1, 0), (0, 2)]


def test_a_table_with_too_few_heads_is_refused(heads):
    with pytest.raises(ValueError, match="needed 2 heads or more of kind 'dot'.*got 1"):
        knock_out.leading_heads(pd.read_csv(heads), "dot", 2)


def test_other_heads_are_as_many_of_the_same_layers_and_none_of_the_leading():
    leading = [(1, 0), (0, 2), (1, 3)]
    others = knock_out.other_heads(leading, 4, np.random.default_rng(0))
    assert sorted(layer for layer, _ in others) == [0, 1, 1]
    assert not {*others} & {*leading}
    assert len({*others}) == 3


def test_the_report_holds_a_row_for_each_ranker_dataset_and_set_of_heads(heads, tmp_path):
    collection = load_collection("embedded")
    lines = [
        f"{query_id} Q0 {doc_id} {rank} {-rank} bm25"
        for query_id in list(collection.queries)[:4]
        for rank, doc_id in enumerate(collection.qrels[query_id])
    ]
    (tmp_path / "run.txt").write_text("\n".join(lines))
    options = ["--heads", str(heads), "--report", str(tmp_path / "out.md"), "--rankers", "cat"]
    options += ["--dataset", "embedded", "--run", str(tmp_path / "run.txt")]
    assert knock_out.main([*options, "--cat", "planted", "--k", "2"]) == 0
    rows = [r for r in (tmp_path / "out.md").read_text().splitlines() if r.startswith("| cross")]
    assert len(rows) == 2
    assert "leading: 1.0, 0.2" in rows[0]
    assert "others: " in rows[1]


def test_a_run_for_each_dataset_is_needed(heads, capsys):
    options = ["--heads", str(heads), "--report", "x.md", "--dataset", "embedded"]
    with pytest.raises(SystemExit):
        knock_out.main([*options, "--run", "a", "--run", "b"])
    assert "needed one --run for each of 1 --dataset" in capsys.readouterr().err
