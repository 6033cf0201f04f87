"""Claims of the paper and the rules that judge them; ``index`` lists all of them."""
