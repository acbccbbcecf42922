"""What `tools/train_cross_encoder.py` is made of, in the order of use.

1. `data`: queries, passages, grades and first-stage scores; queries made from passages.
2. `teachers`, `lists`: candidates for each query, and a teacher's score for each of them.
3. `precision`, `low_rank`, `student`: the cross-encoder and what of it learns; `sides`,
   `keeping_apart`, `late_comparison`: how it is set up to score as MiniLM's cosine.
4. `workers`, `updates`: losses and updates, in one process or several.
5. `early_stopping`: how well the held-out queries are ranked.
"""
