"""Fine-tuning an adapter on survey answers."""
