"""What a net is: its activations, loss, first weights, parameters, and file."""
