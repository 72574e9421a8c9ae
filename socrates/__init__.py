"""Predict how people answer in survey experiments, and measure how well.

Floors, a room imports only from those below its own::

    4  reporting/                           tables, figures, the HTML page, the model card
    3  training/  prediction/  evaluation/  (none of the three imports another)
    2  model/                               tokenizer, base model, quantised loading, adapters
    1  survey/                              response table, sources, synthetic world, scales, prompts, splits
    0  params/, files.py, errors.py
"""
