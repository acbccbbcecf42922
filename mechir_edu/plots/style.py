"""Colours and labels that all pictures share."""

DIVERGING, SEQUENTIAL = "RdBu_r", "Blues"
DARK, EDITED = "#222222", "#b2182b"
RECOVERY_LABEL = "recovery (share of the score change)\n+ as the donor, − the other way"
