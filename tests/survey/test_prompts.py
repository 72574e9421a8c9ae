"""Prompt formats: the chat ones are what the tokenizer's own template writes, the released one is as recorded."""

import pytest

from socrates.core.errors import ModelError
from socrates.model.encoding import encode, prompt_template
from socrates.survey.prompts import messages, persona_expression, template
from tests import tiny
from tests.model_folders import CHAT_TEMPLATE

PERSONA = (
    "Age: 34; Gender: Female; Income: 75-99K; Political affiliation: Moderate Democrat; Household size: 4"
)
TEXT = "You read a note. How useful was it? Only return an integer from 1 to 5, nothing else."
# As public programs that ask the released models send it and a public audit of the dataset prints its column
# ``prompt``; the person and the question are made up.
RECORDED = (
    "<|im_start|>system\nYou are simulating a survey respondent. Answer exactly as instructed, following the "
    "specified response format without additional commentary.<|im_end|>\n<|im_start|>user\nYou are a survey "
    "respondent with the following demographic profile:\n- Age: 34\n- Gender: Female\n- Income: 75-99K\n- Household "
    "Size: 4\n- Party Id: Moderate Democrat\n\nRead the question below and answer exactly as this person would. "
    f"Follow the response instructions precisely.\n\n{TEXT}<|im_end|>\n<|im_start|>assistant\n"
)
FORMATS = [("chat", "scenario_first"), ("chat", "persona_first"), ("socrates", "persona_first")]


def chat_tokenizers():
    """With a chat template each: the small one with one of ours, Qwen2.5's with its own where it is here."""
    for tokenizer in tiny.tokenizers():
        tokenizer.chat_template = tokenizer.chat_template or CHAT_TEMPLATE
        yield tokenizer


@pytest.mark.parametrize(("form", "layout"), FORMATS)
def test_the_tokens_of_a_row_are_those_of_its_messages_and_its_answer_with_the_end_token(form, layout):
    table = tiny.rows(4)
    personas = table.select(persona_expression())["persona"]
    for tokenizer in chat_tokenizers():
        data = encode(table, tokenizer, layout, form)
        for row, (stimuli, persona) in enumerate(zip(table["stimuli"], personas, strict=True)):
            said = messages(stimuli, persona, form, layout)
            whole = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
            assert [*data.prefix_ids(row), *data.suffix_ids(row)] == whole
            answered = [*said, {"role": "assistant", "content": str(table["response"][row])}]
            rendered = tokenizer.apply_chat_template(answered, return_dict=False)
            answer = data.answer_ids(row).tolist()
            assert answer == rendered[len(whole) :][: len(answer)] and answer[-1] == tokenizer.eos_token_id


def test_the_released_prompt_is_as_recorded():
    *_, tokenizer = chat_tokenizers()
    if "qwen" not in tokenizer.name_or_path:
        pytest.skip("the tokenizer of Qwen2.5 is not here")
    assert prompt_template(tokenizer, "persona_first", "socrates").prompt(TEXT, PERSONA) == RECORDED


def test_a_persona_of_which_nothing_is_known_and_one_with_other_fields_keep_their_words():
    for persona, profile in (("unknown", "unknown"), ("Sect: Old; Age: 30", "- Age: 30\n- Sect: Old")):
        assert (
            f" demographic profile:\n{profile}\n\nRead" in messages(TEXT, persona, "socrates")[1]["content"]
        )


def test_a_tokenizer_without_a_fitting_chat_template_is_refused():
    tokenizer = tiny.tokenizer()
    with pytest.raises(ModelError, match=r"no chat template"):
        encode(tiny.rows(1), tokenizer, "scenario_first", "chat")
    tokenizer.chat_template = CHAT_TEMPLATE.replace("eos_token", "'<over>'")
    with pytest.raises(ModelError, match=r"ends an answer with .<over>., the tokenizer"):
        encode(tiny.rows(1), tokenizer, "scenario_first", "chat")


def test_the_survey_prompt_is_the_alpaca_order_s_words():
    assert template("persona_first").prompt("Q?", "Age: 3") == (
        "### Instruction:\nPredict how this person answers the survey question.\n\n### Input:\n"
        "Demographics: Age: 3\n\nScenario: Q?\n\n### Response:\nResponse: "
    )
