"""The demonstration: TFC1 against TDC against a neutral word, for every ranker, by grade.

For each ranker and axiom the same judged pairs are perturbed by the axiom and by its control. Both
are scored, and every attention head is patched on the axiom's pairs. `demonstrate` computes all of
it; ``mechir-edu demo`` writes it to files, and tutorial 04 looks at it step by step.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mechir_edu import plots, stats
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.judged import Skipped
from mechir_edu.collection.progress import bar
from mechir_edu.patching.activation import patch
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import PairScores, score_pairs
from mechir_edu.patching.terms_moved import TermsMoved, terms_moved
from mechir_edu.perturb.axiom import Axiom
from mechir_edu.perturb.draw import as_axiom, make_pairs
from mechir_edu.perturb.pair import PairList
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.sparse import SparseEncoder

FEWEST_PAIRS = 8  # two for each grade of TREC DL
ESTIMATES = "Gradient estimates, not exact patches"


# Compared by identity: arrays have no single answer to ==.
@dataclass(frozen=True, eq=False)
class Experiment:
    """One ranker under one axiom: the axiom's pairs patched, and its control's scored.

    Attributes
    ----------
    ranker : what the demonstration calls the ranker.
    definition : the axiom.
    result : every head patched on the axiom's pairs.
    control : scores of the control's pairs, None where the axiom has no control, or the collection
        no word for it.
    unperturbed : why judged pairs could not be perturbed, for axiom and control: reason -> count.
    terms : which terms of its vocabulary moved, of a learned-sparse ranker; None of another.
    """

    ranker: str
    definition: Axiom
    result: PatchingResult
    control: PairScores | None
    unperturbed: Counter[str]
    terms: TermsMoved | None = None

    @property
    def axiom(self) -> str:
        """The axiom's name."""
        return self.definition.name

    @cached_property
    def recovery(self) -> stats.Recovery:
        """Recovery of each head over all pairs, computed once."""
        return self.result.recovery()

    @cached_property
    def by_grade(self) -> dict[int, stats.Recovery]:
        """Recovery of each head for each relevance grade, highest first, computed once.

        A grade whose pairs belong to a single query is left out: it has no interval.
        """
        grades = sorted({pair.relevance for pair in self.result.pairs} - {None}, reverse=True)
        parts = {grade: self.result.select(grade=grade) for grade in grades}
        return {
            grade: part.recovery() for grade, part in parts.items() if len(set(part.query_ids)) > 1
        }

    @cached_property
    def over_control(self) -> stats.Estimate | None:
        """Mean effect of the axiom over its control, in score units, on the same documents."""
        return None if self.control is None else _difference(self.result, self.control)

    def heads_table(self) -> pd.DataFrame:
        """Every head's recovery, over all pairs (grade "all") and for each grade."""
        recoveries = {"all": self.recovery} | self.by_grade
        tables = {
            grade: self.result.heads_table(recovery) for grade, recovery in recoveries.items()
        }
        return pd.concat(tables, names=["grade"]).reset_index("grade").reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Demonstration:
    """Every ranker under every axiom; ``demonstration["TFC1", "Dot"]`` is one `Experiment`.

    Attributes
    ----------
    experiments : the axioms of the first ranker, then those of the next.
    collection : name of the collection.
    n, seed : as `demonstrate` was asked for.
    """

    experiments: tuple[Experiment, ...]
    collection: str
    n: int
    seed: int

    @property
    def axioms(self) -> tuple[str, ...]:
        """The axioms, in the order in which they were asked for."""
        return tuple(dict.fromkeys(experiment.axiom for experiment in self.experiments))

    @property
    def rankers(self) -> tuple[str, ...]:
        """Names of the rankers, in the order in which they were given."""
        return tuple(dict.fromkeys(experiment.ranker for experiment in self.experiments))

    def __getitem__(self, key: tuple[str, str]) -> Experiment:
        """Look an experiment up by (axiom, ranker).

        Raises
        ------
        KeyError
            If it was not run; lists axioms and rankers.
        """
        for experiment in self.experiments:
            if (experiment.axiom, experiment.ranker) == key:
                return experiment
        raise KeyError(
            f"no experiment {key!r}: needed (axiom, ranker) with an axiom of {self.axioms} and a "
            f"ranker of {self.rankers}"
        )

    def results(self) -> dict[tuple[str, str], PatchingResult]:
        """Result of each (axiom, ranker)."""
        return {(e.axiom, e.ranker): e.result for e in self.experiments}

    def recoveries(self) -> dict[tuple[str, str], stats.Recovery]:
        """Recovery of each (axiom, ranker), as `plots.plot_figure2` takes it."""
        return {(e.axiom, e.ranker): e.recovery for e in self.experiments}

    def scored(self, ranker: str) -> dict[str, PatchingResult | PairScores]:
        """What one ranker's scores did under each axiom and its control, by their names.

        Each has ``score_change()``, ``pairs`` and ``query_ids``.
        """
        scored: dict[str, PatchingResult | PairScores] = {}
        for axiom in self.axioms:
            experiment = self[axiom, ranker]
            scored[axiom] = experiment.result
            if experiment.control is not None and experiment.definition.control:
                scored[experiment.definition.control] = experiment.control
        return scored

    def difference(self, first: str, second: str, *, ranker: str) -> stats.Estimate:
        """Mean of one axiom's score change minus another's (or a control's), on shared documents.

        Raises
        ------
        KeyError
            If an axiom or the ranker was not run.
        """
        scored = self.scored(ranker)
        return _difference(scored[first], scored[second])

    @property
    def caution(self) -> str:
        """Say which recoveries are a gradient's estimates; empty where all are exact."""
        results = [experiment.result for experiment in self.experiments]
        if any(result.method == "gradient" for result in results):
            return ESTIMATES
        if any(result.exact is not None and not result.exact.all() for result in results):
            return "Exact for the leading heads, gradient estimates for the others"
        return ""

    def figure(self) -> Figure:
        """The paper's Figure 2: one map of heads for each axiom and ranker.

        Where recoveries are estimates, the picture says so (`caution`).
        """
        return _labelled(plots.plot_figure2(self.recoveries()), self.caution)

    def terms_figure(self) -> Figure | None:
        """Vocabulary terms that each axiom moved in learned-sparse rankers; None without one."""
        shown = [experiment for experiment in self.experiments if experiment.terms is not None]
        if not shown:
            return None
        figure, axes = plt.subplots(
            len(shown), figsize=(6.5, 4.2 * len(shown)), layout="constrained", squeeze=False
        )
        for experiment, ax in zip(shown, axes.flat, strict=True):
            plots.plot_terms(experiment.terms, ax=ax).set_title(
                f"{experiment.ranker}, {experiment.axiom}"
            )
        return figure

    def heads_table(self) -> pd.DataFrame:
        """Every head's recovery under every axiom: ranker, axiom, grade, layer, head, recovery, ...

        The grade is "all" for all pairs together; `Experiment.by_grade` says which grades follow.
        """
        keys = [(experiment.ranker, experiment.axiom) for experiment in self.experiments]
        tables = [experiment.heads_table() for experiment in self.experiments]
        names = ["ranker", "axiom"]
        return pd.concat(tables, keys=keys, names=names).reset_index(names).reset_index(drop=True)


