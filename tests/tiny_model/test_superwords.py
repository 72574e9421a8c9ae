"""The tokenizer of the made world: short prompts, names apart, and the same after loading as when it was trained."""

from socrates.model.loading import load_tokenizer
from socrates.tiny_model.build import train_tokenizer

TEXT = 'The city may adopt the plan "{}". How much do you support it? Only return an integer from 1 to 7.'
TEXTS = [TEXT.format(name) for name in ("dretruk", "gutak", "deklok")] * 20


def test_superwords_shorten_a_prompt_and_keep_names_apart():
    plain, joined = (train_tokenizer(TEXTS, 400, superwords) for superwords in (False, True))
    text = TEXT.format("mabru")
    assert len(joined(text)["input_ids"]) < 0.7 * len(plain(text)["input_ids"])
    tokens = [joined.decode([token]) for token in joined(text)["input_ids"]]
    assert "".join(tokens) == text
    start = "".join(tokens).index('"mabru"')
    inside = 0
    for token in tokens:  # no token reaches over an edge of the name
        assert not inside < start < inside + len(token)
        assert not inside < start + len('"mabru"') < inside + len(token)
        inside += len(token)


def test_a_base_folder_s_tokenizer_is_the_one_that_was_trained(tmp_path):
    """AutoTokenizer would go by the model's type and split as Qwen does."""
    trained = train_tokenizer(TEXTS, 400, superwords=True)
    trained.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert load_tokenizer(tmp_path)(TEXTS)["input_ids"] == trained(TEXTS)["input_ids"]
