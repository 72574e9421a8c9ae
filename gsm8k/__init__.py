"""The second pipeline: a model learns to solve word problems from rewards (GRPO on GSM8K)."""
