"""What is run beside the pipeline: doctor, estimate, compare, audit, card, merge, publish, preset."""
