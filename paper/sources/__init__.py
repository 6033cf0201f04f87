"""What tables and figures read: result files, published numbers, and the commands that make them."""
