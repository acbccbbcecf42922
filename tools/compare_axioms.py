"""List the axioms in docs/axioms.md, and compare them once with those of ir_axioms.

Three commands. ``list`` and ``pairs`` run where MechIR-Edu is installed; ``agree`` runs in a
throw-away environment with nothing but ir_axioms, which brings some ninety packages, among them an
old numpy::

    python tools/compare_axioms.py list --into docs/axioms.md
    python tools/compare_axioms.py pairs --dataset embedded --out pairs-embedded.json
    python -m venv THROW-AWAY && THROW-AWAY/bin/pip install ir_axioms==1.2.5
    THROW-AWAY/bin/python tools/compare_axioms.py agree pairs-*.json --into docs/axioms.md

``pairs`` writes both documents of each pair already reduced to terms, and the collection's
document frequencies, so that ir_axioms judges the same terms and the two can only differ in what
an axiom says. ``agree`` asks it which of the two documents it prefers.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# Which axioms of ir_axioms judge the pairs of ours. LNC2 has no counterpart; LNC1 is asked what it
# makes of a document written twice.
COUNTERPARTS = {
    "TFC1": ("TFC1",),
    "TFC2": ("TFC1",),
    "TFC3": ("TFC3",),
    "TDC": ("TFC1",),
    "M-TDC": ("M-TDC",),
    "LNC1": ("LNC1",),
    "LNC2": ("LNC1",),
    "TF-LNC": ("TF-LNC",),
    "TP": ("PROX1", "PROX4", "PROX5"),
    "PREF": ("PROX2",),
    "STMC1": ("STMC1",),
}


@dataclass(frozen=True)
class TermPair:
    """One pair, reduced to terms; ``similarity`` is [query term, other term, cosine] triples."""

    axiom: str
    expected_sign: int
    query: list[str]
    baseline: list[str]
    perturbed: list[str]
    similarity: list[tuple[str, str, float]]


# --- where MechIR-Edu is installed ------------------------------------------------------------


def axiom_tables() -> str:
    """Write the registry as two tables: the axioms, and their controls."""
    from mechir_edu.perturb.axioms.registry import AXIOMS

    axioms = [a for a in AXIOMS.values() if a.control]
    controls = [AXIOMS[axiom.control] for axiom in axioms]
    signs = {1: "+", -1: "-", 0: "none"}
    first = [
        (a.name, a.statement, signs[a.expected_sign], a.precondition, a.source) for a in axioms
    ]
    second = [
        (a.name, a.statement.removesuffix(": no prediction."), a.precondition) for a in controls
    ]
    heads = ("axiom", "what it says", "sign", "precondition", "source")
    return f"{table(heads, first)}\n\n{table(('control', 'what it does', 'precondition'), second)}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table; `plots.words` has the same, but ``agree`` runs without MechIR-Edu."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write_pairs(dataset: str, n: int, out: Path) -> None:
    """Write what `agree` needs to know of a collection and of n pairs of every axiom."""
    from mechir_edu.collection.load import load_collection
    from mechir_edu.perturb.axioms.registry import AXIOMS
    from mechir_edu.perturb.draw import make_pairs

    collection = load_collection(dataset)
    pairs = [
        asdict(term_pair(pair, AXIOMS))
        for name in AXIOMS
        for pair in make_pairs(collection, name, n)
    ]
    statistics = collection.statistics()
    used = {term for pair in pairs for term in pair["query"]}
    df = {term: statistics.df.get(term, 0) for term in used}
    record = {"name": dataset, "n_docs": statistics.n_docs, "df": df, "pairs": pairs}
    out.write_text(json.dumps(record), encoding="utf-8")
    print(f"{len(pairs)} pairs written to {out}")


def term_pair(pair, axioms) -> TermPair:
    """Reduce a pair to terms; the axioms about related words get their similarities."""
    from mechir_edu.collection.terms import terms

    cosines = similarities(pair) if pair.axiom.startswith("STMC1") else []
    sign = axioms[pair.axiom].expected_sign
    texts = map(terms, (pair.query, pair.baseline, pair.perturbed))
    return TermPair(pair.axiom, sign, *texts, similarity=cosines)


def similarities(pair) -> list[tuple[str, str, float]]:
    """List how related each query term is to each other term of the two documents."""
    from mechir_edu.collection.terms import surface_terms
    from mechir_edu.perturb.axioms.neighbours import similarity

    words = dict(surface_terms(f"{pair.baseline} {pair.perturbed}"))
    asked = dict(surface_terms(pair.query))
    similarities = ((q, w, similarity(asked[q], words[w])) for q in asked for w in words if q != w)
    return [(q, w, round(cosine, 4)) for q, w, cosine in similarities if cosine is not None]


# --- where ir_axioms is installed -------------------------------------------------------------


def judges(n_docs: int, df: dict, cosines: dict) -> dict:
    """Build the axioms of ir_axioms on terms, document frequencies and similarities of ours."""
    from ir_axioms.axiom.retrieval import length_norm, proximity, term_frequency, term_similarity
    from ir_axioms.precondition.length import LenPrecondition
    from ir_axioms.tools import IndexStatistics, SimpleTextContents, SimpleTextStatistics
    from ir_axioms.tools.similarity.base import TermSimilarity
    from ir_axioms.tools.tokenizer.base import TermTokenizer

    class Terms(TermTokenizer):
        def terms(self, text):
            return text.split()

    class Frequencies(IndexStatistics):
        document_count = n_docs

        def document_frequency(self, term):
            return df.get(term, 0)

    class Cosines(TermSimilarity):
        def similarity(self, term1, term2):
            either = cosines.get((term1, term2), cosines.get((term2, term1), 0.0))
            return 1.0 if term1 == term2 else either

    texts = {"text_contents": SimpleTextContents(), "term_tokenizer": Terms()}
    counted = texts | {"text_statistics": SimpleTextStatistics(**texts)}
    same_length = counted | {"precondition": LenPrecondition(**texts)}
    indexed = {"index_statistics": Frequencies()}
    return {
        "TFC1": term_frequency.Tfc1Axiom(**same_length),
        "TFC3": term_frequency.Tfc3Axiom(**same_length, **indexed),
        "M-TDC": term_frequency.ModifiedTdcAxiom(**counted, **indexed),
        "LNC1": length_norm.Lnc1Axiom(**counted),
        "TF-LNC": length_norm.TfLncAxiom(**counted),
        "PROX1": proximity.Prox1Axiom(**texts),
        "PROX2": proximity.Prox2Axiom(**texts),
        "PROX4": proximity.Prox4Axiom(**texts),
        "PROX5": proximity.Prox5Axiom(**texts),
        "STMC1": term_similarity.Stmc1Axiom(**texts, term_similarity=Cosines()),
    }


def preferences(record: dict) -> Counter:
    """Count (our axiom, their axiom, sign): 1 where theirs prefers the perturbed document."""
    from ir_axioms.model import Document, Query

    counts, cosines = Counter(), {}
    theirs = judges(record["n_docs"], record["df"], cosines)
    for pair in (TermPair(**fields) for fields in record["pairs"]):
        cosines.clear()
        cosines.update({(q, w): cosine for q, w, cosine in pair.similarity})
        query = Query("q", " ".join(pair.query))
        documents = Document("p", " ".join(pair.perturbed)), Document("b", " ".join(pair.baseline))
        for name in COUNTERPARTS[pair.axiom.removesuffix("-control")]:
            preferred = theirs[name].preference(query, *documents)
            counts[pair.axiom, name, int(preferred > 0) - int(preferred < 0)] += 1
    return counts


def agreement_table(records: Iterable[dict]) -> str:
    """Write, for each axiom and counterpart, how often the two prefer the same document."""
    heads = ("collection", "axiom", "ir_axioms", "pairs", "agree", "no preference", "opposite")
    rows = []
    for record in records:
        counts = preferences(record)
        signs = {pair["axiom"]: pair["expected_sign"] for pair in record["pairs"]}
        for ours, name in dict.fromkeys((ours, name) for ours, name, _ in counts):
            if not (sign := signs[ours]):
                continue
            agree, silent, opposite = (counts[ours, name, s] for s in (sign, 0, -sign))
            n = agree + silent + opposite
            shares = (f"{100 * share / n:.1f} %" for share in (agree, silent, opposite))
            rows.append((record["name"], ours, name, n, *shares, neutral(counts, ours, name)))
    return table((*heads, "no preference on the control"), rows)


def neutral(counts: Counter, ours: str, name: str) -> str:
    """How often the counterpart has no preference on the pairs of our control."""
    of_control = [counts[f"{ours}-control", name, sign] for sign in (1, 0, -1)]
    return f"{100 * of_control[1] / sum(of_control):.1f} %" if sum(of_control) else "-"


# --- command line -----------------------------------------------------------------------------


def put_section(document: Path, name: str, text: str) -> None:
    """Replace what stands between the marks ``<!-- name -->`` and ``<!-- /name -->``."""
    old = document.read_text(encoding="utf-8")
    before, marker, rest = old.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"\n<!-- /{name} -->")
    if not (marker and end):
        raise ValueError(f"{document} needs the lines <!-- {name} --> and <!-- /{name} -->")
    document.write_text(f"{before}{marker}{text}{end}{after}", encoding="utf-8")


def read_section(document: Path, name: str) -> str:
    """Give what stands between the marks ``<!-- name -->`` and ``<!-- /name -->``."""
    text = document.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")[2]
    return text.partition(f"\n<!-- /{name} -->")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="write the registry's tables into a document")
    listing.add_argument("--into", type=Path, required=True)
    pairs = commands.add_parser("pairs", help="write the pairs of every axiom to a file")
    pairs.add_argument("--dataset", default="embedded", help='"embedded" or an ir_datasets id')
    pairs.add_argument("--pairs", type=int, default=400, help="pairs for each axiom")
    pairs.add_argument("--out", type=Path, required=True)
    agree = commands.add_parser("agree", help="ask ir_axioms for its preferences")
    agree.add_argument("files", type=Path, nargs="+")
    agree.add_argument("--into", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.command == "list":
        put_section(args.into, "axioms", axiom_tables())
    elif args.command == "pairs":
        write_pairs(args.dataset, args.pairs, args.out)
    else:
        records = (json.loads(file.read_text(encoding="utf-8")) for file in args.files)
        put_section(args.into, "agreement", agreement_table(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
