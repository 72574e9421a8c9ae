"""What a person reads: tables, figures, the HTML page, the model card."""
