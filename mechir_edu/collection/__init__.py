"""Queries, passages and judgments: what a study draws its pairs from."""
