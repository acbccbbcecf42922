"""The axioms by group, a file each; `mechir_edu.perturb.axioms.registry` has them all by name."""
