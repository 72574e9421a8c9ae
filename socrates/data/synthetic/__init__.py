"""The made world: stimuli, respondents, planted answers."""
