"""Tables, one module per topic; ``index`` lists all of them."""