def demonstrate(
    rankers: Sequence[Ranker] | Mapping[str, Ranker],
    collection: Collection,
    *,
    axioms: Sequence[str | Axiom | Callable[..., str]] = ("TFC1", "TDC"),
    n: int = 60,
    seed: int = 0,
    method: str = "exact",
    filler: str = "a",
    progress: bool = True,
    patch: Callable[..., PatchingResult] = patch,
    score: Callable[..., PairScores] = score_pairs,
) -> Demonstration:
    """Patch every attention head of each ranker under each axiom, and score the controls.

    Parameters
    ----------
    rankers : `Dot`, `Cat`, `Sparse` or others; a mapping gives each the name that it has in tables
        and figures, else that is its class and what it was loaded as.
    collection : from `mechir_edu.load_collection`.
    axioms : keys of `AXIOMS`, or functions of your own, as `mechir_edu.make_pairs` takes them.
    n : pairs for each axiom, drawn evenly over grades; at least 8.
    seed : of all draws.
    method, filler : as in `mechir_edu.patch`.
    progress : show a bar.
    patch, score : what patches, called as `mechir_edu.patch`, and what scores the controls, called
        as `mechir_edu.score_pairs`; those of `mechir_edu.tutorial` take the results that travel
        with the package.

    Raises
    ------
    ValueError
        For an unknown axiom or method, fewer than 8 pairs, no ranker or axiom, or two rankers or
        axioms of one name, before anything is computed; for an axiom that fits no judged pair.

    Examples
    --------
    >>> import mechir_edu as me
    >>> planted = {"Cat": me.Cat("planted")}
    >>> demonstration = me.demonstrate(
    ...     planted, me.load_collection("embedded"), axioms=["TFC1"], n=16, progress=False
    ... )
    >>> demonstration["TFC1", "Cat"].recovery.value.shape
    (4, 4)
    """
    definitions = check_request(axioms=axioms, n=n, method=method, filler=filler)
    named = _named(rankers)
    plan = [(name, axiom) for name in named for axiom in definitions]
    experiments = []
    with bar(len(plan) * n, shown=progress) as shown:
        for name, axiom in plan:
            shown.set_description(f"{name} {axiom.name}", refresh=False)
            draw = {"collection": collection, "n": n, "seed": seed, "length": named[name].n_pieces}
            pairs = _draw(axiom, **draw)
            result = patch(named[name], pairs, method=method, filler=filler, progress=shown.update)
            shown.total -= n - len(result.pairs)  # what could not be drawn or aligned
            control, skipped = None, list(pairs.skipped)
            if axiom.control:
                neutral = make_pairs(axiom=axiom.control, **draw)
                if neutral:  # a small collection may have no word that could be one
                    control = score(named[name], neutral, filler=filler, progress=False)
                skipped += neutral.skipped
            reasons = Counter(skip.reason for skip in skipped)
            is_sparse = isinstance(named[name], SparseEncoder)
            terms = terms_moved(named[name], result.pairs, filler=filler) if is_sparse else None
            experiments.append(Experiment(name, axiom, result, control, reasons, terms))
    return Demonstration(tuple(experiments), collection.name, n, seed)


