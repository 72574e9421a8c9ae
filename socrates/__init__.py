"""Predict how people answer survey experiments, and measure how well.

Rooms; each imports only from those in the lines below it::

    cli/                                  the command line
    app/  tools/                          questions to the model; what is run beside the pipeline
    baselines/  reporting/                opponents that read the question; tables, figures, the HTML page
    training/  prediction/  evaluation/   none of the three imports another
    runs/  tiny_model/                    what keeps a run alive; the built-in base model
    data/  model/                         sources, scales, splits; tokenisation, loading, prefix sharing
    survey/                               table schemas, scales, prompts
    core/                                 errors, atomic files, the params loader
"""
