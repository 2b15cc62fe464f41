"""Training: the loop over epochs, its optimizer, its history, its log."""