def first_look(
    rankers: Sequence[Ranker] | Mapping[str, Ranker],
    collection: Collection,
    *,
    axioms: Sequence[str | Axiom | Callable[..., str]],
    n: int,
    seed: int,
    filler: str,
) -> Figure:
    """Draw Figure 2 from gradient estimates, which the picture says; takes no controls.

    Parameters and errors as for `demonstrate`.
    """
    maps = {}
    for name, ranker in _named(rankers).items():
        for axiom in map(as_axiom, axioms):
            draw = {"collection": collection, "n": n, "seed": seed, "length": ranker.n_pieces}
            pairs = _draw(axiom, **draw)
            result = patch(ranker, pairs, method="gradient", filler=filler, progress=False)
            maps[axiom.name, name] = result.recovery()
    told = f"({n} pairs for each axiom; the exact figure replaces this one)"
    return _labelled(plots.plot_figure2(maps), f"First look: {ESTIMATES.lower()}\n{told}")


def _labelled(figure: Figure, caution: str) -> Figure:
    if caution:
        figure.suptitle(caution, color=plots.heatmap.EDITED, fontsize=11, fontweight="bold")
    return figure


def _draw(axiom: Axiom, *, collection: Collection, **how: Any) -> PairList:
    pairs = make_pairs(axiom=axiom, collection=collection, **how)
    if not pairs:
        raise ValueError(_nothing_fits(axiom, collection, pairs.skipped))
    return pairs


def check_request(
    *, axioms: Sequence[str | Axiom | Callable[..., str]], n: int, method: str, filler: str
) -> list[Axiom]:
    """Refuse what `demonstrate` would refuse, before a model is loaded; gives each axiom once.

    Raises
    ------
    ValueError
        As `demonstrate`.
    """
    if not axioms:
        raise ValueError("needed at least one axiom, got none")
    definitions: dict[str, Axiom] = {}
    for axiom in map(as_axiom, axioms):
        if definitions.setdefault(axiom.name, axiom) != axiom:
            raise ValueError(f"two axioms are called {axiom.name!r}; rename your function")
    if n < FEWEST_PAIRS:
        raise ValueError(f"needed at least {FEWEST_PAIRS} pairs (two for each grade), got {n}")
    PatchOptions(method=method, filler=filler)
    return list(definitions.values())


def _nothing_fits(axiom: Axiom, collection: Collection, skipped: Sequence[Skipped]) -> str:
    counts = Counter(skip.reason for skip in skipped).most_common()
    reasons = ", ".join(f"{reason} ({n})" for reason, n in counts)
    return f"{axiom.name} can be applied to no judged pair of {collection.name}: {reasons}"


def _named(rankers: Sequence[Ranker] | Mapping[str, Ranker]) -> dict[str, Ranker]:
    if not rankers:
        raise ValueError("needed at least one ranker, got none")
    if isinstance(rankers, Mapping):
        return dict(rankers)
    named = {f"{type(ranker).__name__} {ranker.name}": ranker for ranker in rankers}
    if len(named) < len(rankers):
        raise ValueError(
            f"{len(rankers)} rankers have {len(named)} names between them, {', '.join(named)}; "
            'name them: {"first": ranker, ...}'
        )
    return named


def _difference(
    first: PatchingResult | PairScores, second: PatchingResult | PairScores
) -> stats.Estimate:
    return stats.mean_difference(
        first.score_change(),
        second.score_change(),
        first_pairs=first.pairs,
        second_pairs=second.pairs,
    )
