"""Change a ranker for every text that it reads, and measure what becomes of its rankings."""
