"""The first page of the results: claims, accuracy, figures and tables on one screen each."""
