"""An OpenAI-compatible server of a model folder: ``python -m tests.openai_server models/base`` prints its port.

It knows nothing of answer tries: it tokenises whole texts and computes every answer by a pass of its own. A question
for a distribution as JSON is answered as the same messages without that paragraph are.
"""

import json
import math
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from socrates.model.loading import load_tokenizer

torch.set_num_threads(1)
FOLDER = Path(sys.argv[1])
TOKENIZER = load_tokenizer(FOLDER)
MODEL = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float64).eval()


@torch.inference_mode()
def log_probabilities(text: str) -> tuple[list[int], list[float]]:
    """Where each token begins in the text, and its log-probability after those before it; 0 for the first."""
    encoded = TOKENIZER(text, return_offsets_mapping=True, add_special_tokens=False)
    ids = torch.tensor([encoded["input_ids"]])
    logp = MODEL(input_ids=ids).logits[0].log_softmax(-1)
    picked = logp[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist()
    return [start for start, _ in encoded["offset_mapping"]], [0.0, *picked]


def probability(prompt: str, answer: str) -> float:
    offsets, values = log_probabilities(prompt + answer + TOKENIZER.eos_token)
    return math.exp(sum(v for o, v in zip(offsets, values, strict=True) if o >= len(prompt)))


@torch.inference_mode()
def draw(prompt: str, count: int, tokens: int) -> list[str]:
    """``count`` sampled continuations, each up to the end token."""
    ids = torch.tensor([TOKENIZER(prompt, add_special_tokens=False)["input_ids"]] * count)
    start = ids.shape[1]
    for _ in range(tokens):
        following = MODEL(input_ids=ids).logits[:, -1].softmax(-1)
        ids = torch.cat([ids, torch.multinomial(following, 1)], 1)
    texts = [TOKENIZER.decode(row[start:], skip_special_tokens=False) for row in ids]
    return [text.split(TOKENIZER.eos_token)[0] if TOKENIZER.eos_token in text else "no end" for text in texts]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.completion if self.path.endswith("/v1/completions") else self.chat
        reply = json.dumps(answer(body)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        offsets, values = log_probabilities(body["prompt"])
        told = {"text_offset": offsets, "token_logprobs": [None, *values[1:]]}
        usage = {"prompt_tokens": len(values), "completion_tokens": 0}
        return {"choices": [{"logprobs": told}], "usage": usage}

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        *others, last = body["messages"]
        asked, _, how = last["content"].rpartition("\n\n")
        if "JSON" in how:
            last["content"] = asked
        prompt = TOKENIZER.apply_chat_template([*others, last], tokenize=False, add_generation_prompt=True)
        if "JSON" in how:
            options = re.findall(r"\d+", re.findall(r"\((.*?)\)", how)[0])
            shares = {option: probability(prompt, option) for option in options}
            texts = [json.dumps({n: round(share / sum(shares.values()), 4) for n, share in shares.items()})]
        else:
            texts = draw(prompt, body["n"], 2)
        return {"choices": [{"message": {"content": text}} for text in texts], "usage": {}}

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
