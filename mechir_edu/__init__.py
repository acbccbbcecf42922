"""MechIR-Edu: why does a neural ranker score a passage as it does?"""
