"""Hugging Face rankers with hooks: how texts go in, what can be read and edited, what comes out."""
