"""From folders of songs to a dataset, and any dataset read back."""
