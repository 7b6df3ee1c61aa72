"""What corpora written by the model share: filters, diversity."""
