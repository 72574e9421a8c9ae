"""Survey data: tables, sources, scales, prompts, splits. Pure, without torch."""
