"""MechIR-Edu shows why a neural ranker scores a passage as it does.

A map of the package, in the order in which data flows; a folder depends only on those above it::

    files           whole files, checksums
    stats/          recovery, with its uncertainty              me.stats
    collection/     queries, passages and judgments             load_collection
    perturb/        axioms, and pairs of a document's versions  AXIOMS, make_pairs, perturbation
    rankers/        models with hooks                           Dot, Cat, Sparse (in models)
    alignment/      both versions as equally long sequences     align
    patching/       what each component carries                 patch, ablate, path_patch, circuit
    data            the paper's torch dataset and collators
    interventions/  changes made for every text                 Knockout, Steer, Cut, evaluate
    plots/          pictures                                    me.plots
    models          the rankers, with the paper's methods       Dot, Cat, Sparse
    widgets/        the same pictures as panels                 me.widgets
    checks/         the tutorials' exercises                    me.checks, me.tutorial
    cli/            the command line, and its demonstration     demonstrate

The core, in reading order: how a query, a passage and one added word become the recovery of a head.
Everything else stands around it.

1. What is changed: collection/judged, collection/collection; perturb/pair, perturb/edits,
   perturb/axiom, perturb/draw.
2. Who is asked: rankers/hook_names, rankers/components, rankers/adapters, rankers/base,
   rankers/bi_encoder, rankers/cross_encoder, rankers/verification.
3. Position by position: alignment/aligned, alignment/encoding, alignment/tokendiff,
   alignment/fillers, alignment/aligner.
4. Three runs: patching/rows, patching/sweep, patching/batches, patching/scoring,
   patching/engines/hooks (the reference), patching/activation, patching/result.
5. How sure that is: stats/clusters, stats/recovered. On top: models.

To see an axiom made, read perturb/shapes and perturb/axioms/frequency, too.

Names are loaded when they are first used, so that importing the package is quick. It only settles
how PyTorch's threads wait for each other (`OMP_WAIT_POLICY`), unless you have done so yourself.
"""

import os
import sys

import lazy_loader

# Threads that sleep while they wait finish many times sooner where others use the cores, too. Both
# GNU's and Intel's OpenMP read this once, when PyTorch loads them; Intel's KMP_BLOCKTIME follows.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=("checks", "plots", "stats", "widgets"),
    submod_attrs={
        "alignment.aligned": ["AlignedPairs", "Role"],
        "alignment.aligner": ["align"],
        "checks": ["tutorial"],
        "cli.experiments": ["demonstrate"],
        "collection.collection": ["Collection"],
        "collection.load": ["load_collection"],
        "collection.terms": ["surface_terms"],
        "interventions.circuits": ["rank_faithfulness"],
        "interventions.cuts": ["Cut"],
        "interventions.directions": ["head_direction", "residual_direction"],
        "interventions.evaluation": ["Comparison"],
        "interventions.heads": ["Knockout", "Scale"],
        "interventions.reranking": ["compare", "evaluate"],
        "interventions.steering": ["Steer", "SteerResidual"],
        "models": ["Cat", "Dot", "MonoT5", "MultiVector", "Sparse"],
        "patching.ablation": ["ablate"],
        "patching.activation": ["patch"],
        "patching.approximation": ["approximation_error"],
        "patching.circuits.circuit": ["circuit"],
        "patching.circuits.completeness": ["completeness"],
        "patching.circuits.result": ["CircuitResult"],
        "patching.matches_moved": ["matches_moved"],
        "patching.one_pair": ["pair_attention", "read_pair"],
        "patching.options": ["PatchOptions"],
        "patching.paths": ["PathResult", "path_patch"],
        "patching.result": ["PatchingResult"],
        "patching.role_attention": ["attention_rankers", "role_attention", "term_attention"],
        "patching.scoring": ["choose_direction", "score_pairs"],
        "patching.scrubbing": ["scrubbed"],
        "patching.term_changes": ["TermsMoved"],
        "patching.terms_moved": ["terms_moved"],
        "patching.token_matches": ["MatchesMoved"],
        "perturb.axioms.registry": ["AXIOMS"],
        "perturb.draw": ["make_pairs"],
        "perturb.own": ["perturbation"],
        "perturb.pair": ["Pair"],
        "rankers.kinds": ["guess_kind"],
    },
)
