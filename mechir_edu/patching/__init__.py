"""Activation patching: three runs of a ranker, and the score of every pair after every patch."""
