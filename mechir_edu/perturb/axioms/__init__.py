"""The axioms by group; `mechir_edu.perturb.axioms.registry` has all of them by name."""
