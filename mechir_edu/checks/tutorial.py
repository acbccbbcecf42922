"""What a tutorial computes: its long results at hand, and its sizes.

The long results of the tutorials travel with the package. `patch`, `path_patch`, `circuit`,
`score_pairs` and `evaluate` here take what those of `mechir_edu` take and give the same results.
Where a stored result was made of the same ranker, pairs or queries, and options, they load it
instead of computing it. What was changed, be it the model, the number of pairs or an option, is
computed.
``MECHIR_EDU_RECOMPUTE=1`` in the environment, or ``me.tutorial.recompute = True``, computes
everything anew.

``MECHIR_EDU_FAST=1`` asks for little where something has to be computed. The same code runs either
way, only on fewer pairs, so a notebook that passes in the fast profile works in full too.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mechir_edu.checks import EXERCISES
from mechir_edu.checks._record import sentence
from mechir_edu.checks._references import (  # noqa: F401 - offered here
    choose_best,
    flip_by_query,
    held_out_correlation,
    random_heads,
    rank_correlation,
)
from mechir_edu.collection.collection import Collection
from mechir_edu.files import write_whole
from mechir_edu.interventions.candidates import Run, choose
from mechir_edu.interventions.evaluation import Evaluation, evaluate_run
from mechir_edu.interventions.intervened import Intervention
from mechir_edu.interventions.reranking import evaluate as compute_evaluate
from mechir_edu.patching.activation import patch as compute_patch
from mechir_edu.patching.circuits.circuit import circuit as compute_circuit
from mechir_edu.patching.circuits.options import CircuitOptions
from mechir_edu.patching.circuits.result import CircuitResult
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.paths import PathResult
from mechir_edu.patching.paths import path_patch as compute_path_patch
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import PairScores, in_direction
from mechir_edu.patching.scoring import score_pairs as compute_scores
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

T = TypeVar("T")
Loaded = TypeVar("Loaded", PatchingResult, PathResult, CircuitResult, PairScores, Evaluation)
Result = TypeVar("Result", PatchingResult, PathResult, CircuitResult)

RESULTS = Path(__file__).parents[1] / "assets" / "results"
recompute = False


def fast() -> bool:
    """Whether ``MECHIR_EDU_FAST`` in the environment asks for the fast profile."""
    return _is_set("MECHIR_EDU_FAST")


def pick(full: T, little: T) -> T:
    """Pick a size: ``n = me.tutorial.pick(48, 8)`` is 48 pairs, or 8 in the fast profile."""
    if not fast():
        return full
    _say_once("Fast profile: fewer pairs. The numbers in the text are those of the full profile.")
    return little


def progress() -> None:
    """Print how many exercises are right, in all and in each notebook.

    Checks keep their last verdict in ``my-work/exercises.json`` beside the notebook; delete the
    file to begin again.
    """
    print(sentence(EXERCISES))


def patch(ranker: Any, pairs: Any, **options: Any) -> PatchingResult:
    """`mechir_edu.patch`, from the results at hand where they hold this very one.

    Parameters, result and errors as there. What is loaded is said in a line.
    """
    return _at_hand(PatchingResult, compute_patch, ranker, pairs, options)


def path_patch(ranker: Any, pairs: Any, **options: Any) -> PathResult:
    """`mechir_edu.path_patch`, from the results at hand where they hold this very one.

    Parameters, result and errors as there. What is loaded is said in a line.
    """
    return _at_hand(PathResult, compute_path_patch, ranker, pairs, options)


def circuit(ranker: Any, pairs: Any, **options: Any) -> CircuitResult:
    """`mechir_edu.circuit`, from the results at hand where they hold this very one.

    Parameters, result and errors as there. What is loaded is said in a line.
    """
    return _at_hand(CircuitResult, compute_circuit, ranker, pairs, options)


def key(result: type, ranker: Ranker, pairs: Sequence[Pair], options: dict[str, Any]) -> str:
    """Name of the file that holds a result: a hash of all that its scores depend on."""
    if result is PatchingResult:
        options = PatchOptions(**options).as_json()  # defaults included, however they are given
    elif result is CircuitResult:
        options = asdict(CircuitOptions(**options))
    told = {
        "result": result.__name__,
        "ranker": [ranker.kind, ranker.checksum, ranker.settings],
        "options": {name: value for name, value in options.items() if name != "memory"},
        "pairs": [asdict(pair) for pair in pairs],
    }
    return _digest(told)[:16]


def _at_hand(
    result: type[Result],
    compute: Callable[..., Result],
    ranker: Any,
    pairs: Any,
    options: dict[str, Any],
) -> Result:
    progress = options.pop("progress", True)
    if not _is_known(ranker, pairs):
        return compute(ranker, pairs, progress=progress, **options)
    name = f"{key(result, ranker, pairs, options)}.npz"
    if _is_at_hand(name):
        loaded = result.load(RESULTS / name)
        if _scores_alike(ranker, loaded.paths if isinstance(loaded, PathResult) else loaded):
            return _taken(name, loaded, f"{len(pairs)} pairs", lambda: _tell(progress, len(pairs)))
    computed = compute(ranker, pairs, progress=progress, **options)
    if folder := _kept():
        computed.save(folder / name)
    return computed


def score_pairs(ranker: Any, pairs: Any, *, filler: str = "a", progress: Any = True) -> PairScores:
    """Score both versions of each pair, or take their scores at hand where there are these.

    Parameters, result and errors as `mechir_edu.score_pairs`.
    """
    options = {"filler": filler, "progress": progress}
    if not _is_known(ranker, pairs):
        return compute_scores(ranker, pairs, **options)
    name = f"{key(PairScores, ranker, pairs, {'filler': filler})}.json"
    if _is_at_hand(name):
        read = _read(RESULTS / name, "scores")
        scores = [np.array(read[side], np.float32) for side in ("baseline", "perturbed")]
        few = compute_scores(ranker, pairs[:2], filler=filler, progress=False)
        if _alike((few.baseline, few.perturbed), [side[:2] for side in scores]):
            loaded = PairScores(tuple(pairs), *scores, ())
            return _taken(name, loaded, f"{len(pairs)} pairs", lambda: _tell(progress, len(pairs)))
    computed = compute_scores(ranker, pairs, **options)
    if (folder := _kept()) and not computed.skipped:  # so that the pairs need not be stored
        sides = {"baseline": computed.baseline, "perturbed": computed.perturbed}
        scores = {side: [round(float(score), 7) for score in sides[side]] for side in sides}
        _write(folder / name, ranker, {"axiom": pairs[0].axiom}, scores=scores)
    return computed


def evaluate(
    ranker: Any,
    collection: Any,
    *,
    intervention: Intervention | None = None,
    query_ids: Iterable[str] | None = None,
    measures: Sequence[str] = ("nDCG@10",),
    progress: bool = True,
) -> Evaluation:
    """`mechir_edu.evaluate` on judged passages, with the scores at hand where there are these.

    Parameters, result and errors as there. What is loaded is said in a line.
    """
    if query_ids is not None and not isinstance(query_ids, str):
        query_ids = list(query_ids)
    options: dict[str, Any] = {"intervention": intervention, "query_ids": query_ids}
    options["measures"] = measures
    if not (isinstance(ranker, Ranker) and ranker.checksum and isinstance(collection, Collection)):
        return compute_evaluate(ranker, collection, progress=progress, **options)
    changed = ranker if intervention is None else ranker.under(intervention)
    wanted = choose(collection, None, query_ids)
    name = f"{ranking_key(ranker, intervention, collection, wanted)}.json"
    if _is_at_hand(name):
        run = _read(RESULTS / name, "run")
        if _ranks_alike(changed, collection, run):
            loaded = evaluate_run(
                collection, run, measures=measures, what=repr(changed), query_ids=wanted
            )
            return _taken(name, loaded, f"rankings of {len(run)} queries")
    computed = compute_evaluate(ranker, collection, progress=progress, **options)
    if folder := _kept():
        told = {"collection": collection.name, "intervention": type(intervention).__name__}
        _write(folder / name, ranker, told, run=computed.run)
    return computed


def ranking_key(
    ranker: Ranker,
    intervention: Intervention | None,
    collection: Collection,
    wanted: Mapping[str, Iterable[str]],
) -> str:
    """Name of the file that holds rankings: a hash of all that the scores depend on.

    Of a direction to steer in only the shape is part of it: its last digits differ from machine to
    machine, and scores that do not fit are found when they are loaded.
    """
    change = {} if intervention is None else dict(vars(intervention))
    change |= {name: np.shape(value) for name, value in change.items() if name == "direction"}
    texts = {collection.queries[query]: collection.texts(docs) for query, docs in wanted.items()}
    told = {
        "ranker": [ranker.kind, ranker.checksum, ranker.settings],
        "intervention": [type(intervention).__name__, change],
        "texts": texts,
    }
    return _digest(told)[:16]


def _as_json(value: Any) -> Any:
    is_instance = is_dataclass(value) and not isinstance(value, type)
    return asdict(value) if is_instance else list(value)


def _ranks_alike(ranker: Any, collection: Collection, run: Run) -> bool:
    """Whether two passages are scored as those at hand were, whatever was hooked or changed."""
    query_id, scores = next(iter(run.items()))
    few = list(scores)[:2]
    here = ranker.score(collection.queries[query_id], list(collection.texts(few).values()))
    return np.allclose(here, [scores[doc_id] for doc_id in few], rtol=0, atol=1e-4)


def _scores_alike(ranker: Ranker, stored: PatchingResult | CircuitResult) -> bool:
    """Whether a ranker still is what its checksum says, whatever was hooked or changed since."""
    few = compute_scores(ranker, stored.pairs[:2], filler=stored.filler, progress=False)
    here = in_direction(few.baseline, few.perturbed, stored.direction)
    return _alike(here, (stored.recipient[:2], stored.donor[:2]))


def _alike(here: Any, there: Any) -> bool:
    return np.shape(here) == np.shape(there) and np.allclose(here, there, rtol=0, atol=1e-4)


def _is_known(ranker: Any, pairs: Any) -> bool:
    """Whether a result of these can be at hand; constructed weights have no checksum."""
    is_listed = isinstance(pairs, Sequence) and all(isinstance(pair, Pair) for pair in pairs)
    return isinstance(ranker, Ranker) and bool(ranker.checksum) and is_listed and len(pairs) > 0


def _is_at_hand(name: str) -> bool:
    return (RESULTS / name).is_file() and not (recompute or _is_set("MECHIR_EDU_RECOMPUTE"))


def _taken(
    name: str, loaded: Loaded, what: str, tell: Callable[[], object] = lambda: None
) -> Loaded:
    """Hand a result at hand on, and say so once in each cell of a notebook."""
    _say_once(
        f"Loaded: {what}, computed before; me.tutorial.recompute = True computes them here.",
        begins="Loaded",
    )
    tell()
    if folder := _kept():
        shutil.copy(RESULTS / name, folder / name)
    return loaded


def _tell(progress: Any, n_pairs: int) -> None:
    if callable(progress):
        progress(n_pairs)


def _kept() -> Path | None:
    """The folder that ``tools/keep_results.py`` fills."""
    folder = os.environ.get("MECHIR_EDU_KEEP_RESULTS")
    return Path(folder) if folder else None


def _write(path: Path, ranker: Ranker, told: dict[str, str], **content: Any) -> None:
    made_of = {"ranker": ranker.name, "kind": ranker.kind, "checksum": ranker.checksum, **told}
    kept = {"made_of": made_of, "sha256": _digest(content), **content}
    write_whole(path, json.dumps(kept, indent=0).encode())


def _read(path: Path, part: str) -> dict[str, Any]:
    """Read a part of what `_write` wrote; raises ValueError where the file is damaged."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["sha256"] == _digest({part: read[part]}):
            return read[part]
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"{path} is damaged: it does not hold what its checksum says; install mechir-edu anew, or "
        "set me.tutorial.recompute = True"
    )


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=_as_json)
    return hashlib.sha256(text.encode()).hexdigest()


_SAID: set[tuple[str, int]] = set()  # what was said in which cell


def _say_once(sentence: str, begins: str | None = None) -> None:
    """Print a sentence, in a notebook once for each cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    said = (begins or sentence, shell.execution_count if shell else len(_SAID))
    if said not in _SAID:
        print(sentence)
    if shell:
        _SAID.add(said)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")
