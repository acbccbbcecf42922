"""MechIR-Edu: why a neural ranker scores a passage as it does."""

from mechir_edu import mini

mini.register()  # ir_datasets.load("mechir-edu/mini") works from here on
