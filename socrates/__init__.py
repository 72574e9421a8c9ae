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

Every process of the project imports this package before any other library (see ``stages/__init__.py``), so what they
read from the environment when they are imported is set below. It changes no result, and a user's own setting stays.
"""

import logging
import os
import warnings

SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep: with more threads than cores spinning is ruinous
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",  # a checkpoint from a store runs no code, whatever library opens it
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",  # passes of many shapes leave less between blocks
    "TQDM_DELAY": "1",  # seconds: no bar for what is done before
    "TQDM_MININTERVAL": "1",
}
NOISE = {  # logger: how a message begins that tells the user nothing
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",  # it uses another kernel then
    "DeepSpeed": "Setting accelerator to CPU",
    "transformers.integrations.bitsandbytes": "The modules are dequantized",
}

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
for _name, _start in NOISE.items():
    logging.getLogger(_name).addFilter(lambda record, start=_start: not record.msg.startswith(start))  # type: ignore[misc]
# FutureWarnings of these libraries are for those who write them; the versions here are pinned.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|accelerate|peft|trl)\.")
warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")
