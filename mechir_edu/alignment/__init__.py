"""Two versions of a document as equally long token sequences, position by position."""
